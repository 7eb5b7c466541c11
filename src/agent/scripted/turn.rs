//! A turn of a script, and how it is played.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::Open;
use crate::agent::{ModelError, ModelEvent, ModelRequest, ModelTurn, ToolCall};
use crate::run::Usage;

/// What a scripted model says in one turn, and how the turn ends: completed, when nothing else is said.
#[derive(Clone, Debug)]
#[must_use = "a turn does nothing until a model plays it"]
pub struct ScriptedTurn {
    words: Words,
    calls: Vec<ToolCall>,
    delay: Duration,
    usage: Usage,
    end: End,
}

#[derive(Clone)]
enum Words {
    Text(String),
    Echo,
}

#[derive(Clone, Debug)]
enum End {
    Done,
    Stall,
    Fail(ModelError),
    Cut,
}

impl ScriptedTurn {
    /// Says `text`, word by word.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Words::Text(text.into()))
    }

    /// Says what it was told: the text of the request's last message, word by word.
    pub fn echo() -> Self {
        Self::new(Words::Echo)
    }

    /// Says nothing, and wants these tools called; see [`then_call`](Self::then_call).
    pub fn calls(calls: impl IntoIterator<Item = ToolCall>) -> Self {
        let calls = calls.into_iter().collect();
        Self { calls, ..Self::default() }
    }

    fn new(words: Words) -> Self {
        Self { words, calls: Vec::new(), delay: Duration::ZERO, usage: Usage::default(), end: End::Done }
    }

    /// Says its text, and wants the tool `name` called with these arguments, after the calls that it wants already.
    ///
    /// The call's id is made of the number of the request and that of the call in its turn, both from 1: `call_1_1`.
    pub fn then_call(mut self, name: impl Into<String>, arguments: impl Into<Value>) -> Self {
        self.calls.push(ToolCall::new("", name, arguments.into().to_string()));
        self
    }

    /// Waits this long before each piece, and before its calls, by tokio's clock; not at all when left out.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// What the turn costs; nothing when left out.
    pub const fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Says its text, and then nothing more for ever.
    pub fn then_stall(mut self) -> Self {
        self.end = End::Stall;
        self
    }

    /// Says its text, and then fails.
    pub fn then_fail(mut self, error: ModelError) -> Self {
        self.end = End::Fail(error);
        self
    }

    /// Says its text, and then ends without having completed the turn, as a connection does that is cut.
    pub fn then_cut(mut self) -> Self {
        self.end = End::Cut;
        self
    }

    /// Begins the turn, as the answer to a model's request of this number, from 1.
    pub(super) fn play(self, number: usize, request: &ModelRequest, open: Open) -> Playing {
        let text = match self.words {
            Words::Text(text) => text,
            Words::Echo => request.messages.last().map(|heard| heard.content.to_string()).unwrap_or_default(),
        };
        let mut calls = self.calls;
        for (place, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.id.is_empty()) {
            call.id = format!("call_{number}_{}", place + 1);
        }
        let pieces = text.split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>().into_iter();
        let turn = ModelTurn { tool_calls: calls, ..ModelTurn::new(text, self.usage) };
        Playing { pieces, turn, delay: self.delay, end: self.end, _open: open }
    }
}

impl Default for ScriptedTurn {
    /// A turn that says nothing.
    fn default() -> Self {
        Self::text("")
    }
}

/// A turn under way.
pub(super) struct Playing {
    pieces: std::vec::IntoIter<String>,
    turn: ModelTurn,
    delay: Duration,
    end: End,
    _open: Open,
}

impl Playing {
    pub(super) async fn next(mut self) -> Option<(Result<ModelEvent, ModelError>, Option<Self>)> {
        if let Some(piece) = self.pieces.next() {
            self.wait().await;
            return Some((Ok(ModelEvent::Text(piece)), Some(self)));
        }
        if !self.turn.tool_calls.is_empty() {
            self.wait().await;
        }
        match self.end {
            End::Done => Some((Ok(ModelEvent::Done(self.turn)), None)),
            End::Fail(error) => Some((Err(error), None)),
            End::Cut => None,
            End::Stall => std::future::pending().await,
        }
    }

    async fn wait(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }
}

/// Does not show the text.
impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Echo => f.write_str("Echo"),
        }
    }
}
