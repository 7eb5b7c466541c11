//! Who submits and who cancels: how far each request has come, and what its caller was told.

use super::row::{CancelAnswer, Inserted, Met};
use crate::run::RunStatus;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    Submit(Submit),
    Cancel {
        run: u8,
    },
    /// Decides what the run waits for.
    Continue {
        run: u8,
    },
}

/// A run to be submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Submit {
    pub(super) run: u8,
    pub(super) content: u8,
    /// With the one idempotency key that there is, the run's id being made up; else with a given id, and no key.
    pub(super) keyed: bool,
    /// The process has room and takes the run up at once.
    pub(super) owned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    /// The process that is asked.
    pub(super) at: u8,
    pub(super) ask: Ask,
    pub(super) progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    Todo,
    Insert {
        node: Option<u8>,
        at: InsertAt,
    },
    Cancel(CancelAt),
    /// A continue, and its answer when it was done.
    Continue(Option<Result<(), RunStatus>>),
    /// For a live run of the process to end.
    AwaitsEnd,
    /// For the process to hear that it has the run.
    AwaitsLife,
    Told(Told),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum InsertAt {
    Sent,
    /// What the insert meets was looked for before it: only in a broken protocol.
    Looked(Met),
    Answered(Inserted),
}

/// How far a cancel by a write has come: the statement that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CancelAt {
    /// `CancelRuns`, for the first or the second time.
    Cancel {
        again: bool,
    },
    /// `SettledStatuses`.
    Settled {
        again: bool,
    },
    /// `StoreIntents`.
    Store,
    Answered(CancelAnswer),
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// As this run.
    Accepted(u8),
    Conflict,
    /// Another run has the key.
    KeyTaken,
    Cancelled,
    Requested,
    AlreadySettled(RunStatus),
    IntentStored,
    Continued,
    NotPaused,
    /// Another run has the session to itself.
    SessionBusy,
    /// Nothing is known: the request may have been done or not.
    Unknown,
}

impl Caller {
    pub(super) const fn new(at: u8, ask: Ask) -> Self {
        Self { at, ask, progress: Progress::Todo }
    }

    pub(super) const fn run(&self) -> u8 {
        match self.ask {
            Ask::Submit(Submit { run, .. }) | Ask::Cancel { run } | Ask::Continue { run } => run,
        }
    }

    pub(super) fn told(&self) -> Option<Told> {
        match self.progress {
            Progress::Told(told) => Some(told),
            Progress::Todo
            | Progress::Insert { .. }
            | Progress::Cancel(_)
            | Progress::Continue(_)
            | Progress::AwaitsEnd
            | Progress::AwaitsLife => None,
        }
    }

    /// Whether a cancel was acknowledged: the run must not start any more.
    pub(super) fn has_cancelled(&self) -> bool {
        matches!(self.told(), Some(Told::Cancelled | Told::Requested | Told::IntentStored))
    }

    pub(super) fn tell(&mut self, told: Told) {
        self.progress = Progress::Told(told);
    }

    pub(super) fn cancel_in_store(&mut self) {
        self.progress = Progress::Cancel(CancelAt::Cancel { again: false });
    }
}
