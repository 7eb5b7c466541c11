//! What the driver asks of a worker, and what a worker answers: a line of JSON each.

use std::time::Duration;

use greenroom::{CancelOutcome, RunEvent, RunId, RunStatus, StepKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) call: u64,
    pub(crate) ask: Ask,
}

/// A call of the runtime. A new one has its place here, in [`Answer`], and in `worker/serve.rs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Submit(Submit),
    Cancel {
        run_id: RunId,
    },
    /// A cancel on behalf of a user.
    CancelFor {
        run_id: RunId,
        user: String,
    },
    Get {
        run_id: RunId,
    },
    /// A run as this user sees it.
    GetFor {
        run_id: RunId,
        user: String,
    },
    /// The latest runs as this user sees them.
    ListFor {
        user: String,
    },
    Wait {
        run_id: RunId,
        millis: u64,
    },
    /// Follows a run after this seq, for so long; each event is a line of its own.
    Watch {
        run_id: RunId,
        after: Option<u64>,
        millis: u64,
    },
    /// Waits for so long until a run is paused.
    AwaitPause {
        run_id: RunId,
        millis: u64,
    },
    Continue(Continue),
}

impl Ask {
    /// How long the answer may be kept waiting on purpose.
    pub(crate) const fn takes(&self) -> Duration {
        match self {
            Self::Wait { millis, .. } | Self::Watch { millis, .. } | Self::AwaitPause { millis, .. } => {
                Duration::from_millis(*millis)
            }
            Self::Submit(_)
            | Self::Cancel { .. }
            | Self::CancelFor { .. }
            | Self::Get { .. }
            | Self::GetFor { .. }
            | Self::ListFor { .. }
            | Self::Continue(_) => Duration::ZERO,
        }
    }

    /// The run that it names.
    pub(crate) const fn run_id(&self) -> Option<RunId> {
        match self {
            Self::Submit(Submit { key: Some(_), .. }) | Self::ListFor { .. } => None,
            Self::Submit(submit) => Some(submit.run_id),
            Self::Cancel { run_id }
            | Self::CancelFor { run_id, .. }
            | Self::Get { run_id }
            | Self::GetFor { run_id, .. }
            | Self::Wait { run_id, .. }
            | Self::Watch { run_id, .. }
            | Self::AwaitPause { run_id, .. }
            | Self::Continue(Continue { run_id, .. }) => Some(*run_id),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Submit {
    /// With a key the runtime makes up an id, and this one means nothing.
    pub(crate) run_id: RunId,
    pub(crate) key: Option<String>,
    pub(crate) agent: String,
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) input: Value,
}

/// What somebody decides of a paused run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Continue {
    pub(crate) run_id: RunId,
    /// On whose behalf; nobody's when it is `None`.
    pub(crate) user: Option<String>,
    /// The question.
    pub(crate) need: StepKey,
    /// Nobody else's answer to it.
    pub(crate) answer: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Accepted {
        run_id: RunId,
        status: RunStatus,
    },
    Conflict,
    /// Another run has the key.
    KeyConflict {
        run_id: RunId,
    },
    /// This run has the session to itself.
    Busy {
        run_id: RunId,
    },
    Cancelled,
    CancelRequested,
    AlreadySettled(RunStatus),
    IntentStored,
    /// What a `Get` or a `Wait` has brought.
    Output {
        status: RunStatus,
        content: Option<Value>,
    },
    Missing,
    /// The runs of a list, and whose they are.
    Listed(Vec<(RunId, Option<String>)>),
    /// A watch has ended: by itself, which means after the terminal event, or because its time was over.
    Watched {
        by_itself: bool,
    },
    /// The run is paused, and waits for these.
    Paused {
        needs: Vec<StepKey>,
    },
    Continued,
    NotPaused(RunStatus),
    /// A decision is not what the run waits for.
    Unfit,
    Refused {
        /// The error says that nothing was stored.
        nothing_stored: bool,
        problem: String,
    },
}

impl From<CancelOutcome> for Answer {
    fn from(outcome: CancelOutcome) -> Self {
        match outcome {
            CancelOutcome::Cancelled => Self::Cancelled,
            CancelOutcome::Requested => Self::CancelRequested,
            CancelOutcome::AlreadySettled(status) => Self::AlreadySettled(status),
            CancelOutcome::IntentStored => Self::IntentStored,
            other => Self::Refused { nothing_stored: false, problem: format!("an outcome that is new: {other:?}") },
        }
    }
}

/// A line from a worker.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "a line is read and gone")]
pub(crate) enum Line {
    Told { call: u64, event: RunEvent },
    Answer { call: u64, answer: Answer },
    Drained(Drained),
}

/// What a worker says of its shutdown.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Drained {
    pub(crate) settled: usize,
    pub(crate) handed_back: usize,
    pub(crate) lost: usize,
}

/// What a worker is told at its start, by an environment variable.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) url: String,
    /// Where it notes what user code does.
    pub(crate) notes: std::path::PathBuf,
    pub(crate) lease_millis: u64,
    pub(crate) max_running: usize,
    /// Whether it neither listens nor notifies.
    pub(crate) poll_only: bool,
}

impl Config {
    pub(crate) const VARIABLE: &str = "GREENROOM_TORTURE_WORKER";
}

/// What user code has done: a line of a worker's notes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) at: crate::clock::Micros,
    pub(crate) run_id: RunId,
    pub(crate) attempt: u32,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Start,
    /// It has returned, or was dropped.
    End,
    /// It does the work of this step.
    Work {
        step: u32,
    },
    /// It was given the result of this step: the attempt `by` whose work it is or, of a question, the answer.
    Got {
        step: u32,
        by: u32,
    },
}
