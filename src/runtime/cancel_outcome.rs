//! What a cancel has done.

use crate::run::RunStatus;

/// What a cancel has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelOutcome {
    /// The run is `CANCELLED`, by this cancel or by one at the same time.
    Cancelled,
    /// Another process has the run. The request is durable and that process will see it; the run ends `CANCELLED` unless
    /// it settles first.
    Requested,
    /// The run had settled, with this status.
    AlreadySettled(RunStatus),
    /// There is no such run. A run that is submitted with this id before the intent expires will be cancelled before it
    /// starts.
    IntentStored,
}

impl CancelOutcome {
    /// Whether the run was known and had not settled: what agno's `cancel_run` answers.
    #[must_use]
    pub const fn was_live(self) -> bool {
        matches!(self, Self::Cancelled | Self::Requested)
    }
}
