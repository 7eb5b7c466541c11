//! Everything that was asked, answered, done and stored: what the checker decides on.

use std::collections::BTreeMap;

use greenroom::{FailureKind, RunEvent, RunId, RunStatus};
use serde::Serialize;
use serde_json::Value;

use crate::clock::{self, Micros};
use crate::crew::Crew;
use crate::tables;
use crate::wire::{Answer, Ask, Drained, Note};

#[derive(Debug, Default, Serialize)]
pub(crate) struct History {
    pub(crate) calls: Vec<Call>,
    pub(crate) processes: Vec<Process>,
    /// What the tables hold in the end.
    pub(crate) runs: BTreeMap<RunId, StoredRun>,
    /// See [`crate::clock::since_1970`].
    pub(crate) since_1970: i64,
}

impl History {
    /// What the crew has done, when all of its workers have ended.
    pub(crate) async fn read(crew: &Crew) -> Self {
        Self {
            calls: crew.book.calls(),
            processes: crew.book.processes(),
            runs: tables::stored_runs(&tables::connect(crew.server.url()).await).await,
            since_1970: clock::since_1970(),
        }
    }
}

/// A client's call.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Call {
    pub(crate) worker: usize,
    pub(crate) began: Micros,
    /// When its answer had come, or was given up.
    pub(crate) ended: Micros,
    pub(crate) ask: Ask,
    /// `None`: nobody knows what became of it.
    pub(crate) answer: Option<Answer>,
    /// The events that a watch has told.
    pub(crate) told: Vec<RunEvent>,
}

/// A worker process, from its start to its end.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) notes: Vec<Note>,
    /// When it stood still, by SIGSTOP.
    pub(crate) frozen: Vec<(Micros, Micros)>,
    /// When it got SIGTERM.
    pub(crate) asked_to_end: Option<Micros>,
    /// What it said of its end.
    pub(crate) drained: Option<Drained>,
    /// When it was gone.
    pub(crate) gone: Option<Micros>,
}

/// A run as the tables have it in the end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoredRun {
    pub(crate) run_id: RunId,
    pub(crate) agent: String,
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) key: Option<String>,
    pub(crate) status: RunStatus,
    pub(crate) attempt: u32,
    pub(crate) starts: u32,
    pub(crate) max_attempts: u32,
    pub(crate) next_seq: u64,
    pub(crate) input: Value,
    pub(crate) content: Option<Value>,
    pub(crate) error: Option<FailureKind>,
    pub(crate) events: Vec<RunEvent>,
    /// Its remembered steps, in order.
    pub(crate) steps: Vec<StoredStep>,
}

/// A step as the tables have it in the end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoredStep {
    pub(crate) position: u32,
    pub(crate) result: Value,
    /// When its transaction began, in microseconds since 1970.
    pub(crate) at: i64,
}
