//! A run as the database has it, what is written to it, and what the answers are.

use std::time::Duration;

use uuid::Uuid;

use super::callers::Submit;
use super::{Results, STEPS, World};
use crate::run::{Metrics, RunEvent, RunEventKind, RunId, RunStatus, SessionPolicy, StepRecord};
use crate::store::protocol::{Advance, Change, Pause, Settlement};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// What was submitted under this id.
    pub(super) content: u8,
    /// It was submitted with the idempotency key.
    pub(super) keyed: bool,
    pub(super) status: RunStatus,
    pub(super) attempt: u8,
    pub(super) node: Option<u8>,
    pub(super) starts: u32,
    pub(super) cancel_requested: bool,
    /// The caller whose continue was the latest.
    pub(super) continued_by: Option<u8>,
    /// It has its session to itself, until it settles.
    pub(super) holds: bool,
    /// When it may be taken up, after a failure.
    pub(super) run_at: u8,
    /// Its remembered steps.
    pub(super) steps: Results,
    /// How often it was paused. Nothing looks at this but the properties.
    pub(super) pauses: u8,
    pub(super) next_seq: u8,
    pub(super) log: Vec<Entry>,
    /// The last event is still to be written: only in a broken protocol.
    pub(super) owes_event: bool,
    /// Who was given the run last, and has not given it up: node and attempt. Nothing looks at this but the properties.
    pub(super) holder: Option<(u8, u8)>,
}

impl Row {
    pub(super) fn new(world: &World, submit: Submit, node: Option<u8>) -> Self {
        let attempt = u8::from(node.is_some());
        Self {
            content: submit.content,
            keyed: submit.keyed,
            status: RunStatus::Pending,
            attempt,
            node,
            starts: 0,
            cancel_requested: false,
            continued_by: None,
            holds: world.sessions == SessionPolicy::Refuse,
            run_at: 0,
            steps: [0; STEPS],
            pauses: 0,
            next_seq: 0,
            log: Vec::new(),
            owes_event: false,
            holder: node.map(|node| (node, attempt)),
        }
    }

    pub(super) const fn taken(&self, run: u8) -> Taken {
        Taken { run, attempt: self.attempt, next_seq: self.next_seq, steps: self.steps }
    }

    pub(super) const fn waits(&self) -> bool {
        matches!(self.status, RunStatus::Pending) && self.node.is_none()
    }

    /// Whether no other run of its session may be started.
    pub(super) const fn keeps_session(&self) -> bool {
        self.holds && !self.status.is_terminal()
    }
}

/// An event, as much of it as matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) seq: u8,
    /// The status that it tells of, when it is the last one.
    pub(super) ends: Option<RunStatus>,
}

/// A write by an attempt: an [`Advance`] in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Deed {
    pub(super) run: u8,
    pub(super) node: u8,
    pub(super) attempt: u8,
    pub(super) first_seq: u8,
    pub(super) kind: DeedKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum DeedKind {
    Start,
    Append,
    /// This step of user code is finished.
    Remember(u8),
    Retry,
    Settle(RunStatus),
    Pause,
    HandBack,
}

impl Deed {
    /// The write as the protocol knows it. What its event says does not matter.
    pub(super) fn advance(self) -> Advance {
        let settlement =
            |status| Settlement { status, content: None, error: None, metrics: Metrics::default(), tools: Vec::new() };
        let change = match self.kind {
            DeedKind::Start => Change::Start,
            DeedKind::Append | DeedKind::Remember(_) => Change::Append,
            DeedKind::Retry => Change::Retry { after: Duration::ZERO },
            DeedKind::Settle(status) => Change::Settle(settlement(status)),
            DeedKind::Pause => Change::Pause(Pause {
                requirements: Vec::new(),
                timeout: None,
                content: None,
                metrics: Metrics::default(),
                tools: Vec::new(),
            }),
            DeedKind::HandBack => Change::HandBack,
        };
        let run_id = RunId::from(Uuid::nil());
        let kind = RunEventKind::RunStarted { attempt: 0 };
        let event = RunEvent::new(run_id, u64::from(self.first_seq), kind);
        let events = if self.next_seq() == self.first_seq { Vec::new() } else { vec![event] };
        let step = |position: u8| StepRecord {
            position: u32::from(position),
            first_attempt: 1,
            name: "step".to_owned(),
            result: self.attempt.to_string(),
        };
        let steps = if let DeedKind::Remember(position) = self.kind { vec![step(position)] } else { Vec::new() };
        Advance {
            run_id,
            attempt: u32::from(self.attempt),
            first_seq: u64::from(self.first_seq),
            events,
            steps,
            change,
        }
    }

    /// Where the log stands after it.
    pub(super) const fn next_seq(self) -> u8 {
        match self.kind {
            DeedKind::HandBack | DeedKind::Remember(_) => self.first_seq,
            DeedKind::Start | DeedKind::Append | DeedKind::Retry | DeedKind::Pause | DeedKind::Settle(_) => {
                self.first_seq + 1
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Inserted {
    New,
    /// `run` is another one than was submitted when it was found by its key.
    Existing {
        run: u8,
        node: Option<u8>,
        fresh: bool,
    },
    Conflict,
    KeyTaken,
    SessionBusy,
}

/// What an insert meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Met {
    pub(super) intent: bool,
    /// The run that has the key, and its content.
    pub(super) by_key: Option<(u8, u8)>,
    /// The run that has the session to itself.
    pub(super) holder: Option<u8>,
}

/// A run that a node has taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Taken {
    pub(super) run: u8,
    pub(super) attempt: u8,
    pub(super) next_seq: u8,
    pub(super) steps: Results,
}

/// What became of a cancel by a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CancelAnswer {
    Cancelled,
    Requested(u8),
    Settled(RunStatus),
    IntentStored,
}
