//! What a cancel does to a run that is not live in the process that is asked.

#[cfg(any(test, feature = "sqlite"))]
use super::RowFacts;
use crate::run::{RunId, RunStatus, UserId};
use crate::store::NodeId;

/// The reason that a cancelled run's last event gives.
pub(crate) const CANCELLED_BY_CALLER: &str = "cancelled by the caller";

/// A cancel of a run, and of the intent that it leaves where there is no such run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cancel {
    pub(crate) run_id: RunId,
    /// Whose run it may hit; anybody's when it is on nobody's behalf.
    pub(crate) user_id: Option<UserId>,
}

impl Cancel {
    /// Whether it hits a run that belongs to `owner`. For one who may not touch that run, there is no such run.
    pub(crate) fn hits(&self, owner: Option<&UserId>) -> bool {
        self.user_id.is_none() || self.user_id.as_ref() == owner
    }
}

impl From<RunId> for Cancel {
    fn from(run_id: RunId) -> Self {
        Self { run_id, user_id: None }
    }
}

/// What a cancel of a run that is not live in this process has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelWritten {
    /// Nobody owned the run, which waited to be taken up: it is cancelled.
    Cancelled,
    /// Nobody owned the run, which waited for people: it is cancelled.
    CancelledPaused,
    /// `node` owns the run: the request is on the row.
    Requested(NodeId),
    /// The run had settled.
    Settled(RunStatus),
    /// There is no such run: the intent waits for it.
    IntentStored,
    /// There is no such run, and there are as many intents as there may be.
    TooManyIntents,
}

/// What a cancel by a write does. On Postgres, its statements decide the same.
#[cfg(any(test, feature = "sqlite"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelVerdict {
    /// Nobody has the run: it settles as `CANCELLED`.
    Settle,
    /// `node` has the run: the request goes on the row.
    Request(NodeId),
    /// The run had settled: nothing is done.
    Settled(RunStatus),
    /// There is no such run: the intent is stored.
    StoreIntent,
}

/// Decides what a cancel does to a run of which the store knows `row`.
#[cfg(any(test, feature = "sqlite"))]
pub(crate) fn judge_cancel(row: Option<&RowFacts>) -> CancelVerdict {
    match row {
        None => CancelVerdict::StoreIntent,
        Some(row) if row.status.is_terminal() => CancelVerdict::Settled(row.status),
        Some(row) => row.node.map_or(CancelVerdict::Settle, CancelVerdict::Request),
    }
}
