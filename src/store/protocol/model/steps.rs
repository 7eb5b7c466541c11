//! What can happen next, but for what goes wrong, and what it does.

use super::callers::{Ask, CancelAt, InsertAt, Progress, Submit};
use super::process::{Body, ClaimCall, Phase, RenewalAt, Stop, WriteAt};
use super::row::Row;
use super::state::State;
use super::tables::LeaseRow;
use super::{Broken, World};
use crate::run::RunStatus;

/// One step of anybody. Numbers are of processes, runs, callers and nodes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The clock of the database goes on, and that of each process with it.
    Tick,
    Pause(u8),
    Wake(u8),
    Die(u8),
    Boot(u8),
    Drain(u8),
    /// A process that has drained ends its lease and is gone.
    Leave(u8),
    /// The keeper looks at its lease, and stops everything when it is over.
    LookAtLease(u8),
    RenewSlowly(u8),
    RenewalRuns(u8),
    /// Of this node.
    RenewalCommits(u8),
    HearRenewal(u8),
    /// A process whose lease was lost begins another one.
    BeginAgain(u8),
    /// It ends the one that it had lost.
    EndOld(u8),
    Sweep {
        node: u8,
        skip: bool,
    },
    /// The two halves of a broken sweep.
    SeeExpired(u8),
    TakeExpired,
    Claim(u8),
    ClaimRuns(u8),
    HearClaim(u8),
    LoseClaim(u8),
    /// A process asks for runs that it has and has not started.
    FindUnstarted(u8),
    /// The two halves of that, with a pause between them.
    LookForUnstarted(u8),
    HearUnstarted(u8),
    /// A process is told that somebody wants a run of its cancelled.
    SeeRequest(u8, u8),
    /// A live run asks for the write that is next.
    Write(u8, u8),
    Say(u8, u8),
    /// User code can do nothing but wait for people.
    Need(u8, u8),
    /// User code does the work of its next step.
    Work(u8, u8),
    /// User code fails in a way that may pass.
    Fail(u8, u8),
    /// User code returns.
    Return(u8, u8),
    WriteRuns(u8, u8),
    HearWrite(u8, u8),
    LoseWrite(u8, u8),
    Ask(u8),
    CallRuns(u8),
    HearCall(u8),
    LoseCall(u8),
    GiveUpCall(u8),
    StrayArrives(u8),
}

