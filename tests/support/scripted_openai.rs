//! A server that speaks as much of the APIs of models as a script tells it to, and that sees what its clients do: `OpenAI`'s
//! Responses API, chat completions, and Anthropic's Messages API, whichever it is asked in.
//!
//! It is raw TCP with a parser for request heads, so that a script can break off anywhere, and so that the instant is known
//! at which a client closes its connection. Nothing here waits for time to pass unless a script says so.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared by several targets, none of which uses all of it, and none of which is a library"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::dialect::Dialect;
pub use self::reply::Reply;
pub use self::responses::response;

#[path = "scripted_openai/anthropic.rs"]
mod anthropic;
#[path = "scripted_openai/chat.rs"]
mod chat;
#[path = "scripted_openai/dialect.rs"]
mod dialect;
#[path = "scripted_openai/reply.rs"]
mod reply;
#[path = "scripted_openai/responses.rs"]
mod responses;

/// A request as it arrived.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
    pub at: Instant,
    pub peer: SocketAddr,
    closed: Option<Instant>,
}

impl Request {
    /// The value of the header with this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}

/// The server. It listens until it is dropped, which also closes its connections.
pub struct ScriptedOpenAi {
    address: SocketAddr,
    requests: watch::Receiver<Vec<Request>>,
    listening: JoinHandle<()>,
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

impl ScriptedOpenAi {
    /// Starts a server on a free port that answers request `n`, counted from 0, with `script(n, body)`.
    pub async fn start(script: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static) -> Self {
        Self::answering(move |n, request| script(n, &request.body)).await
    }

    /// Starts a server on a free port that answers request `n`, counted from 0, with `script(n, request)`.
    pub async fn answering(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (sender, requests) = watch::channel(Vec::new());
        let (sender, script): (_, Arc<Script>) = (Arc::new(sender), Arc::new(script));
        let listening = tokio::spawn(async move {
            // Dropped with this task, and its connections with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(Connection::serve(stream, Arc::clone(&sender), Arc::clone(&script)));
            }
        });
        Self { address, requests, listening }
    }

    /// What a client takes as its base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    pub fn request_count(&self) -> usize {
        self.requests.borrow().len()
    }

    /// Waits until `n` requests have arrived.
    pub async fn wait_for_requests(&self, n: usize) {
        self.requests.clone().wait_for(|requests| requests.len() >= n).await.expect("the server runs");
    }

    /// Waits until the client has closed the connection of request `n`, and says when that was noticed.
    pub async fn closed(&self, n: usize) -> Instant {
        let mut requests = self.requests.clone();
        let closed = |requests: &Vec<Request>| requests.get(n).and_then(|request| request.closed);
        let requests = requests.wait_for(|requests| closed(requests).is_some()).await.expect("the server runs");
        closed(&requests).expect("was waited for")
    }
}

impl Drop for ScriptedOpenAi {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

struct Connection {
    peer: SocketAddr,
    read: OwnedReadHalf,
    unread: Vec<u8>,
    requests: Arc<watch::Sender<Vec<Request>>>,
}

impl Connection {
    async fn serve(stream: TcpStream, requests: Arc<watch::Sender<Vec<Request>>>, script: Arc<Script>) {
        stream.set_nodelay(true).ok();
        let Ok(peer) = stream.peer_addr() else { return };
        let (read, mut write) = stream.into_split();
        let mut connection = Self { peer, read, unread: Vec::new(), requests };
        let mut latest = None;
        while let Some(request) = connection.next_request().await {
            let (dialect, body) = (Dialect::of(&request.path), request.body.clone());
            let (mut index, asked) = (0, request.clone());
            connection.requests.send_modify(|requests| {
                index = requests.len();
                requests.push(request);
            });
            latest = Some(index);
            let reply = script(index, &asked);
            let played = tokio::select! {
                played = reply.play(&mut write, dialect, &body) => played,
                () = connection.end_of_input() => break,
            };
            match played {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => break,
            }
        }
        if let Some(index) = latest {
            connection.requests.send_modify(|requests| requests[index].closed = Some(Instant::now()));
        }
    }

    /// The next request; none when the client is gone.
    async fn next_request(&mut self) -> Option<Request> {
        loop {
            if let Some((request, length)) = parse(&self.unread, self.peer) {
                self.unread.drain(..length);
                return Some(request);
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    async fn end_of_input(&mut self) {
        while self.read_more().await {}
    }

    async fn read_more(&mut self) -> bool {
        matches!(self.read.read_buf(&mut self.unread).await, Ok(1..))
    }
}

/// The request that `bytes` start with, and its length; none unless it is complete.
fn parse(bytes: &[u8], peer: SocketAddr) -> Option<(Request, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(bytes).expect("a request in HTTP/1.1") else {
        return None;
    };
    let (method, path) = (head.method.unwrap_or_default().to_owned(), head.path.unwrap_or_default().to_owned());
    let pair = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    let headers: Vec<_> = head.headers.iter().map(pair).collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let body = bytes.get(head_length..head_length + length)?;
    let body = serde_json::from_slice(body).unwrap_or_default();
    Some((Request { method, path, headers, body, at: Instant::now(), peer, closed: None }, head_length + length))
}
