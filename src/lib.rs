#![doc = include_str!("../README.md")]
//!
//! # Layout, for those who read the code
//!
//! Layers, from the top; each uses only those below it:
//!
//! - [`web`]: the HTTP door;
//! - `runtime`: the front door, [`Runtime`] and its handles, and the crate's [`Error`];
//! - `actors`: the manager, one actor per run, and the persister; begin with `actors.rs`, which draws their messages, and
//!   go on with the one `async fn` that is a run's whole life, in `actors/run_actor/life.rs`;
//! - `agent`: what user code sees: [`Agent`], [`RunContext`], models;
//! - `store`: what is read and written, on Postgres and SQLite; `store/protocol.rs` decides what a write may do to a run;
//! - `telemetry`: what all of them tell in numbers;
//! - `run`: what a run is: plain data.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("greenroom needs a store: enable the feature `postgres`, the feature `sqlite`, or both");

mod actors;
mod agent;
mod error;
mod run;
mod runtime;
mod store;
mod telemetry;
#[cfg(all(test, feature = "postgres"))]
#[path = "../tests/support/postgres.rs"]
mod test_postgres;
#[cfg(feature = "web")]
pub mod web;

#[cfg(feature = "anthropic")]
pub use crate::agent::AnthropicMessages;
#[cfg(feature = "genai")]
pub use crate::agent::GenaiModel;
pub use crate::agent::{
    Agent, AgentBuilder, AgentError, FallbackModel, InvalidAgent, RetryPolicy, RunContext, ScriptedModel, ScriptedTurn,
    Tool, ToolContext,
};
#[cfg(feature = "mcp")]
pub use crate::agent::{McpError, McpServer};
#[cfg(feature = "openai")]
pub use crate::agent::{OpenAIChat, OpenAIResponses};
pub use crate::error::Error;
pub use crate::run::{
    Confirmation, Content, CrashPolicy, Decision, Exchange, FailureKind, InputField, InputKind, InvalidRun,
    InvalidRunId, Metadata, Metrics, NewRun, Question, Requirement, RequirementKind, Run, RunEvent, RunEventKind,
    RunFailure, RunId, RunOutput, RunStatus, SessionId, SessionPolicy, SessionState, StepKey, ToolExecution,
    ToolMetrics, TraceParent, UnknownStatus, Usage, UserId,
};
#[cfg(feature = "webhooks")]
pub use crate::runtime::WebhookOptions;
pub use crate::runtime::{
    AgentHandle, CancelOutcome, Drained, EventStream, Readiness, RunHandle, Runtime, RuntimeBuilder, UserRuntime,
};
#[cfg(feature = "postgres")]
pub use crate::store::PostgresOptions;
pub use crate::store::{Cursor, InvalidCursor, Page, RunCounts, RunQuery, Store, StoreError};
#[cfg(feature = "prometheus")]
pub use crate::telemetry::{OtherRecorder, Prometheus};

/// For the `JsonSchema` of the arguments of [tools](Tool) and of [answers](AgentBuilder::output). What derives it looks for
/// `schemars` where it is derived: by `use greenroom::schemars::{self, JsonSchema}`, or among one's own dependencies.
pub use schemars;

/// For the clients and options of a [`GenaiModel`], in the version that it takes.
#[cfg(feature = "genai")]
pub use genai;

/// What a model is, for those who bring their own.
///
/// Implement [`Model`](model::Model) for a client, and give it to
/// [`AgentBuilder::model`]. A turn is a stream, and dropping the stream gives the turn up.
pub mod model {
    pub use crate::agent::{
        Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelTurn, OutputSpec, Role, ToolCall,
        ToolChoice, ToolSpec,
    };
}
