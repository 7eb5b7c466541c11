//! The database: its tables, and what each statement does to them.
//!
//! Where a function of the protocol decides, it is asked. The rest is the statement in few words; each says which it is.

use uuid::Uuid;

use super::row::{CancelAnswer, Deed, DeedKind, Entry, Row};
use super::{Broken, TTL, World};
use crate::run::{RunId, RunStatus};
use crate::store::NodeId;
use crate::store::protocol::pause::{Continue, ContinueRefusal, ContinueVerdict, PausedRow, judge_continue};
use crate::store::protocol::{CancelVerdict, RowFacts, Takeover, Verdict, judge, judge_cancel, take_over};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tables {
    /// The database's clock.
    pub(super) now: u8,
    /// `runs`, with the log of each.
    pub(super) runs: Vec<Option<Row>>,
    /// `cancel_intents`: whether there is one for the run. None expires here.
    pub(super) intents: Vec<bool>,
    /// `nodes`.
    pub(super) leases: Vec<LeaseRow>,
    /// What must never happen, and has.
    pub(super) flaws: Vec<Flaw>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LeaseRow {
    /// `renewing`: a renewal has this row, with its new end, and is not committed yet.
    Until {
        end: u8,
        renewing: Option<u8>,
    },
    /// A sweep has marked it.
    Fenced,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// A settled run changed, or a run went where the table of transitions has no way.
    IllegalTransition,
    /// An attempt wrote that did not have the run.
    ForeignWrite,
    /// A run was taken from a node whose lease holds.
    Robbed,
    /// A run started after its cancel was acknowledged.
    StartedAfterCancel,
    /// An id was inserted twice.
    InsertedTwice,
    /// A run that was to wait after a failure started before that time.
    StartedTooEarly,
    /// A step was done again that an earlier attempt had finished and that was remembered.
    DoneAgain,
    /// User code has gone on from two results of one step.
    TwoResults,
}

/// How long a run waits after a failed attempt.
const BACKOFF: u8 = 1;

fn node_id(node: u8) -> NodeId {
    NodeId::from(Uuid::from_u128(u128::from(node)))
}

impl Tables {
    pub(super) fn row(&self, run: u8) -> Option<&Row> {
        self.runs[usize::from(run)].as_ref()
    }

    pub(super) fn row_of(&mut self, run: u8) -> Option<&mut Row> {
        self.runs[usize::from(run)].as_mut()
    }

    pub(super) fn row_mut(&mut self, run: u8) -> &mut Row {
        self.runs[usize::from(run)].as_mut().expect("it was looked for")
    }

    pub(super) fn flaw(&mut self, flaw: Flaw) {
        if !self.flaws.contains(&flaw) {
            self.flaws.push(flaw);
        }
    }

    fn facts(&self, world: &World, run: u8) -> Option<RowFacts> {
        let intent = self.intents[usize::from(run)];
        self.row(run).map(|row| RowFacts {
            status: row.status,
            attempt: u32::from(row.attempt),
            node: row.node.map(node_id),
            next_seq: u64::from(row.next_seq),
            starts: row.starts,
            max_attempts: world.max_attempts,
            cancel_wanted: row.cancel_requested || intent,
            late: false,
        })
    }

    /// The guard of `AdvanceRuns`, which lets pass what [`judge`] lets pass, and `GetFacts` with [`judge`] after it.
    pub(super) fn judge(&self, world: &World, deed: Deed) -> Verdict {
        let advance = deed.advance();
        let mut facts = self.facts(world, deed.run);
        if let (Some(facts), Some(row), Some(broken)) = (&mut facts, self.row(deed.run), world.broken) {
            match broken {
                Broken::NoFence => {
                    facts.attempt = advance.attempt;
                    facts.node = Some(node_id(deed.node));
                }
                Broken::IntentBeforeInsert => facts.cancel_wanted = row.cancel_requested,
                Broken::StartIgnoresRequest => facts.cancel_wanted = self.intents[usize::from(deed.run)],
                Broken::StartsUnbounded => facts.starts = 0,
                Broken::PauseIgnoresRequest => {
                    facts.cancel_wanted &= deed.kind != DeedKind::Pause;
                }
                Broken::ContinueUnguarded
                | Broken::SweepWithoutRecheck
                | Broken::SweepOfTheSettled
                | Broken::LastEventLater
                | Broken::CancelLooksOnce
                | Broken::TrustFromTheAnswer
                | Broken::InsertOverwrites
                | Broken::KeyBeforeInsert
                | Broken::LooksOnlyAfterALoss
                | Broken::RetryUncounted
                | Broken::RetryTakenAtOnce
                | Broken::StepUsedEarly
                | Broken::StepsForgotten
                | Broken::TurnWithoutIndex
                | Broken::HolderBeforeInsert => {}
            }
        }
        judge(&advance, facts.as_ref())
    }

    /// What `AdvanceRuns` does to a row that has passed the guard.
    pub(super) fn apply(&mut self, world: &World, deed: Deed) {
        if self.row(deed.run).is_some_and(|row| row.holder != Some((deed.node, deed.attempt))) {
            self.flaw(Flaw::ForeignWrite);
        }
        let was = self.row(deed.run).map(|row| row.status);
        match deed.kind {
            DeedKind::Start => {
                if self.row(deed.run).is_some_and(|row| row.run_at > self.now) {
                    self.flaw(Flaw::StartedTooEarly);
                }
                self.go(deed.run, RunStatus::Running);
                self.row_mut(deed.run).starts += 1;
                self.note(deed.run, deed.first_seq, None);
            }
            DeedKind::Append => {
                self.go(deed.run, RunStatus::Running);
                self.note(deed.run, deed.first_seq, None);
            }
            DeedKind::Remember(step) => {
                self.go(deed.run, RunStatus::Running);
                self.row_mut(deed.run).steps[usize::from(step)] = deed.attempt;
            }
            DeedKind::Retry => {
                self.go(deed.run, RunStatus::Pending);
                self.note(deed.run, deed.first_seq, None);
                let run_at = self.now + BACKOFF;
                let row = self.row_mut(deed.run);
                row.starts -= u32::from(world.broken == Some(Broken::RetryUncounted));
                (row.node, row.holder, row.run_at) = (None, None, run_at);
            }
            DeedKind::Pause => {
                self.go(deed.run, RunStatus::Paused);
                self.note(deed.run, deed.first_seq, None);
                let row = self.row_mut(deed.run);
                row.starts -= 1;
                row.pauses += 1;
                (row.node, row.holder) = (None, None);
            }
            DeedKind::HandBack => {
                self.go(deed.run, RunStatus::Pending);
                let row = self.row_mut(deed.run);
                row.starts -= u32::from(was == Some(RunStatus::Running));
                (row.node, row.holder) = (None, None);
            }
            DeedKind::Settle(status) => {
                self.go(deed.run, status);
                self.row_mut(deed.run).holder = None;
                if world.broken == Some(Broken::LastEventLater) {
                    self.row_mut(deed.run).owes_event = true;
                } else {
                    self.note(deed.run, deed.first_seq, Some(status));
                }
                if status == RunStatus::Cancelled {
                    self.intents[usize::from(deed.run)] = false;
                }
            }
        }
    }

    /// The second transaction of a broken end.
    pub(super) fn write_owed_event(&mut self, run: u8) {
        let row = self.row_mut(run);
        let (seq, status) = (row.next_seq, row.status);
        row.owes_event = false;
        self.note(run, seq, Some(status));
    }

    /// `CancelRuns`: whether the run was there and unsettled, and who has it.
    pub(super) fn cancel(&mut self, world: &World, run: u8) -> Option<CancelAnswer> {
        match judge_cancel(self.facts(world, run).as_ref()) {
            CancelVerdict::StoreIntent | CancelVerdict::Settled(_) => None,
            CancelVerdict::Request(_) => {
                let row = self.row_mut(run);
                row.cancel_requested = true;
                row.node.map(CancelAnswer::Requested)
            }
            CancelVerdict::Settle => {
                self.settle_unowned(run, RunStatus::Cancelled);
                Some(CancelAnswer::Cancelled)
            }
        }
    }

    /// `SettledStatuses`.
    pub(super) fn settled(&self, world: &World, run: u8) -> Option<CancelAnswer> {
        match judge_cancel(self.facts(world, run).as_ref()) {
            CancelVerdict::Settled(status) => Some(CancelAnswer::Settled(status)),
            CancelVerdict::StoreIntent | CancelVerdict::Settle | CancelVerdict::Request(_) => None,
        }
    }

    /// `LockPaused` and `ResumeRuns`, in one transaction: what became of the continue of `caller`.
    pub(super) fn resume(&mut self, world: &World, run: u8, caller: u8) -> Result<(), RunStatus> {
        let id = |caller: u8| Uuid::from_u128(u128::from(caller));
        let asked = Continue { id: id(caller), run_id: RunId::from(Uuid::nil()), user_id: None, decisions: Vec::new() };
        let row = self.facts(world, run).zip(self.row(run)).map(|(facts, row)| {
            let unguarded = world.broken == Some(Broken::ContinueUnguarded) && !facts.status.is_terminal();
            let status = if unguarded { RunStatus::Paused } else { facts.status };
            PausedRow {
                facts: RowFacts { status, ..facts },
                owner: None,
                continued_by: row.continued_by.map(id),
                requirements: Vec::new(),
            }
        });
        match judge_continue(&asked, row.as_ref()) {
            ContinueVerdict::Applied => Ok(()),
            ContinueVerdict::Apply(_) => {
                self.go(run, RunStatus::Pending);
                let row = self.row_mut(run);
                (row.node, row.holder, row.continued_by) = (None, None, Some(caller));
                let seq = row.next_seq;
                self.note(run, seq, None);
                Ok(())
            }
            ContinueVerdict::Refuse(ContinueRefusal::NotPaused(status)) => Err(status),
            // Of a run that is not there nothing can be said; no pause expires here, and no decision is looked at.
            ContinueVerdict::Expire
            | ContinueVerdict::Refuse(ContinueRefusal::Missing | ContinueRefusal::Invalid(_)) => Err(RunStatus::Error),
        }
    }

    /// The first half of `renew`: it has the row. `false` when it was refused.
    pub(super) fn renew(&mut self, node: u8) -> bool {
        let now = self.now;
        match &mut self.leases[usize::from(node)] {
            LeaseRow::Until { end, renewing } if *end > now => {
                *renewing = Some(now + TTL);
                true
            }
            LeaseRow::Until { .. } | LeaseRow::Fenced | LeaseRow::Gone => false,
        }
    }

    /// The second half: it is committed.
    pub(super) fn commit_renewal(&mut self, node: u8) {
        if let LeaseRow::Until { end, renewing } = &mut self.leases[usize::from(node)]
            && let Some(until) = renewing.take()
        {
            *end = until;
        }
    }

    /// How long ago a lease ended makes no difference: less to look at.
    pub(super) fn forget_when_leases_ended(&mut self) {
        let now = self.now;
        for lease in &mut self.leases {
            if let LeaseRow::Until { end, .. } = lease
                && *end <= now
            {
                *end = 0;
            }
        }
    }

    /// What a sweep wants to have: `FenceExpired` when `locks` are minded and nobody has the row, `MissingOwner`.
    pub(super) fn may_be_swept(&self, world: &World, node: u8, locks: bool) -> bool {
        let settled_too = world.broken == Some(Broken::SweepOfTheSettled);
        let owns = |row: &Row| row.node == Some(node) && (settled_too || !row.status.is_terminal());
        let over = match self.leases[usize::from(node)] {
            LeaseRow::Until { end, renewing } => end <= self.now && !(locks && renewing.is_some()),
            LeaseRow::Fenced | LeaseRow::Gone => true,
        };
        over && self.runs.iter().flatten().any(owns)
    }

    /// `sweep_one`: what becomes of the runs of `node` is for [`take_over`] to say. `skip`: they are all locked by somebody.
    pub(super) fn sweep(&mut self, world: &World, node: u8, skip: bool) {
        if let LeaseRow::Until { end, .. } = self.leases[usize::from(node)] {
            if end > self.now {
                self.flaw(Flaw::Robbed);
            }
            self.leases[usize::from(node)] = LeaseRow::Fenced;
        }
        if skip {
            return;
        }
        let settled_too = world.broken == Some(Broken::SweepOfTheSettled);
        for run in 0..world.runs {
            let mine = |row: &&Row| row.node == Some(node) && (settled_too || !row.status.is_terminal());
            let (Some(_), Some(mut facts)) = (self.row(run).filter(mine), self.facts(world, run)) else { continue };
            if world.broken == Some(Broken::StartsUnbounded) {
                facts.starts = 0;
            }
            match take_over(&facts, world.on_crash) {
                Takeover::Requeue => {
                    self.go(run, RunStatus::Pending);
                    let row = self.row_mut(run);
                    (row.node, row.holder) = (None, None);
                }
                Takeover::Fail(_) => self.settle_unowned(run, RunStatus::Error),
                Takeover::Cancel => self.settle_unowned(run, RunStatus::Cancelled),
            }
        }
        self.leases[usize::from(node)] = LeaseRow::Gone;
    }

    /// Settles a run that no live process has, with its last event; it loses its node.
    fn settle_unowned(&mut self, run: u8, status: RunStatus) {
        self.go(run, status);
        let row = self.row_mut(run);
        (row.node, row.holder) = (None, None);
        let seq = row.next_seq;
        self.note(run, seq, Some(status));
        if status == RunStatus::Cancelled {
            self.intents[usize::from(run)] = false;
        }
    }

    fn go(&mut self, run: u8, to: RunStatus) {
        let from = std::mem::replace(&mut self.row_mut(run).status, to);
        if from.is_terminal() || from != to && !from.can_become(to) {
            self.flaw(Flaw::IllegalTransition);
        }
    }

    fn note(&mut self, run: u8, seq: u8, ends: Option<RunStatus>) {
        let row = self.row_mut(run);
        row.log.push(Entry { seq, ends });
        row.next_seq += 1;
    }
}
