//! What goes wrong, and time.

use super::World;
use super::callers::{CancelAt, InsertAt, Progress, Told};
use super::process::{Body, ClaimCall, Process, Stop, WriteAt};
use super::state::{State, Stray};
use super::steps::Step;
use crate::store::protocol::Verdict;

impl World {
    pub(super) fn faults(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, process) in (0..).zip(&state.processes) {
            match process.body {
                Body::Dead if state.may.boot > 0 => steps.push(Step::Boot(number)),
                Body::Dead => {}
                Body::Paused => steps.push(Step::Wake(number)),
                Body::Awake => self.faults_of_process(state, number, &mut steps),
            }
        }
        if state.may.lose > 0 {
            for (number, caller) in (0..).zip(&state.callers) {
                match caller.progress {
                    Progress::Insert { at, .. } => {
                        steps.push(Step::GiveUpCall(number));
                        if matches!(at, InsertAt::Answered(_)) {
                            steps.push(Step::LoseCall(number));
                        }
                    }
                    Progress::Cancel(CancelAt::Answered(_)) | Progress::Continue(Some(_)) => {
                        steps.push(Step::LoseCall(number));
                    }
                    Progress::Todo
                    | Progress::Cancel(_)
                    | Progress::Continue(None)
                    | Progress::AwaitsEnd
                    | Progress::AwaitsLife
                    | Progress::Told(_) => {}
                }
            }
        }
        steps.extend((0..).take(state.strays.len()).map(Step::StrayArrives));
        steps
    }

    fn faults_of_process(&self, state: &State, number: u8, steps: &mut Vec<Step>) {
        let (process, may) = (state.process(number), state.may);
        if may.pause > 0 {
            steps.push(Step::Pause(number));
        }
        if may.die > 0 {
            steps.push(Step::Die(number));
        }
        if may.drain > 0 && !process.draining {
            steps.push(Step::Drain(number));
        }
        if may.lose > 0 && process.claim != ClaimCall::Idle {
            steps.push(Step::LoseClaim(number));
        }
        if may.lose > 0 {
            let waits = |run: &u8| process.life(*run).is_some_and(|life| life.write.is_some());
            steps.extend((0..self.runs).filter(waits).map(|run| Step::LoseWrite(number, run)));
        }
    }

    /// Whatever must be done by a certain time is done by then, unless its process stands still: one that has stood still
    /// looks at its lease before time goes on.
    pub(super) fn clock_may_go_on(&self, state: &State) -> bool {
        !state.processes.iter().any(|process| process.is_awake() && process.overslept)
    }

    pub(super) fn tick(&self, state: &mut State) {
        for number in (0..self.processes).filter(|&number| state.process(number).is_awake()).collect::<Vec<_>>() {
            state.renew(self, number);
        }
        state.tables.now += 1;
        for number in 0..self.processes {
            match state.process(number).body {
                Body::Awake => state.keep(self, number),
                Body::Paused => state.process_mut(number).lag += u8::from(self.clocks_stop),
                Body::Dead => {}
            }
        }
        state.tables.forget_when_leases_ended();
    }
}

impl State {
    pub(super) fn pause(&mut self, process: u8) {
        self.may.pause -= 1;
        self.process_mut(process).body = Body::Paused;
    }

    pub(super) fn wake(&mut self, process: u8) {
        let process = self.process_mut(process);
        (process.body, process.overslept) = (Body::Awake, true);
    }

    pub(super) fn die(&mut self, process: u8) {
        self.may.die -= 1;
        self.kill(process);
    }

    /// What it had sent is on its way all the same.
    pub(super) fn kill(&mut self, process: u8) {
        self.forget_lives(process);
        for number in (0..).take(self.callers.len()) {
            let caller = self.callers[usize::from(number)];
            if caller.at == process && !matches!(caller.progress, Progress::Todo | Progress::Told(_)) {
                self.forget_call(number);
            }
        }
        let runs = u8::try_from(self.tables.runs.len()).unwrap_or(u8::MAX);
        *self.process_mut(process) = Process::dead(runs);
    }

    fn forget_call(&mut self, number: u8) {
        use super::callers::Ask;
        let caller = self.callers[usize::from(number)];
        if let (Ask::Submit(submit), Progress::Insert { node, at: InsertAt::Sent }) = (caller.ask, caller.progress) {
            self.stray(Stray::Insert { submit, node });
        }
        self.caller_mut(number).tell(Told::Unknown);
    }

    pub(super) fn drain(&mut self, process: u8) {
        self.may.drain -= 1;
        let process = self.process_mut(process);
        process.draining = true;
        for life in process.lives.iter_mut().flatten() {
            life.stop = life.stop.or(Some(Stop::HandBack));
        }
    }

    /// The answer to a claim is not heard: it was not sent back, or the claim itself is still on its way.
    pub(super) fn lose_claim(&mut self, world: &World, process: u8) {
        self.may.lose -= 1;
        if let (ClaimCall::Sent, Some(node)) = (&self.process(process).claim, self.process(process).node) {
            self.stray(Stray::Claim { node });
        }
        self.process_mut(process).claim = ClaimCall::Idle;
        self.miss_answer(world, process);
    }

    /// The answer to a write is not heard, and it is sent again. Where it has not arrived yet, both are on their way.
    pub(super) fn lose_write(&mut self, process: u8, run: u8) {
        self.may.lose -= 1;
        let Some((deed, at)) = self.process(process).life(run).and_then(|life| life.write) else { return };
        if at == WriteAt::Sent {
            self.stray(Stray::Write(deed));
        }
        if let Some(life) = self.process_mut(process).life_mut(run) {
            life.write = Some((deed, WriteAt::Sent));
        }
    }

    /// The answer to a submit or a cancel is not heard, and all of it is done again.
    pub(super) fn lose_call(&mut self, number: u8) {
        self.may.lose -= 1;
        let caller = self.caller_mut(number);
        match caller.progress {
            Progress::Insert { node, .. } => caller.progress = Progress::Insert { node, at: InsertAt::Sent },
            Progress::Cancel(_) => caller.cancel_in_store(),
            Progress::Continue(_) => caller.progress = Progress::Continue(None),
            Progress::Todo | Progress::AwaitsEnd | Progress::AwaitsLife | Progress::Told(_) => {}
        }
    }

    /// A submit is not waited for any longer: its caller is told that nothing is known.
    pub(super) fn give_up_call(&mut self, world: &World, number: u8) {
        self.may.lose -= 1;
        let caller = self.callers[usize::from(number)];
        let Progress::Insert { node, .. } = caller.progress else { return };
        self.forget_call(number);
        self.miss_answer(world, caller.at);
        let kept = node.filter(|&node| self.process(caller.at).node == Some(node));
        self.release(caller.at, caller.run(), kept);
    }

    pub(super) fn stray_arrives(&mut self, world: &World, stray: u8) {
        match self.strays.remove(usize::from(stray)) {
            Stray::Insert { submit, node } => {
                let met = self.tables.met(submit);
                self.tables.insert(world, submit, met, node);
            }
            Stray::Write(deed) => {
                if self.tables.judge(world, deed) == Verdict::Apply {
                    self.apply(world, deed);
                    if self.tables.row(deed.run).is_some_and(|row| row.owes_event) {
                        self.tables.write_owed_event(deed.run);
                    }
                }
            }
            Stray::Claim { node } => {
                self.tables.claim(world, node);
            }
        }
    }
}
