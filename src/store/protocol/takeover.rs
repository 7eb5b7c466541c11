//! What becomes of a run that nobody has any more, or that has waited for too long.

use super::RowFacts;
use crate::run::{CrashPolicy, FailureKind, RunStatus};

/// What a takeover does to an unsettled run whose process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// The run waits again, for anybody.
    Requeue,
    /// The run settles as `ERROR`, for this reason.
    Fail(FailureKind),
    /// Somebody wanted the run cancelled, and nothing of it is running any more.
    Cancel,
}

impl Takeover {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Requeue => "requeued",
            Self::Fail(_) => "failed",
            Self::Cancel => "cancelled",
        }
    }
}

/// Decides what becomes of an unsettled run whose process died.
pub(crate) fn take_over(row: &RowFacts, on_crash: CrashPolicy) -> Takeover {
    use FailureKind::{AttemptsExhausted, ProcessDied};
    if row.cancel_wanted {
        return Takeover::Cancel;
    }
    match (row.status, on_crash) {
        (RunStatus::Running, CrashPolicy::Fail) => Takeover::Fail(ProcessDied),
        (RunStatus::Running, CrashPolicy::Resume | CrashPolicy::Restart) if row.starts >= row.max_attempts => {
            Takeover::Fail(AttemptsExhausted)
        }
        _ => Takeover::Requeue,
    }
}

/// Whether a run that was never started should have been by now. One that was started once is never late.
pub(super) fn is_overdue(row: &RowFacts) -> bool {
    row.late && row.starts == 0 && row.status == RunStatus::Pending
}

/// Decides what becomes of a run that waits, to be started or for people; `None` when it waits on.
pub(crate) fn time_out(row: &RowFacts) -> Option<Takeover> {
    if row.node.is_some() {
        return None;
    }
    let kind = if row.status == RunStatus::Paused && row.late {
        FailureKind::PauseTimeout
    } else if is_overdue(row) {
        FailureKind::QueueTimeout
    } else {
        return None;
    };
    Some(if row.cancel_wanted { Takeover::Cancel } else { Takeover::Fail(kind) })
}

/// The message of a run that fails while nobody has it: because its process died, or because it was not started, or continued,
/// in time.
pub(crate) fn takeover_message(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::AttemptsExhausted => "the process that ran the run died, and the run has no attempts left",
        FailureKind::QueueTimeout => "the run was not started in time",
        FailureKind::PauseTimeout => "the run was not continued in time",
        FailureKind::ProcessDied
        | FailureKind::AgentError
        | FailureKind::Panic
        | FailureKind::ModelError
        | FailureKind::Timeout
        | FailureKind::OutputTooLarge
        | FailureKind::TurnLimit
        | FailureKind::ToolCallLimit
        | FailureKind::TokenLimit
        | FailureKind::InvalidOutput
        | FailureKind::InvalidStep
        | FailureKind::StepsChanged
        | FailureKind::ChildFailed
        | FailureKind::ChildRefused
        | FailureKind::Shutdown
        | FailureKind::Internal
        | FailureKind::Unknown => "the process that ran the run died",
    }
}
