//! A process: its lease, what it has asked the database, and the runs that are live in it.

use std::time::Duration;

use super::row::{Deed, DeedKind, Taken};
use super::{Broken, Results, STEPS, TERMS, World};
use crate::run::{CrashPolicy, RunStatus};
use crate::store::protocol::Refusal;
use crate::store::protocol::lease::{Answer, Lease, Move, next_move};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) body: Body,
    /// It stood still and has not looked at its lease since.
    pub(super) overslept: bool,
    pub(super) draining: bool,
    /// How far its clock is behind, because it stood still.
    pub(super) lag: u8,
    /// Under which lease it takes up runs; `None` while it has none.
    pub(super) node: Option<u8>,
    /// The node that it was before, whose lease is still to be ended.
    pub(super) old: Option<u8>,
    pub(super) lease: Lease,
    pub(super) renewal: Option<Renewal>,
    pub(super) claim: ClaimCall,
    /// What it has looked up about runs of its own, and has not taken in yet.
    pub(super) looked: Option<Vec<Taken>>,
    /// It has missed an answer: only in a protocol that minds that.
    pub(super) lost_answers: bool,
    /// By run.
    pub(super) lives: Vec<Option<Life>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    Awake,
    Paused,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Renewal {
    pub(super) sent: u8,
    pub(super) at: RenewalAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RenewalAt {
    Sent,
    /// It has the row of the node, and is to be committed.
    Holding,
    Answered(bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ClaimCall {
    Idle,
    Sent,
    /// It has seen these runs, and is about to take them.
    Looked(Vec<u8>),
    Answered(Vec<Taken>),
}

/// A run that is live in a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) attempt: u8,
    pub(super) next_seq: u8,
    /// The results that user code has gone on from, or will not have to work for.
    pub(super) results: Results,
    pub(super) phase: Phase,
    pub(super) stop: Option<Stop>,
    pub(super) write: Option<(Deed, WriteAt)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Its insert is under way: a place is kept for it.
    Arriving,
    Taken,
    /// User code is running.
    Working,
    /// User code has ended, or will not be started.
    Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stop {
    Cancel,
    HandBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WriteAt {
    Sent,
    /// The guard refused it; why is asked in a statement of its own.
    Refused,
    /// The status is written, the last event is not: only in a broken protocol.
    Half,
    Answered(Result<(), Refusal>),
}

/// How a run stops being live in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Settled(RunStatus),
    HandedBack,
    Paused,
    Fenced,
}

fn at(reading: u8) -> Duration {
    Duration::from_secs(u64::from(reading))
}

impl Process {
    /// A process that has just begun the lease of `node`.
    pub(super) fn begun(node: u8, now: u8, runs: u8) -> Self {
        Self { node: Some(node), lease: Lease::begun(at(now), TERMS), body: Body::Awake, ..Self::dead(runs) }
    }

    pub(super) fn dead(runs: u8) -> Self {
        Self {
            body: Body::Dead,
            overslept: false,
            draining: false,
            lag: 0,
            node: None,
            old: None,
            lease: Lease::begun(Duration::ZERO, TERMS),
            renewal: None,
            claim: ClaimCall::Idle,
            looked: None,
            lost_answers: false,
            lives: vec![None; usize::from(runs)],
        }
    }

    pub(super) fn life(&self, run: u8) -> Option<&Life> {
        self.lives[usize::from(run)].as_ref()
    }

    pub(super) fn life_mut(&mut self, run: u8) -> &mut Option<Life> {
        &mut self.lives[usize::from(run)]
    }

    pub(super) fn is_awake(&self) -> bool {
        self.body == Body::Awake
    }

    /// What the keeper of its lease does at `reading`.
    pub(super) fn next_move(&self, reading: u8) -> Option<Move> {
        self.node.map(|_| next_move(&self.lease, at(reading), TERMS))
    }

    pub(super) fn must_stop(&self, reading: u8) -> bool {
        matches!(self.next_move(reading), Some(Move::Stop(_)))
    }

    pub(super) fn may_renew(&self, reading: u8) -> bool {
        self.renewal.is_none() && matches!(self.next_move(reading), Some(Move::Renew(_)))
    }

    /// The answer to the renewal is not waited for any longer than this.
    pub(super) fn gives_up_renewal(&self, reading: u8) -> bool {
        self.renewal.is_some_and(|renewal| at(reading) > at(renewal.sent) + TERMS.patience())
    }

    pub(super) fn hear_renewal(&mut self, world: &World, reading: u8, answer: Answer) {
        let Some(renewal) = self.renewal.take() else { return };
        let from_answer = world.broken == Some(Broken::TrustFromTheAnswer);
        let sent = if from_answer { reading } else { renewal.sent };
        self.lease = self.lease.after(at(sent), at(reading), answer, TERMS);
    }

    /// Makes a run that is this process's live; it may be already.
    pub(super) fn enliven(&mut self, taken: Taken, cancelled: bool) {
        let draining = self.draining;
        let life = self.life_mut(taken.run);
        if life.as_ref().is_some_and(|life| life.phase != Phase::Arriving) {
            return;
        }
        let early = life.as_ref().and_then(|life| life.stop);
        let first = if cancelled { Some(Stop::Cancel) } else { early };
        *life = Some(Life {
            attempt: taken.attempt,
            next_seq: taken.next_seq,
            results: taken.steps,
            phase: Phase::Taken,
            stop: first.or_else(|| draining.then_some(Stop::HandBack)),
            write: None,
        });
    }
}

impl Life {
    pub(super) const fn arriving() -> Self {
        Self { attempt: 0, next_seq: 0, results: [0; STEPS], phase: Phase::Arriving, stop: None, write: None }
    }

    /// The step that user code has to do next.
    pub(super) fn next_step(&self, world: &World) -> Option<u8> {
        let steps = (0..).zip(&self.results[..world.steps]);
        steps.filter(|(_, result)| **result == 0).map(|(step, _)| step).next()
    }

    /// The write that it is to ask for next without anything more happening, and its phase from then on.
    pub(super) fn next_deed(&self, world: &World) -> Option<(DeedKind, Phase)> {
        let end = |stop, by_hand_back| match stop {
            Stop::Cancel => (DeedKind::Settle(RunStatus::Cancelled), Phase::Ending),
            Stop::HandBack => (by_hand_back, Phase::Ending),
        };
        let fails = world.on_crash == CrashPolicy::Fail;
        let interrupted = if fails { DeedKind::Settle(RunStatus::Error) } else { DeedKind::HandBack };
        match (self.phase, self.stop, &self.write) {
            (Phase::Taken, None, None) => Some((DeedKind::Start, Phase::Taken)),
            (Phase::Taken, Some(stop), None) => Some(end(stop, DeedKind::HandBack)),
            (Phase::Working, Some(stop), None) => Some(end(stop, interrupted)),
            (Phase::Arriving | Phase::Taken | Phase::Working | Phase::Ending, _, _) => None,
        }
    }

    /// What follows from the answer to the write that was under way: the next write, an end, or user code at work.
    pub(super) fn hear(&mut self, world: &World) -> Heard {
        let Some((deed, WriteAt::Answered(answer))) = self.write.take() else { return Heard::Nothing };
        match (answer, deed.kind) {
            (Ok(()), kind) => {
                self.next_seq = deed.next_seq();
                match (kind, self.stop) {
                    // Whoever asked meanwhile need not wait for user code to be started and stopped again.
                    (DeedKind::Start, Some(stop)) => {
                        let unstarted = Self { phase: Phase::Taken, stop: Some(stop), ..self.clone() };
                        unstarted.next_deed(world).map_or(Heard::Nothing, |(kind, _)| Heard::Write(kind))
                    }
                    (DeedKind::Start, None) => Heard::Started,
                    (DeedKind::Append, _) => Heard::Nothing,
                    (DeedKind::Remember(step), _) => Heard::Finished(step),
                    (DeedKind::Settle(status), _) => Heard::Ended(Ending::Settled(status)),
                    (DeedKind::Pause, _) => Heard::Ended(Ending::Paused),
                    (DeedKind::HandBack | DeedKind::Retry, _) => Heard::Ended(Ending::HandedBack),
                }
            }
            (Err(Refusal::CancelWanted), _) => Heard::Write(DeedKind::Settle(RunStatus::Cancelled)),
            (Err(Refusal::Exhausted | Refusal::Late), _) => Heard::Write(DeedKind::Settle(RunStatus::Error)),
            (Err(Refusal::Settled(status)), _) => Heard::Ended(Ending::Settled(status)),
            (Err(Refusal::Missing | Refusal::Fenced | Refusal::OutOfStep), _) => Heard::Ended(Ending::Fenced),
        }
    }
}

/// What a live run does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// User code runs from now on.
    Started,
    /// User code has the result of this step.
    Finished(u8),
    Write(DeedKind),
    Ended(Ending),
}
