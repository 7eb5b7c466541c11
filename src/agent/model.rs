//! What a model is to Greenroom: one turn in, pieces of text and a final message out.

use std::fmt;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::{Message, ModelRequest, ToolCall};
use crate::run::Usage;

/// A model that answers.
///
/// A turn is a stream: any number of [`ModelEvent::Text`], then exactly one [`ModelEvent::Done`] or an error. What else there
/// is among the events is for models that need it. A stream that
/// ends without either is a failed turn. Dropping the stream must give up the turn at once, which for HTTP means closing
/// the connection (or resetting its stream): that is how a cancel reaches the model, also in the middle of a back-off.
pub trait Model: Send + Sync + 'static {
    /// The model's id, as its provider knows it.
    fn id(&self) -> &str;

    /// Who provides the model.
    fn provider(&self) -> &str;

    /// Asks for one turn.
    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>>;

    /// Gives up what goes on elsewhere of a turn of which this was [noted](ModelEvent::Note). Does nothing, unless a model has
    /// something to do here.
    ///
    /// It is called when a run ends early and for good, cancelled or timed out, and when [another model](super::FallbackModel) is
    /// asked instead. That is after the turn's stream was dropped, and nobody waits for it. It is not called when the run goes
    /// on in another attempt.
    fn abandon(&self, note: Value) -> BoxFuture<'static, ()> {
        drop(note);
        Box::pin(std::future::ready(()))
    }
}

/// A piece of a turn.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum ModelEvent {
    /// The next piece of the answer's text.
    Text(String),
    /// The next piece of what the model says about its reasoning; it is no part of the answer.
    Reasoning(String),
    /// The whole turn; nothing comes after it.
    Done(ModelTurn),
    /// Something to be durable before the next event is asked for: an attempt of the run that takes up this very turn again
    /// finds it in [`ModelRequest::note`]. A later note of the turn replaces it; and when the run fails because of what the turn
    /// said, whoever resumes it finds none.
    Note(Value),
    /// From here on, another model is asked than the one before.
    Instead {
        /// The model's id, as its provider knows it.
        model: String,
        /// Who provides the model.
        provider: String,
    },
}

/// A turn that is complete. It is remembered as JSON, see [`CrashPolicy::Resume`](crate::CrashPolicy::Resume).
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelTurn {
    /// The whole text, the pieces that were streamed before included.
    pub text: String,
    /// The tools that the model wants called, in its order; none when the turn is an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// What the turn cost.
    pub usage: Usage,
    /// The provider's id of the answer, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// What the model's client wants to see again when the conversation goes on, and only it understands: for instance what
    /// the model has thought before it called a tool, encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_data: Option<Value>,
}

impl ModelTurn {
    /// A turn that says `text`.
    #[must_use]
    pub fn new(text: impl Into<String>, usage: Usage) -> Self {
        Self { text: text.into(), usage, ..Self::default() }
    }

    /// The turn as a message of the conversation that goes on.
    #[must_use]
    pub fn to_message(&self) -> Message {
        let said = Message::calls(self.text.as_str(), self.tool_calls.clone());
        Message { provider_data: self.provider_data.clone(), ..said }
    }
}

impl fmt::Debug for ModelEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Reasoning(text) => write!(f, "Reasoning({} bytes)", text.len()),
            Self::Done(turn) => f.debug_tuple("Done").field(turn).finish(),
            Self::Note(_) => f.write_str("Note"),
            Self::Instead { model, provider } => {
                f.debug_struct("Instead").field("model", model).field("provider", provider).finish()
            }
        }
    }
}

impl fmt::Debug for ModelTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelTurn")
            .field("tool_calls", &self.tool_calls)
            .field("usage", &self.usage)
            .field("response_id", &self.response_id)
            .finish_non_exhaustive()
    }
}

/// Why a turn failed. The message holds neither a key nor what the model was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    kind: ModelErrorKind,
    message: String,
}

impl ModelError {
    /// An error of this kind.
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What sort of error it is.
    #[must_use]
    pub const fn kind(&self) -> ModelErrorKind {
        self.kind
    }
}

impl ModelErrorKind {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Server | Self::Connect | Self::Timeout | Self::Cut => true,
            Self::Auth
            | Self::OutOfQuota
            | Self::Request
            | Self::ContextTooLong
            | Self::Failed
            | Self::Incomplete
            | Self::Protocol => false,
        }
    }
}

/// The sorts of model errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelErrorKind {
    /// The key is missing or refused (401, 403).
    Auth,
    /// The account has no money left, or a limit of what it may spend is reached (402, or 429 with `insufficient_quota`):
    /// nobody but people can change that.
    OutOfQuota,
    /// The provider refuses the request itself (other 4xx).
    Request,
    /// The conversation is longer than the model can take.
    ContextTooLong,
    /// Too many requests, also after the retries (429), or an answer that ended because of that.
    RateLimited,
    /// The provider failed, also after the retries (5xx, 408, 409), or broke down in the middle of its answer.
    Server,
    /// No connection could be made, also after the retries.
    Connect,
    /// The provider was silent for too long.
    Timeout,
    /// The answer was cut off before its end.
    Cut,
    /// The provider says that the answer failed, and not that it may succeed later; or it ended for a reason that is not known.
    Failed,
    /// The provider says that the answer is incomplete: a token limit or a content filter.
    Incomplete,
    /// The answer is none that this client understands.
    Protocol,
}
