//! What can go wrong at the front door.

use crate::agent::InvalidAgent;
use crate::run::{InvalidRun, RunId, RunStatus};
use crate::store::StoreError;

/// An error of a [`Runtime`](crate::Runtime).
///
/// A run that fails is not an error: it is data, see [`RunOutput::error`](crate::RunOutput::error).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run or a query asks for something impossible. Nothing was stored.
    #[error(transparent)]
    Invalid(#[from] InvalidRun),
    /// An agent cannot be made.
    #[error(transparent)]
    InvalidAgent(#[from] InvalidAgent),
    /// Two agents have the same name.
    #[error("agent `{0}` is registered twice")]
    AgentTwice(String),
    /// No agent has this name. Nothing was stored.
    #[error("agent `{0}` is not registered with this runtime")]
    UnknownAgent(String),
    /// An option of the runtime is wrong.
    #[error("runtime option `{option}` {problem}")]
    Option {
        /// The name of the option.
        option: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The runtime was built without a store.
    #[error("runtime has no store; give it one, `Store::sqlite_in_memory()` to begin with")]
    NoStore,
    /// The threads of the runtime could not be started.
    #[error("runtime could not start its threads: {0}")]
    Threads(std::io::Error),
    /// Another run has this id. Nothing was stored.
    #[error("run {0} exists already and was asked for something else")]
    Conflict(RunId),
    /// The idempotency key belongs to this run, which was asked for something else, or has another id than the one that was
    /// brought along. Nothing was stored.
    #[error("idempotency key belongs to run {0}, which was asked for something else or has another id")]
    KeyConflict(RunId),
    /// This run of the session has not settled, and its agent refuses a second one
    /// ([`SessionPolicy::Refuse`](crate::SessionPolicy::Refuse)). Nothing was stored; once that run has settled, the session is
    /// free again.
    #[error("session is busy: run {0} has not settled")]
    SessionBusy(RunId),
    /// As many runs wait as may wait. Nothing was stored; later there may be room.
    #[error("runtime is full: {0} runs wait already")]
    Full(usize),
    /// As many calls wait for their answers as may wait, or their inputs are too much together (256 MiB). Nothing was stored; later
    /// there may be room.
    #[error("runtime is overloaded: {0} calls wait for their answers already")]
    Overloaded(usize),
    /// As many cancels of unknown runs are kept as may be kept. Nothing was stored; later there may be room.
    #[error("cancel of the unknown run {0} cannot be kept: there are as many cancel intents as there may be")]
    TooManyIntents(RunId),
    /// The runtime is being shut down, or is gone. Nothing was stored.
    #[error("runtime is shutting down")]
    ShuttingDown,
    /// The database did not say in time whether the run was accepted. Submitting the same run with this id again is right:
    /// it is one run, however often it is submitted.
    #[error("run {run_id} may not have been accepted, submit it again with this id: {reason}")]
    Unconfirmed {
        /// The id of the run, also when it was made up.
        run_id: RunId,
        /// Why nothing is known.
        reason: StoreError,
    },
    /// The run does not wait for people: it was continued before, or has settled, or has never asked. Nothing was stored.
    #[error("run {run_id} is not paused: it is {status}")]
    NotPaused {
        /// The run.
        run_id: RunId,
        /// Its status.
        status: RunStatus,
    },
    /// The run has not failed, so there is nothing to resume: it is still under way, has completed, or was cancelled. Nothing was
    /// stored.
    #[error("run {run_id} has not failed: it is {status}")]
    NotFailed {
        /// The run.
        run_id: RunId,
        /// Its status.
        status: RunStatus,
    },
    /// There is no such run.
    #[error("run {0} does not exist")]
    NotFound(RunId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Whether asking this runtime again later may succeed (a 429 or 503 on HTTP).
    ///
    /// [`ShuttingDown`](Self::ShuttingDown) is not retryable, though it is a 503 on HTTP: this runtime takes nothing more, another
    /// process may.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Full(_) | Self::Overloaded(_) | Self::TooManyIntents(_) | Self::Unconfirmed { .. } => true,
            Self::Store(error) => error.is_retryable(),
            Self::Invalid(_)
            | Self::InvalidAgent(_)
            | Self::AgentTwice(_)
            | Self::UnknownAgent(_)
            | Self::Option { .. }
            | Self::NoStore
            | Self::Threads(_)
            | Self::Conflict(_)
            | Self::KeyConflict(_)
            | Self::SessionBusy(_)
            | Self::NotPaused { .. }
            | Self::NotFailed { .. }
            | Self::ShuttingDown
            | Self::NotFound(_) => false,
        }
    }

    /// Whether what was asked for does not exist (a 404 on HTTP).
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::UnknownAgent(_))
    }
}
