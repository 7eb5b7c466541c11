//! The APIs that a scripted server speaks.

use serde_json::{Value, json};

use super::reply::End;
use super::{anthropic, chat, responses};

/// What is said in an answer: pieces of text, then calls of tools, each with its id, its name and its arguments.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) pieces: Vec<String>,
    pub(super) calls: Vec<[String; 3]>,
}

#[derive(Clone, Copy)]
pub(super) enum Dialect {
    Responses,
    Chat,
    Anthropic,
}

impl Dialect {
    pub(super) fn of(path: &str) -> Self {
        match path.split('?').next().unwrap_or_default() {
            path if path.ends_with("/chat/completions") => Self::Chat,
            path if path.ends_with("/messages") => Self::Anthropic,
            _ => Self::Responses,
        }
    }

    /// The events of a streamed answer, up to the end that it has.
    pub(super) fn frames(self, asked: &Value, said: &Said, end: &End) -> Vec<Frame> {
        match self {
            Self::Responses => responses::frames(asked, said, end),
            Self::Chat => chat::frames(asked, said, end),
            Self::Anthropic => anthropic::frames(asked, said, end),
        }
    }

    /// The answer as one JSON text.
    pub(super) fn whole(self, asked: &Value, said: &Said, end: &End) -> Value {
        match self {
            Self::Responses => responses::whole(asked, said, end),
            Self::Chat => chat::whole(asked, said, end),
            Self::Anthropic => anthropic::whole(asked, said, end),
        }
    }

    pub(super) fn refusal(self, code: &str, message: &str) -> Value {
        match self {
            Self::Responses | Self::Chat => {
                json!({"error": {"message": message, "type": "error", "param": null, "code": code}})
            }
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": code, "message": message}, "request_id": "req_1"})
            }
        }
    }
}

/// An event as it is sent.
pub(super) struct Frame {
    name: Option<String>,
    data: Value,
    /// Whether it is a piece of the answer's text.
    pub(super) is_text: bool,
    /// Whether each event bears its number.
    numbered: bool,
}

impl Frame {
    /// An event of the Responses API.
    pub(super) fn named_by_type(data: Value) -> Self {
        let is_text = data["type"] == "response.output_text.delta";
        Self { name: Some(data["type"].as_str().unwrap_or_default().to_owned()), data, is_text, numbered: true }
    }

    /// An event of Anthropic's, or a chunk without a name.
    pub(super) fn new(name: Option<&str>, data: Value, is_text: bool) -> Self {
        Self { name: name.map(str::to_owned), data, is_text, numbered: false }
    }

    pub(super) fn text(mut self, number: usize) -> String {
        if self.numbered && self.data["sequence_number"].is_null() {
            self.data["sequence_number"] = number.into();
        }
        let name = self.name.map(|name| format!("event: {name}\n")).unwrap_or_default();
        // What is not JSON is a text of the protocol's own.
        let data = self.data.as_str().map_or_else(|| self.data.to_string(), str::to_owned);
        format!("{name}data: {data}\n\n")
    }
}
