//! What a process does for its runs: it takes them up, and each writes its way through its life.

use super::callers::Progress;
use super::process::{ClaimCall, Ending, Heard, Life, Phase, Stop, WriteAt};
use super::row::{Deed, DeedKind, Taken};
use super::state::State;
use super::tables::Flaw;
use super::{Broken, STEPS, World};
use crate::run::{RunStatus, SessionPolicy};
use crate::store::protocol::Verdict;

impl State {
    /// A claim; where runs wait for each other, what it sees may have changed when it takes it.
    pub(super) fn claim_runs(&mut self, world: &World, process: u8) {
        let Some(node) = self.process(process).node else { return };
        let next = match &self.process(process).claim {
            ClaimCall::Sent if world.sessions == SessionPolicy::InOrder => {
                ClaimCall::Looked(self.tables.claimable(world))
            }
            ClaimCall::Looked(seen) => {
                let seen = seen.clone();
                ClaimCall::Answered(self.tables.take_up(world, node, &seen))
            }
            ClaimCall::Sent | ClaimCall::Idle | ClaimCall::Answered(_) => {
                ClaimCall::Answered(self.tables.claim(world, node))
            }
        };
        self.process_mut(process).claim = next;
    }

    pub(super) fn hear_claim(&mut self, process: u8) {
        let call = std::mem::replace(&mut self.process_mut(process).claim, ClaimCall::Idle);
        if let ClaimCall::Answered(taken) = call {
            for one in taken {
                self.enliven(process, one);
            }
        }
    }

    /// Whoever waited for the run to be this process's waits for its end from now on.
    pub(super) fn enliven(&mut self, process: u8, taken: Taken) {
        let early = self.await_ends(process, taken.run);
        self.process_mut(process).enliven(taken, early);
    }

    fn await_ends(&mut self, process: u8, run: u8) -> bool {
        let mut any = false;
        for caller in self.callers.iter_mut().filter(|caller| caller.at == process && caller.run() == run) {
            if caller.progress == Progress::AwaitsLife {
                caller.progress = Progress::AwaitsEnd;
                any = true;
            }
        }
        any
    }

    pub(super) fn find_unstarted(&mut self, process: u8) {
        self.process_mut(process).lost_answers = false;
        let unstarted = self.unstarted(process);
        self.take_in(process, unstarted);
    }

    pub(super) fn look_for_unstarted(&mut self, process: u8) {
        self.may.stale -= 1;
        self.process_mut(process).looked = Some(self.unstarted(process));
    }

    pub(super) fn hear_unstarted(&mut self, process: u8) {
        if let Some(unstarted) = self.process_mut(process).looked.take() {
            self.take_in(process, unstarted);
        }
    }

    /// `UnstartedRuns`.
    fn unstarted(&self, process: u8) -> Vec<Taken> {
        let node = self.process(process).node;
        (0..)
            .zip(&self.tables.runs)
            .filter_map(|(run, row)| row.as_ref().map(|row| (run, row)))
            .filter(|(_, row)| row.node == node && row.status == RunStatus::Pending)
            .map(|(run, row)| row.taken(run))
            .collect()
    }

    fn take_in(&mut self, process: u8, unstarted: Vec<Taken>) {
        for taken in unstarted {
            self.enliven(process, taken);
        }
        // What is not this process's after all is cancelled by a write.
        for caller in self.callers.iter_mut().filter(|caller| caller.at == process) {
            if caller.progress == Progress::AwaitsLife {
                caller.cancel_in_store();
            }
        }
    }

    pub(super) fn stop(&mut self, process: u8, run: u8, stop: Stop) {
        if let Some(life) = self.process_mut(process).life_mut(run) {
            life.stop = Some(stop);
        }
    }

    fn life_mut(&mut self, process: u8, run: u8) -> Option<&mut Life> {
        self.process_mut(process).life_mut(run).as_mut()
    }

    fn send(&mut self, process: u8, run: u8, kind: DeedKind, phase: Phase) {
        let node = self.process(process).node.unwrap_or_default();
        if let Some(life) = self.life_mut(process, run) {
            let deed = Deed { run, node, attempt: life.attempt, first_seq: life.next_seq, kind };
            life.write = Some((deed, WriteAt::Sent));
            life.phase = phase;
        }
    }

    pub(super) fn write_next(&mut self, world: &World, process: u8, run: u8) {
        if let Some((kind, phase)) = self.process(process).life(run).and_then(|life| life.next_deed(world)) {
            self.send(process, run, kind, phase);
        }
    }

    pub(super) fn say(&mut self, process: u8, run: u8) {
        self.may.say -= 1;
        self.send(process, run, DeedKind::Append, Phase::Working);
    }

    pub(super) fn need(&mut self, process: u8, run: u8) {
        self.may.need -= 1;
        self.send(process, run, DeedKind::Pause, Phase::Ending);
    }

