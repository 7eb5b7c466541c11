//! How a run ends here, and in which words.

use std::time::Duration;

use crate::run::{FailureKind, Metrics, RunEventKind, RunFailure, RunStatus};
use crate::store::StoreError;
use crate::store::protocol::{CANCELLED_BY_CALLER, Refusal, takeover_message};

/// How a run stopped being live here.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Settled(RunStatus),
    /// The run waits for people.
    Paused,
    /// The run waits again, for anybody.
    HandedBack,
    /// The run waits again, for anybody, but not before so long.
    Retrying(Duration),
    /// Another attempt has the run, and this one has no say any more.
    Fenced,
    /// The store did not take what became of the run.
    Unstored(StoreError),
}

impl Ending {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Settled(RunStatus::Completed) => "completed",
            Self::Settled(RunStatus::Cancelled) => "cancelled",
            Self::Settled(RunStatus::Error | RunStatus::Pending | RunStatus::Running | RunStatus::Paused) => "error",
            Self::Paused => "paused",
            Self::HandedBack => "handed_back",
            Self::Retrying(_) => "retrying",
            Self::Fenced => "lost",
            Self::Unstored(_) => "unstored",
        }
    }
}

/// The event that says how a run settles.
pub(crate) fn last_event(status: RunStatus, error: Option<&RunFailure>, metrics: Metrics) -> RunEventKind {
    match (status, error) {
        (RunStatus::Cancelled, _) => RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() },
        (_, Some(error)) => RunEventKind::RunError { error_type: error.kind, content: error.message.clone() },
        (_, None) => RunEventKind::RunCompleted { metrics },
    }
}

/// What a refused write says about the run.
pub(super) fn ending_of(refusal: Refusal) -> Ending {
    match refusal {
        Refusal::Settled(status) => Ending::Settled(status),
        Refusal::Missing
        | Refusal::Fenced
        | Refusal::CancelWanted
        | Refusal::Exhausted
        | Refusal::Late
        | Refusal::OutOfStep => {
            tracing::error!(?refusal, "the store refused a write: this attempt has no say any more");
            Ending::Fenced
        }
    }
}

pub(super) fn exhausted() -> RunFailure {
    RunFailure::new(FailureKind::AttemptsExhausted, "user code was started as often as the run allows")
}

pub(super) fn late() -> RunFailure {
    RunFailure::new(FailureKind::QueueTimeout, takeover_message(FailureKind::QueueTimeout))
}

pub(super) fn too_large(limit: usize) -> RunFailure {
    RunFailure::new(FailureKind::OutputTooLarge, format!("the content is larger than {limit} bytes"))
}
