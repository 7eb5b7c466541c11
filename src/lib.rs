//! Greenroom.

#![forbid(unsafe_code)]

mod actors;
mod agent;
mod error;
mod run;
mod runtime;
mod store;
#[cfg(all(test, feature = "postgres"))]
#[path = "../tests/support/postgres.rs"]
mod test_postgres;

#[cfg(feature = "openai")]
pub use crate::agent::OpenAIResponses;
pub use crate::agent::{Agent, AgentBuilder, AgentError, InvalidAgent, RunContext, ScriptedModel, ScriptedTurn};
pub use crate::error::Error;
pub use crate::run::{
    Content, CrashPolicy, Exchange, FailureKind, InvalidRun, InvalidRunId, Metadata, Metrics, NewRun, Run, RunEvent,
    RunEventKind, RunFailure, RunId, RunOutput, RunStatus, SessionId, UnknownStatus, Usage, UserId,
};
pub use crate::runtime::{AgentHandle, CancelOutcome, Drained, EventStream, RunHandle, Runtime, RuntimeBuilder};
#[cfg(feature = "postgres")]
pub use crate::store::PostgresOptions;
pub use crate::store::{Cursor, InvalidCursor, Page, RunQuery, Store, StoreError};

/// What a model is, for those who bring their own.
///
/// Implement [`Model`](model::Model) for a client, and give it to
/// [`AgentBuilder::model`]. A turn is a stream, and dropping the stream gives the turn up.
pub mod model {
    pub use crate::agent::{Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelTurn, Role};
}