    /// User code does the work of its next step, and waits until its result is durable.
    pub(super) fn work(&mut self, world: &World, process: u8, run: u8) {
        let Some(life) = self.process(process).life(run) else { return };
        let Some(step) = life.next_step(world) else { return };
        let attempt = life.attempt;
        let remembered = self.tables.row(run).map_or(0, |row| row.steps[usize::from(step)]);
        if (1..attempt).contains(&remembered) {
            self.tables.flaw(Flaw::DoneAgain);
        }
        if world.broken == Some(Broken::StepUsedEarly) {
            self.goes_on_from(run, step, attempt);
        }
        self.send(process, run, DeedKind::Remember(step), Phase::Working);
    }

    /// User code goes on from the result of a step: from one only, in whichever attempt.
    fn goes_on_from(&mut self, run: u8, step: u8, result: u8) {
        let known = &mut self.started[usize::from(run)].results[usize::from(step)];
        if result == 0 {
            return;
        }
        if *known != 0 && *known != result {
            self.tables.flaw(Flaw::TwoResults);
        }
        self.started[usize::from(run)].results[usize::from(step)] = result;
    }

    pub(super) fn fail(&mut self, process: u8, run: u8) {
        self.may.fail -= 1;
        self.send(process, run, DeedKind::Retry, Phase::Ending);
    }

    pub(super) fn code_returns(&mut self, process: u8, run: u8) {
        self.send(process, run, DeedKind::Settle(RunStatus::Completed), Phase::Ending);
    }

    /// The write's next transaction: the guarded statement, or the question why it was refused.
    pub(super) fn write_runs(&mut self, world: &World, process: u8, run: u8) {
        let Some((deed, at)) = self.process(process).life(run).and_then(|life| life.write) else { return };
        let verdict = self.tables.judge(world, deed);
        let next = match (at, verdict) {
            (WriteAt::Half, _) => {
                self.tables.write_owed_event(run);
                WriteAt::Answered(Ok(()))
            }
            (WriteAt::Sent, Verdict::Apply) => {
                self.apply(world, deed);
                let half = self.tables.row(run).is_some_and(|row| row.owes_event);
                if half { WriteAt::Half } else { WriteAt::Answered(Ok(())) }
            }
            (WriteAt::Sent, Verdict::Applied | Verdict::Refuse(_)) => WriteAt::Refused,
            // The row changed in between: the write is tried again.
            (WriteAt::Refused, Verdict::Apply) => WriteAt::Sent,
            (WriteAt::Refused, Verdict::Applied) => WriteAt::Answered(Ok(())),
            (WriteAt::Refused, Verdict::Refuse(refusal)) => WriteAt::Answered(Err(refusal)),
            (WriteAt::Answered(answer), _) => WriteAt::Answered(answer),
        };
        if let Some(life) = self.life_mut(process, run) {
            life.write = Some((deed, next));
        }
    }

    /// A write that has passed the guard is done.
    pub(super) fn apply(&mut self, world: &World, deed: Deed) {
        let run = deed.run;
        match deed.kind {
            DeedKind::Start => {
                if self.callers.iter().any(|caller| caller.run() == run && caller.has_cancelled()) {
                    self.tables.flaw(Flaw::StartedAfterCancel);
                }
            }
            DeedKind::HandBack | DeedKind::Pause => self.started[usize::from(run)].counted &= !(1 << deed.attempt),
            DeedKind::Append | DeedKind::Remember(_) | DeedKind::Retry | DeedKind::Settle(_) => {}
        }
        self.tables.apply(world, deed);
    }

    pub(super) fn hear_write(&mut self, world: &World, process: u8, run: u8) {
        let Some(life) = self.life_mut(process, run) else { return };
        let attempt = life.attempt;
        match life.hear(world) {
            Heard::Nothing => {}
            Heard::Started => {
                life.phase = Phase::Working;
                if world.broken == Some(Broken::StepsForgotten) {
                    life.results = [0; STEPS];
                }
                let results = life.results;
                for (step, result) in (0..).zip(results) {
                    self.goes_on_from(run, step, result);
                }
                let started = &mut self.started[usize::from(run)];
                started.ever = true;
                started.counted |= 1 << attempt;
            }
            Heard::Finished(step) => {
                life.results[usize::from(step)] = attempt;
                self.goes_on_from(run, step, attempt);
            }
            Heard::Write(kind) => self.send(process, run, kind, Phase::Ending),
            Heard::Ended(ending) => self.end(process, run, ending),
        }
    }

    /// The run is not live here any more: those who wait for that are answered.
    fn end(&mut self, process: u8, run: u8, ending: Ending) {
        use super::callers::Told;
        *self.process_mut(process).life_mut(run) = None;
        for caller in self.callers.iter_mut().filter(|caller| caller.at == process && caller.run() == run) {
            if caller.progress != Progress::AwaitsEnd {
                continue;
            }
            match ending {
                Ending::Settled(RunStatus::Cancelled) => caller.tell(Told::Cancelled),
                Ending::Settled(status) => caller.tell(Told::AlreadySettled(status)),
                Ending::HandedBack | Ending::Paused => caller.cancel_in_store(),
                Ending::Fenced => caller.tell(Told::Unknown),
            }
        }
    }

    /// Notes that this process may have runs that it does not know of.
    pub(super) fn miss_answer(&mut self, world: &World, process: u8) {
        if world.broken == Some(Broken::LooksOnlyAfterALoss) {
            self.process_mut(process).lost_answers = true;
        }
    }
}
