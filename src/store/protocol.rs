//! What a write may do to a run: the decisions, as plain functions over plain data.
//!
//! Postgres applies a write by a guarded statement and asks [`judge`] only about what the guard refused; SQLite asks it
//! first. Both ways give the same answers, and the conformance suite checks that they do.

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::cancel::{CANCELLED_BY_CALLER, Cancel, CancelWritten};
#[cfg(any(test, feature = "sqlite"))]
pub(crate) use self::cancel::{CancelVerdict, judge_cancel};
pub(crate) use self::pause::Pause;
use self::pause::{Continue, ContinueRefusal};
use self::takeover::is_overdue;
pub(crate) use self::takeover::{Takeover, take_over, takeover_message, time_out};
use super::NodeId;
use crate::run::fingerprint::Fingerprint;
use crate::run::{
    Content, CrashPolicy, Decision, Metrics, Run, RunEvent, RunFailure, RunId, RunStatus, SessionPolicy, StepRecord,
    ToolExecution, WebhookUrl,
};

mod cancel;
pub(crate) mod insert;
pub(crate) mod lease;
#[cfg(test)]
mod model;
pub(crate) mod pause;
mod takeover;
#[cfg(test)]
mod tests;

/// The first attempt of the steps that a run has from the one that it resumes: before any of its own.
pub(crate) const INHERITED: u32 = 0;

/// One write, and what came back of it.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Insert(Box<InsertRun>),
    Advance(Box<Advance>),
    Cancel(Cancel),
    Continue(Continue),
}

impl Write {
    pub(crate) fn run_id(&self) -> RunId {
        match self {
            Self::Insert(insert) => insert.run.output.run_id,
            Self::Advance(advance) => advance.run_id,
            Self::Cancel(cancel) => cancel.run_id,
            Self::Continue(one) => one.run_id,
        }
    }
}

impl Write {
    /// About how many bytes the write brings along.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Insert(insert) => {
                let metadata = insert.run.metadata.iter();
                insert.run.input.size()
                    + metadata.map(|(key, value)| key.len() + value.to_string().len()).sum::<usize>()
            }
            Self::Advance(advance) => {
                let content = match &advance.change {
                    Change::Settle(settlement) => {
                        let tools = settlement.tools.iter().map(ToolExecution::weight);
                        settlement.content.as_ref().map_or(0, Content::size) + tools.sum::<usize>()
                    }
                    Change::Pause(pause) => {
                        let requirements = pause.requirements.iter().map(|open| open.requirement.weight());
                        let tools = pause.tools.iter().map(ToolExecution::weight);
                        pause.content.as_ref().map_or(0, Content::size)
                            + requirements.sum::<usize>()
                            + tools.sum::<usize>()
                    }
                    Change::Start | Change::Append | Change::HandBack | Change::Retry { .. } => 0,
                };
                content
                    + advance.events.iter().map(|event| event.kind.weight()).sum::<usize>()
                    + advance.steps.iter().map(StepRecord::weight).sum::<usize>()
            }
            Self::Cancel(_) => 0,
            Self::Continue(one) => one.decisions.iter().map(Decision::weight).sum(),
        }
    }
}

/// What became of a [`Write`], each variant answering the write of the same name.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    Insert(Inserted),
    Advance(Result<(), Refusal>),
    Cancel(CancelWritten),
    Continue(Result<(), ContinueRefusal>),
}

/// A new run. Its times are the database's to set, except `run_at` when the caller gave one.
#[derive(Clone, Debug)]
pub(crate) struct InsertRun {
    pub(crate) run: Run,
    /// Whether `run.run_at` is the caller's; else it is the time of the insert.
    pub(crate) delayed: bool,
    pub(crate) fingerprint: Fingerprint,
    /// The attempt of its parent that submits it, when it is a child: only the one that is at work may.
    pub(crate) parent_attempt: Option<u32>,
    /// Whether the caller brought the run's id; else it was made up.
    pub(crate) id_is_given: bool,
    /// The node that takes the run up at once (its attempt is 1 then), or nobody (0).
    pub(crate) node: Option<NodeId>,
    pub(crate) on_crash: CrashPolicy,
    pub(crate) sessions: SessionPolicy,
    /// How long the run may wait for its first start, from when it may run.
    pub(crate) queue_timeout: Option<Duration>,
    /// Who is told when the run settles.
    pub(crate) webhook: Option<WebhookUrl>,
    /// The failed run that this one resumes: it begins with the steps of that one, and tells whom that one was to tell.
    pub(crate) resumes: Option<RunId>,
}

#[derive(Clone, Debug)]
pub(crate) enum Inserted {
    /// The run is in; `cancel_wanted` tells that an intent waits for it.
    New { run: Arc<Run>, cancel_wanted: bool },
    /// The same run was there already, owned by `node`; found by its idempotency key, it may have another id.
    Existing { run: Arc<Run>, node: Option<NodeId> },
    /// Another run has this id.
    Conflict,
    /// This run has the idempotency key, and is another one.
    KeyConflict(RunId),
    /// This run has the session to itself.
    SessionBusy(RunId),
    /// This run was to be resumed and has not failed: it has this status, or is not there.
    NotFailed(RunId, Option<RunStatus>),
    /// Its parent is not at work any more, or another attempt of it is.
    ParentOver,
}

