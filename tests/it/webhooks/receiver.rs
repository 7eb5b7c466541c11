//! A receiver of webhooks that answers as it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::soon;

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Told {
    /// The value of the header with this lower-case name; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(each, _)| each == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// It listens until it is dropped, which also closes its connections.
pub(crate) struct Receiver {
    address: SocketAddr,
    told: watch::Receiver<Vec<Told>>,
    connections: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

/// The status line, without the version, of the answer to request `n`, counted from 0; empty to say nothing ever.
type Script = dyn Fn(usize) -> &'static str + Send + Sync;

impl Receiver {
    pub(crate) async fn start(script: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, told) = watch::channel(Vec::new());
        let (sender, script): (_, Arc<Script>) = (Arc::new(sender), Arc::new(script));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let listening = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(serve(stream, Arc::clone(&sender), Arc::clone(&script)));
            }
        });
        Self { address, told, connections, listening }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn count(&self) -> usize {
        self.told.borrow().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until `n` requests have arrived, and gives all that have.
    pub(crate) async fn told(&self, n: usize) -> Vec<Told> {
        let mut told = self.told.clone();
        soon(told.wait_for(|told| told.len() >= n)).await.unwrap().clone()
    }

    /// Waits until somebody was told at `path`, and says how often.
    pub(crate) async fn told_at(&self, path: &str) -> usize {
        let line = format!("POST {path} HTTP/1.1");
        let count = |told: &Vec<Told>| told.iter().filter(|told| told.line == line).count();
        let mut told = self.told.clone();
        count(&soon(told.wait_for(|told| count(told) > 0)).await.unwrap())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(mut stream: TcpStream, sender: Arc<watch::Sender<Vec<Told>>>, script: Arc<Script>) {
    let Some(told) = read(&mut stream).await else { return };
    let mut n = 0;
    sender.send_modify(|all| {
        n = all.len();
        all.push(told);
    });
    match script(n) {
        "" => std::future::pending().await,
        status => {
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok();
        }
    }
}

/// One request; none when the connection ends before.
async fn read(stream: &mut TcpStream) -> Option<Told> {
    let mut bytes = Vec::new();
    loop {
        if let Some(told) = parse(&bytes) {
            return Some(told);
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&more[..n]),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Told> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(bytes).unwrap() else { return None };
    let line = format!("{} {} HTTP/1.1", head.method?, head.path?);
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|header| (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let end = start + length.parse::<usize>().unwrap();
    (bytes.len() >= end).then(|| Told { line, headers, body: bytes[start..end].to_vec() })
}