impl World {
    pub(super) fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        for process in 0..self.processes {
            if state.process(process).body != Body::Dead {
                self.steps_of_process(state, process, &mut steps);
            }
        }
        for caller in (0..).take(state.callers.len()) {
            self.steps_of_caller(state, caller, &mut steps);
        }
        self.steps_of_database(state, &mut steps);
        steps
    }

    fn steps_of_process(&self, state: &State, number: u8, steps: &mut Vec<Step>) {
        let process = state.process(number);
        let reading = state.reading(number);
        if process.renewal.is_some_and(|renewal| renewal.at == RenewalAt::Sent) {
            steps.push(Step::RenewalRuns(number));
        }
        if matches!(process.claim, ClaimCall::Sent | ClaimCall::Looked(_)) {
            steps.push(Step::ClaimRuns(number));
        }
        for run in 0..self.runs {
            if matches!(process.life(run), Some(life) if matches!(life.write, Some((_, WriteAt::Sent | WriteAt::Refused | WriteAt::Half))))
            {
                steps.push(Step::WriteRuns(number, run));
            }
        }
        if !process.is_awake() {
            return;
        }
        if process.overslept || process.must_stop(reading) {
            steps.push(Step::LookAtLease(number));
        }
        if state.may.slow > 0 && process.may_renew(reading) {
            steps.push(Step::RenewSlowly(number));
        }
        if process.renewal.is_some_and(|renewal| matches!(renewal.at, RenewalAt::Answered(_))) {
            steps.push(Step::HearRenewal(number));
        }
        if matches!(process.claim, ClaimCall::Answered(_)) {
            steps.push(Step::HearClaim(number));
        }
        for run in 0..self.runs {
            self.steps_of_life(state, number, run, steps);
        }
        let Some(node) = process.node else {
            if state.may.boot > 0 && !process.draining {
                steps.push(Step::BeginAgain(number));
            }
            return;
        };
        if process.old.is_some() {
            steps.push(Step::EndOld(number));
        }
        if process.claim == ClaimCall::Idle && !process.draining && !state.tables.claimable(self).is_empty() {
            steps.push(Step::Claim(number));
        }
        let unknown = |(run, row): (u8, &Option<Row>)| {
            let unstarted = row.as_ref().is_some_and(|row| row.node == Some(node) && row.status == RunStatus::Pending);
            unstarted && process.life(run).is_none_or(|life| life.phase == Phase::Arriving)
        };
        let awaited = state.callers.iter().any(|caller| caller.at == number && caller.progress == Progress::AwaitsLife);
        let looks = if self.broken == Some(Broken::LooksOnlyAfterALoss) {
            process.lost_answers || awaited
        } else {
            awaited || (0..).zip(&state.tables.runs).any(unknown)
        };
        if looks {
            steps.push(Step::FindUnstarted(number));
            if state.may.stale > 0 && process.looked.is_none() {
                steps.push(Step::LookForUnstarted(number));
            }
        }
        if process.looked.is_some() {
            steps.push(Step::HearUnstarted(number));
        }
        if process.draining && self.has_drained(state, number) {
            steps.push(Step::Leave(number));
        }
    }

    fn has_drained(&self, state: &State, number: u8) -> bool {
        let process = state.process(number);
        let under_way = state
            .callers
            .iter()
            .any(|caller| caller.at == number && !matches!(caller.progress, Progress::Todo | Progress::Told(_)));
        process.lives.iter().all(Option::is_none) && process.claim == ClaimCall::Idle && !under_way
    }

    fn steps_of_life(&self, state: &State, process: u8, run: u8, steps: &mut Vec<Step>) {
        let Some(life) = state.process(process).life(run) else { return };
        if life.next_deed(self).is_some() {
            steps.push(Step::Write(process, run));
        }
        if matches!(life.write, Some((_, WriteAt::Answered(_)))) {
            steps.push(Step::HearWrite(process, run));
        }
        if life.phase == Phase::Working && life.stop.is_none() && life.write.is_none() {
            let has_more = life.next_step(self).is_some();
            steps.push(if has_more { Step::Work(process, run) } else { Step::Return(process, run) });
            if state.may.fail > 0 {
                steps.push(Step::Fail(process, run));
            }
            if state.may.say > 0 {
                steps.push(Step::Say(process, run));
            }
            if state.may.need > 0 {
                steps.push(Step::Need(process, run));
            }
        }
        let node = state.process(process).node;
        let wanted = |row: &Row| row.cancel_requested && row.node == node && !row.status.is_terminal();
        if life.stop != Some(Stop::Cancel) && node.is_some() && state.tables.row(run).is_some_and(wanted) {
            steps.push(Step::SeeRequest(process, run));
        }
    }

    fn steps_of_caller(&self, state: &State, number: u8, steps: &mut Vec<Step>) {
        let caller = &state.callers[usize::from(number)];
        let process = state.process(caller.at);
        let awake = process.is_awake();
        let may_ask = match caller.ask {
            Ask::Submit(Submit { owned, .. }) => !process.draining && (!owned || process.node.is_some()),
            Ask::Cancel { .. } => true,
            // Somebody has seen what it waits for.
            Ask::Continue { run } => state.tables.row(run).is_some_and(|row| row.pauses > 0),
        };
        match caller.progress {
            Progress::Todo if awake && may_ask => steps.push(Step::Ask(number)),
            Progress::Insert { at: InsertAt::Answered(_), .. }
            | Progress::Cancel(CancelAt::Answered(_))
            | Progress::Continue(Some(_))
                if awake =>
            {
                steps.push(Step::HearCall(number));
            }
            // What was sent arrives whether its sender stands still or not.
            Progress::Insert { at: InsertAt::Sent | InsertAt::Looked(_), .. } => steps.push(Step::CallRuns(number)),
            Progress::Cancel(CancelAt::Cancel { .. } | CancelAt::Settled { .. } | CancelAt::Store)
            | Progress::Continue(None)
                if awake =>
            {
                steps.push(Step::CallRuns(number));
            }
            Progress::Todo
            | Progress::Insert { .. }
            | Progress::Cancel(_)
            | Progress::Continue(_)
            | Progress::AwaitsEnd
            | Progress::AwaitsLife
            | Progress::Told(_) => {}
        }
    }

    fn steps_of_database(&self, state: &State, steps: &mut Vec<Step>) {
        let tables = &state.tables;
        for (node, lease) in (0..).zip(&tables.leases) {
            if matches!(lease, LeaseRow::Until { renewing: Some(_), .. }) {
                steps.push(Step::RenewalCommits(node));
            }
        }
        if !state.processes.iter().any(super::process::Process::is_awake) {
            return;
        }
        if self.broken == Some(Broken::SweepWithoutRecheck) {
            return self.steps_of_broken_sweep(state, steps);
        }
        for (node, lease) in (0..).zip(&tables.leases) {
            if tables.may_be_swept(self, node, true) {
                steps.push(Step::Sweep { node, skip: false });
                if state.may.skip > 0 && matches!(lease, LeaseRow::Until { .. }) {
                    steps.push(Step::Sweep { node, skip: true });
                }
            }
        }
    }

    fn steps_of_broken_sweep(&self, state: &State, steps: &mut Vec<Step>) {
        match state.seen_expired {
            None => {
                let nodes = (0..).take(state.tables.leases.len());
                let expired = nodes.filter(|&node| state.tables.may_be_swept(self, node, false));
                steps.extend(expired.map(Step::SeeExpired));
            }
            Some(node) => {
                let lease = state.tables.leases[usize::from(node)];
                if !matches!(lease, LeaseRow::Until { renewing: Some(_), .. }) {
                    steps.push(Step::TakeExpired);
                }
            }
        }
    }

    pub(super) fn take(&self, state: &mut State, step: Step) {
        match step {
            Step::Tick => self.tick(state),
            Step::Pause(process) => state.pause(process),
            Step::Wake(process) => state.wake(process),
            Step::Die(process) => state.die(process),
            Step::Boot(process) => state.boot(process),
            Step::Drain(process) => state.drain(process),
            Step::Leave(process) => state.leave(process),
            Step::LookAtLease(process) => state.look_at_lease(process),
            Step::RenewSlowly(process) => state.renew_slowly(process),
            Step::RenewalRuns(process) => state.renewal_runs(process),
            Step::RenewalCommits(node) => state.renewal_commits(node),
            Step::HearRenewal(process) => state.hear_renewal(self, process),
            Step::BeginAgain(process) => state.begin_again(process),
            Step::EndOld(process) => state.end_old(process),
            Step::Sweep { node, skip } => {
                state.may.skip -= u8::from(skip);
                state.tables.sweep(self, node, skip);
            }
            Step::SeeExpired(node) => state.seen_expired = Some(node),
            Step::TakeExpired => {
                if let Some(node) = state.seen_expired.take() {
                    state.tables.sweep(self, node, false);
                }
            }
            Step::Claim(process) => state.process_mut(process).claim = ClaimCall::Sent,
            Step::ClaimRuns(process) => state.claim_runs(self, process),
            Step::HearClaim(process) => state.hear_claim(process),
            Step::LoseClaim(process) => state.lose_claim(self, process),
            Step::FindUnstarted(process) => state.find_unstarted(process),
            Step::LookForUnstarted(process) => state.look_for_unstarted(process),
            Step::HearUnstarted(process) => state.hear_unstarted(process),
            Step::SeeRequest(process, run) => state.stop(process, run, Stop::Cancel),
            Step::Write(process, run) => state.write_next(self, process, run),
            Step::Say(process, run) => state.say(process, run),
            Step::Need(process, run) => state.need(process, run),
            Step::Work(process, run) => state.work(self, process, run),
            Step::Fail(process, run) => state.fail(process, run),
            Step::Return(process, run) => state.code_returns(process, run),
            Step::WriteRuns(process, run) => state.write_runs(self, process, run),
            Step::HearWrite(process, run) => state.hear_write(self, process, run),
            Step::LoseWrite(process, run) => state.lose_write(process, run),
            Step::Ask(caller) => state.ask(caller),
            Step::CallRuns(caller) => state.call_runs(self, caller),
            Step::HearCall(caller) => state.hear_call(caller),
            Step::LoseCall(caller) => state.lose_call(caller),
            Step::GiveUpCall(caller) => state.give_up_call(self, caller),
            Step::StrayArrives(stray) => state.stray_arrives(self, stray),
        }
    }
}