/// A write by the attempt that owns the run: a step in its life, with the events that commit together with it.
#[derive(Clone, Debug)]
pub(crate) struct Advance {
    pub(crate) run_id: RunId,
    /// The fencing token: only the latest attempt may write.
    pub(crate) attempt: u32,
    /// The seq of the first of `events`; also where the log must stand for the write to be the next one.
    pub(crate) first_seq: u64,
    pub(crate) events: Vec<RunEvent>,
    /// What user code has finished, to be remembered.
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) change: Change,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// User code is about to start.
    Start,
    /// More has happened.
    Append,
    /// The run ends.
    Settle(Settlement),
    /// User code has failed and is to be started again: the run waits for so long, then for anybody.
    Retry { after: Duration },
    /// The run waits for people, and then for anybody; its started attempt does not count.
    Pause(Pause),
    /// The run is given back, to be taken up by anybody; its started attempt does not count.
    HandBack,
}

#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) status: RunStatus,
    pub(crate) content: Option<Content>,
    pub(crate) error: Option<RunFailure>,
    pub(crate) metrics: Metrics,
    pub(crate) tools: Vec<ToolExecution>,
}

impl Change {
    /// The status that the run has after this change, `None` when it stays as it is.
    pub(crate) const fn to(&self) -> Option<RunStatus> {
        match self {
            Self::Start => Some(RunStatus::Running),
            Self::Append => None,
            Self::Settle(settlement) => Some(settlement.status),
            Self::Pause(_) => Some(RunStatus::Paused),
            Self::HandBack | Self::Retry { .. } => Some(RunStatus::Pending),
        }
    }

    /// How long the run waits after this change before it may be taken up, or settles, when that is for the change to say.
    #[cfg(any(test, feature = "postgres"))]
    pub(crate) const fn delay(&self) -> Option<Duration> {
        match self {
            Self::Retry { after } => Some(*after),
            Self::Pause(pause) => pause.timeout,
            Self::Start | Self::Append | Self::Settle(_) | Self::HandBack => None,
        }
    }

    /// Whether this change may befall a run with status `from`.
    pub(crate) fn may_come_from(&self, from: RunStatus) -> bool {
        match self {
            Self::Start | Self::Pause(_) | Self::Settle(_) => self.to().is_some_and(|to| from.can_become(to)),
            Self::Append | Self::Retry { .. } => from == RunStatus::Running,
            // A run that was taken up and not yet started is handed back as well.
            Self::HandBack => matches!(from, RunStatus::Pending | RunStatus::Running),
        }
    }
}

impl Advance {
    /// Where the log stands after this write.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq + self.events.len() as u64
    }
}

/// What a write to a run meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowFacts {
    pub(crate) status: RunStatus,
    pub(crate) attempt: u32,
    pub(crate) node: Option<NodeId>,
    pub(crate) next_seq: u64,
    /// How many times user code was started, attempts that were handed back not counted.
    pub(crate) starts: u32,
    pub(crate) max_attempts: u32,
    /// Somebody's cancel is on the row, or an unexpired intent is, or a run above it was cancelled.
    pub(crate) cancel_wanted: bool,
    /// The time has passed by which the run was to be started first or, while it is paused, continued.
    pub(crate) late: bool,
}

/// Why a write was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// There is no such run.
    Missing,
    /// The run had settled.
    Settled(RunStatus),
    /// Another attempt has the run, or nobody.
    Fenced,
    /// The run must not start, or start again: it is to be cancelled.
    CancelWanted,
    /// The run must not start, or start again: user code was started as often as the run allows.
    Exhausted,
    /// The run must not start: it was to be started earlier.
    Late,
    /// The write does not follow on what the row says: a defect of Greenroom.
    OutOfStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Apply,
    /// This very write is already there: its first try was committed, though nobody heard.
    Applied,
    Refuse(Refusal),
}

/// Decides what `advance` does to a run of which the store knows `row`.
pub(crate) fn judge(advance: &Advance, row: Option<&RowFacts>) -> Verdict {
    let Some(row) = row else { return Verdict::Refuse(Refusal::Missing) };
    if row.attempt == advance.attempt && is_trace_of(advance, row) {
        return Verdict::Applied;
    }
    if row.status.is_terminal() {
        return Verdict::Refuse(Refusal::Settled(row.status));
    }
    if row.attempt != advance.attempt || row.node.is_none() {
        return Verdict::Refuse(Refusal::Fenced);
    }
    if row.next_seq != advance.first_seq || !advance.change.may_come_from(row.status) {
        return Verdict::Refuse(Refusal::OutOfStep);
    }
    // A run that is to be tried again, or waits for people, is one that will be started again.
    if matches!(advance.change, Change::Start | Change::Retry { .. } | Change::Pause(_)) && row.cancel_wanted {
        return Verdict::Refuse(Refusal::CancelWanted);
    }
    if matches!(advance.change, Change::Start | Change::Retry { .. }) && row.starts >= row.max_attempts {
        return Verdict::Refuse(Refusal::Exhausted);
    }
    if matches!(advance.change, Change::Start) && is_overdue(row) {
        return Verdict::Refuse(Refusal::Late);
    }
    Verdict::Apply
}

/// Whether `row` is what `advance` leaves behind. An attempt is one writer that waits for each answer, so a log that
/// stands where this write would put it, in the status that it sets, was put there by it. Steps leave no trace that is
/// looked for: an append of nothing else is done again, which changes nothing.
fn is_trace_of(advance: &Advance, row: &RowFacts) -> bool {
    let owned = row.node.is_some();
    let status_fits = match &advance.change {
        Change::Start => row.status == RunStatus::Running && owned,
        Change::Append => row.status == RunStatus::Running && owned && !advance.events.is_empty(),
        // A run that a takeover settled has no node.
        Change::Settle(settlement) => row.status == settlement.status && owned,
        Change::Pause(_) => row.status == RunStatus::Paused && !owned,
        Change::HandBack | Change::Retry { .. } => row.status == RunStatus::Pending && !owned,
    };
    status_fits && row.next_seq == advance.next_seq()
}
