//! What has come of a run: what a caller polls for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Content, Requirement, RunId, RunStatus, SessionId, ToolExecution, UserId};

/// What has come of a run so far.
///
/// `Debug` does not show the content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunOutput {
    /// The run.
    pub run_id: RunId,
    /// The conversation that the run is part of.
    pub session_id: SessionId,
    /// The name of the agent.
    pub agent: String,
    /// Whom the run belongs to, when the caller said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The run that has submitted this one as its child or, when that one had failed, the one that has
    /// [resumed](crate::Runtime::resume_failed) it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<RunId>,
    /// Where the run is in its life.
    pub status: RunStatus,
    /// What the agent returned; what it had said so far, when the run was cancelled or failed, or is paused. Set when the run
    /// settles, and while it is `PAUSED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Why the run failed; set exactly when the status is `ERROR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunFailure>,
    /// The tool calls that the run has made, those of its last attempt with those that it remembers of earlier ones, in the order
    /// in which they began. A call without a result and metrics had not ended. Set as the content is; empty when nobody was left who
    /// could tell. Together they are at most as large as the runtime's [`max_output`](crate::RuntimeBuilder::max_output): of calls
    /// that come when that is reached, results are left out, then arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolExecution>,
    /// What people have to decide before the run goes on; empty unless the status is `PAUSED`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<Requirement>,
    /// What the run cost; zero until it settles or pauses.
    pub metrics: Metrics,
    /// When the run was accepted, by the database's clock.
    pub created_at: DateTime<Utc>,
    /// When user code was started by the latest attempt, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// Since when the run has been `PAUSED`, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<DateTime<Utc>>,
    /// When the run settled, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<DateTime<Utc>>,
}

/// What a run cost, all turns of its last attempt together, with those that it remembers of earlier ones. Durations are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Metrics {
    /// The tokens of all turns.
    #[serde(flatten)]
    pub usage: Usage,
    /// Seconds from the start of user code to the first piece of content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<f64>,
    /// Seconds from the start of user code to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
}

/// Tokens, as the model's provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Tokens that went in.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens that came out, those of its reasoning included.
    #[serde(default)]
    pub output_tokens: u64,
    /// Both together, as the provider says.
    #[serde(default)]
    pub total_tokens: u64,
    /// Those that went in and that the provider still knew from an earlier request; left out when there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_tokens: u64,
    /// Those that went in and that the provider has kept for a later request; left out when there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Those that came out as reasoning; left out when there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

const fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, turn: Self) {
        self.input_tokens = self.input_tokens.saturating_add(turn.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(turn.output_tokens);
        self.total_tokens = self.total_tokens.saturating_add(turn.total_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(turn.cache_read_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(turn.cache_write_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(turn.reasoning_tokens);
    }
}

/// Why a run failed. A failed run is not an error of the call that asks for it: it is stored, and returned as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunFailure {
    /// What sort of failure it is.
    pub kind: FailureKind,
    /// What went wrong, for people.
    pub message: String,
}

impl RunFailure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        // Postgres cannot hold U+0000 in a text, and a panic message may contain anything.
        Self { kind, message: message.into().replace('\0', "\u{fffd}") }
    }
}

/// The sorts of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum FailureKind {
    /// The agent's own code returned an error.
    AgentError,
    /// The agent's own code panicked.
    Panic,
    /// The model refused, failed, or its answer was cut off.
    ModelError,
    /// The run took longer than its timeout.
    Timeout,
    /// The run was not started in time.
    QueueTimeout,
    /// Nobody continued the paused run in time.
    PauseTimeout,
    /// The content is larger than the runtime's limit.
    OutputTooLarge,
    /// The model wanted more turns than the agent allows.
    TurnLimit,
    /// The model wanted more tools called than the agent allows.
    ToolCallLimit,
    /// The turns of the model have cost more tokens than the agent allows.
    TokenLimit,
    /// The answer does not have the form that the agent asks for.
    InvalidOutput,
    /// A step cannot be remembered: its name, its result or the number of steps is out of bounds.
    InvalidStep,
    /// The code called its steps in another order than an earlier attempt, or reads a result as something else.
    StepsChanged,
    /// A child of the run did not complete, and the code went no other way.
    ChildFailed,
    /// A child of the run could not be submitted, or is none.
    ChildRefused,
    /// The process that ran the run died, and the agent does not want to be run again.
    ProcessDied,
    /// The runtime was shut down before the run ended, and the agent does not want to be run again.
    Shutdown,
    /// User code was started as often as the run allows.
    AttemptsExhausted,
    /// The runtime itself lost the run: a defect of Greenroom.
    Internal,
    /// A kind that this version does not know, written by a later one.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}
