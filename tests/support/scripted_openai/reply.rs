//! What a scripted server says, and how the API would say it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

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
    Text(Vec<String>),
    Events(Vec<Value>),
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
}

#[derive(Clone)]
enum End {
    Completed,
    /// An event of this type with these fields of its response ends the stream; as JSON, the fields alone.
    Other(&'static str, Value),
    Error(Value),
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
        Self::new(Content::Text(pieces.into_iter().map(Into::into).collect()))
    }

    /// A stream of exactly these events.
    pub fn events(events: impl IntoIterator<Item = Value>) -> Self {
        Self { end: End::Ended, ..Self::new(Content::Events(events.into_iter().collect())) }
    }

    /// A plain HTTP answer.
    pub fn http(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { end: End::Ended, ..Self::new(Content::Http { status, headers, body: body.into() }) }
    }

    /// A refusal, in the form of the API.
    pub fn status(status: u16, code: &str, message: &str) -> Self {
        let error = json!({"error": {"message": message, "type": "error", "param": null, "code": code}});
        Self::http(status, "application/json", error.to_string())
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
        let fields = json!({"status": "failed", "error": {"code": code, "message": message}});
        self.end = End::Other("response.failed", fields);
        self
    }

    pub fn then_incomplete(mut self, reason: &str) -> Self {
        let fields = json!({"status": "incomplete", "incomplete_details": {"reason": reason}});
        self.end = End::Other("response.incomplete", fields);
        self
    }

    pub fn then_cancelled(mut self) -> Self {
        self.end = End::Other("response.failed", json!({"status": "cancelled"}));
        self
    }

    pub fn then_error(mut self, code: &str, message: &str) -> Self {
        self.end = End::Error(json!({"type": "error", "code": code, "message": message, "param": null}));
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

    /// Answers a request that asks for `asked`; says whether the connection is kept.
    pub(super) async fn play(&self, write: &mut OwnedWriteHalf, asked: &Value) -> std::io::Result<bool> {
        let events = match &self.content {
            Content::Http { status, headers, body } => {
                let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let head = format!("HTTP/1.1 {status} Scripted\r\n{extra}content-length: {}\r\n\r\n", body.len());
                write.write_all((head + body).as_bytes()).await?;
                return finish(&self.end).await;
            }
            Content::Text(pieces) if asked["stream"] != true => {
                tokio::time::sleep(self.delay).await;
                let text = pieces.concat();
                let nothing = json!({});
                let fields = if let End::Other(_, fields) = &self.end { fields } else { &nothing };
                let json = response(asked, Some(&text), fields);
                let length = json.to_string().len() + usize::from(matches!(self.end, End::Cut | End::Stalled));
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
                write.write_all(format!("{head}{json}").as_bytes()).await?;
                return finish(&self.end).await;
            }
            Content::Text(pieces) => text_events(asked, pieces, &self.end),
            Content::Events(events) if events.is_empty() => return finish(&self.end).await,
            Content::Events(events) => events.clone(),
        };
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
        write.write_all(head.as_bytes()).await?;
        for (number, mut event) in events.into_iter().enumerate() {
            if event["type"] == "response.output_text.delta" && !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            event["sequence_number"] = number.into();
            let frame = format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
            for chunk in frame.as_bytes().chunks(self.chunk_size) {
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
        End::Completed | End::Other(..) | End::Error(_) | End::Ended => Ok(true),
    }
}

/// All events of a text answer, from `response.created` to the end that the reply has.
fn text_events(asked: &Value, pieces: &[String], end: &End) -> Vec<Value> {
    let text = pieces.concat();
    let started = response(asked, None, &json!({}));
    let at = |event: Value| {
        let mut event = event;
        event["item_id"] = "msg_1".into();
        event["output_index"] = 0.into();
        event["content_index"] = 0.into();
        event
    };
    let mut events = vec![
        json!({"type": "response.created", "response": started}),
        json!({"type": "response.in_progress", "response": started}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", None)}),
        at(json!({"type": "response.content_part.added", "part": part("")})),
    ];
    let delta = |piece| at(json!({"type": "response.output_text.delta", "delta": piece, "logprobs": []}));
    events.extend(pieces.iter().map(delta));
    match end {
        End::Completed => events.extend([
            at(json!({"type": "response.output_text.done", "text": text, "logprobs": []})),
            at(json!({"type": "response.content_part.done", "part": part(&text)})),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item("completed", Some(&text))}),
            json!({"type": "response.completed", "response": response(asked, Some(&text), &json!({}))}),
        ]),
        End::Other(kind, fields) => events.push(json!({"type": kind, "response": response(asked, None, fields)})),
        End::Error(event) => events.push(event.clone()),
        End::Ended | End::Cut | End::Stalled => {}
    }
    events
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn item(status: &str, text: Option<&str>) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "status": status,
        "content": text.map(part).into_iter().collect::<Vec<_>>(),
    })
}

/// A response object: completed when there is a text, in progress when not, with `fields` instead of its own.
pub fn response(asked: &Value, text: Option<&str>, fields: &Value) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let usage = json!({
        "input_tokens": 12, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 19,
    });
    let mut response = json!({
        "id": "resp_1", "object": "response", "created_at": now, "model": asked["model"],
        "status": if text.is_some() { "completed" } else { "in_progress" },
        "error": null, "incomplete_details": null, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "output": text.map(|text| item("completed", Some(text))).into_iter().collect::<Vec<_>>(),
        "usage": if text.is_some() { usage } else { Value::Null },
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        response[name] = value.clone();
    }
    response
}
