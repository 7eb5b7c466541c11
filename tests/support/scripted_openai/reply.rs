//! What a scripted server says.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use super::dialect::{Dialect, Frame, Said};

/// What a request is answered with.
#[derive(Clone)]
pub struct Reply {
    content: Content,
    delay: Duration,
    chunk_size: usize,
    end: End,
}

#[derive(Clone)]
enum Content {
    /// An answer, streamed or as one JSON text, whichever the request asks for.
    Said(Said),
    Events(Vec<Value>),
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Body,
    },
}

#[derive(Clone)]
enum Body {
    Text(String),
    Refusal { code: String, message: String },
}

#[derive(Clone)]
pub(super) enum End {
    Completed,
    Failed {
        code: String,
        message: String,
    },
    Incomplete(String),
    Cancelled,
    Error {
        code: String,
        message: String,
    },
    /// The body ends properly, but too early.
    Ended,
    Cut,
    Stalled,
}

impl Reply {
    fn new(content: Content) -> Self {
        Self { content, delay: Duration::ZERO, chunk_size: usize::MAX, end: End::Completed }
    }

    /// An answer with this text, in these pieces, that is completed when nothing else is said.
    pub fn text<T: Into<String>>(pieces: impl IntoIterator<Item = T>) -> Self {
        let said = Said { pieces: pieces.into_iter().map(Into::into).collect(), calls: Vec::new() };
        Self::new(Content::Said(said))
    }

    /// Calls of tools, each with its id, its name and its arguments, after the text.
    pub fn calling<'a>(mut self, calls: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        if let Content::Said(said) = &mut self.content {
            said.calls.extend(calls.into_iter().map(|(id, name, arguments)| [id, name, arguments].map(str::to_owned)));
        }
        self
    }

    /// A stream of exactly these events.
    pub fn events(events: impl IntoIterator<Item = Value>) -> Self {
        Self { end: End::Ended, ..Self::new(Content::Events(events.into_iter().collect())) }
    }

    /// A plain HTTP answer.
    pub fn http(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        Self::plain(status, content_type, Body::Text(body.into()))
    }

    fn plain(status: u16, content_type: &str, body: Body) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { end: End::Ended, ..Self::new(Content::Http { status, headers, body }) }
    }

    /// A refusal, in the form of the API.
    pub fn status(status: u16, code: &str, message: &str) -> Self {
        let body = Body::Refusal { code: code.to_owned(), message: message.to_owned() };
        Self::plain(status, "application/json", body)
    }

    /// Nothing at all, not even a head.
    pub fn stall() -> Self {
        Self { end: End::Stalled, ..Self::events([]) }
    }

    /// The connection is closed instead of answered.
    pub fn cut() -> Self {
        Self { end: End::Cut, ..Self::events([]) }
    }

    /// One more header of a plain answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Content::Http { headers, .. } = &mut self.content {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Waits this long before each piece of text.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends what is streamed in chunks of this many bytes, wherever that cuts it.
    pub fn in_chunks_of(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes;
        self
    }

    pub fn then_failed(mut self, code: &str, message: &str) -> Self {
        self.end = End::Failed { code: code.to_owned(), message: message.to_owned() };
        self
    }

    /// Ended too early, for this reason in the words of the Responses API.
    pub fn then_incomplete(mut self, reason: &str) -> Self {
        self.end = End::Incomplete(reason.to_owned());
        self
    }

    pub fn then_cancelled(mut self) -> Self {
        self.end = End::Cancelled;
        self
    }

    pub fn then_error(mut self, code: &str, message: &str) -> Self {
        self.end = End::Error { code: code.to_owned(), message: message.to_owned() };
        self
    }

    pub fn then_end(mut self) -> Self {
        self.end = End::Ended;
        self
    }

    pub fn then_cut(mut self) -> Self {
        self.end = End::Cut;
        self
    }

    pub fn then_stall(mut self) -> Self {
        self.end = End::Stalled;
        self
    }

    /// Answers a request that asks for `asked` in this dialect; says whether the connection is kept.
    pub(super) async fn play(
        &self,
        write: &mut OwnedWriteHalf,
        dialect: Dialect,
        asked: &Value,
    ) -> std::io::Result<bool> {
        let frames = match &self.content {
            Content::Http { status, headers, body } => {
                let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let body = match body {
                    Body::Text(text) => text.clone(),
                    Body::Refusal { code, message } => dialect.refusal(code, message).to_string(),
                };
                let head = format!("HTTP/1.1 {status} Scripted\r\n{extra}content-length: {}\r\n\r\n", body.len());
                write.write_all((head + &body).as_bytes()).await?;
                return finish(&self.end).await;
            }
            Content::Said(said) if asked["stream"] != true => {
                tokio::time::sleep(self.delay).await;
                let json = dialect.whole(asked, said, &self.end);
                let length = json.to_string().len() + usize::from(matches!(self.end, End::Cut | End::Stalled));
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
                write.write_all(format!("{head}{json}").as_bytes()).await?;
                return finish(&self.end).await;
            }
            Content::Said(said) => dialect.frames(asked, said, &self.end),
            Content::Events(events) if events.is_empty() => return finish(&self.end).await,
            Content::Events(events) => events.iter().cloned().map(Frame::named_by_type).collect(),
        };
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
        write.write_all(head.as_bytes()).await?;
        for (number, frame) in frames.into_iter().enumerate() {
            if frame.is_text && !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            for chunk in frame.text(number).as_bytes().chunks(self.chunk_size) {
                let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                write.write_all(&framed).await?;
            }
        }
        if !matches!(self.end, End::Cut | End::Stalled) {
            write.write_all(b"0\r\n\r\n").await?;
        }
        finish(&self.end).await
    }
}

async fn finish(end: &End) -> std::io::Result<bool> {
    match end {
        End::Cut => Ok(false),
        End::Stalled => std::future::pending().await,
        End::Completed | End::Failed { .. } | End::Incomplete(_) | End::Cancelled | End::Error { .. } | End::Ended => {
            Ok(true)
        }
    }
}
