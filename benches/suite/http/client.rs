//! A client that costs next to nothing: one connection, one request at a time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a str,
    /// The status of its answer.
    pub(crate) expected: u16,
    /// How long to wait after the answer before it is asked again.
    pub(crate) pause: Duration,
}

pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, Request { method, path, body, .. }: Request<'_>) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    async fn read_more(&mut self) {
        let read = self.stream.read_buf(&mut self.read).await.unwrap();
        assert!(read > 0, "the server has closed the connection");
    }

    /// Reads until `end` has come.
    pub(crate) async fn until(&mut self, end: &[u8]) {
        while !self.read.windows(end.len()).any(|window| window == end) {
            self.read_more().await;
        }
        self.read = Vec::new();
    }

    /// Reads one answer to its end, and gives its status.
    async fn answer(&mut self) -> u16 {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(start) = head.parse(&self.read).unwrap() {
                let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let length: usize =
                    length.map_or("0", |header| std::str::from_utf8(header.value).unwrap()).parse().unwrap();
                let status = head.code.unwrap();
                while self.read.len() < start + length {
                    self.read_more().await;
                }
                self.read.clear();
                return status;
            }
            self.read_more().await;
        }
    }
}

/// Asks the same again and again over so many connections: how long each answer took, in seconds.
pub(crate) async fn repeat(address: &str, clients: usize, request: Request<'_>, time: Duration) -> Vec<f64> {
    let one = async || {
        let mut client = Client::connect(address).await;
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let asked = Instant::now();
            client.send(request).await;
            assert_eq!(client.answer().await, request.expected);
            times.push(asked.elapsed().as_secs_f64());
            if !request.pause.is_zero() {
                tokio::time::sleep(request.pause).await;
            }
        }
        times
    };
    join_all((0..clients).map(|_| one())).await.concat()
}
