//! What a submit and a cancel do, statement by statement.

use super::callers::{Ask, CancelAt, InsertAt, Progress, Submit, Told};
use super::process::{Life, Phase, Stop};
use super::row::{CancelAnswer, Inserted, Met, Taken};
use super::state::State;
use super::{Broken, STEPS, World};

impl State {
    pub(super) fn ask(&mut self, number: u8) {
        let caller = self.callers[usize::from(number)];
        let (process, run) = (caller.at, caller.run());
        let is_live = self.process(process).life(run).is_some();
        match caller.ask {
            Ask::Submit(Submit { owned, .. }) => {
                let node = self.process(process).node.filter(|_| owned && !is_live);
                if node.is_some() {
                    *self.process_mut(process).life_mut(run) = Some(Life::arriving());
                }
                self.caller_mut(number).progress = Progress::Insert { node, at: InsertAt::Sent };
            }
            Ask::Cancel { .. } if is_live => {
                self.stop(process, run, Stop::Cancel);
                self.caller_mut(number).progress = Progress::AwaitsEnd;
            }
            Ask::Cancel { .. } => self.caller_mut(number).cancel_in_store(),
            Ask::Continue { .. } => self.caller_mut(number).progress = Progress::Continue(None),
        }
    }

    /// The next statement of a submit or of a cancel.
    pub(super) fn call_runs(&mut self, world: &World, number: u8) {
        let caller = self.callers[usize::from(number)];
        match (caller.ask, caller.progress) {
            (Ask::Submit(submit), Progress::Insert { node, at }) => {
                let at = self.insert_runs(world, at, submit, node);
                self.caller_mut(number).progress = Progress::Insert { node, at };
            }
            (_, Progress::Cancel(at)) => {
                let at = self.cancel_runs(world, at, caller.run());
                self.caller_mut(number).progress = Progress::Cancel(at);
            }
            (_, Progress::Continue(None)) => {
                let answer = self.tables.resume(world, caller.run(), number);
                self.caller_mut(number).progress = Progress::Continue(Some(answer));
            }
            (Ask::Submit(_) | Ask::Cancel { .. } | Ask::Continue { .. }, _) => {}
        }
    }

    fn insert_runs(&mut self, world: &World, at: InsertAt, submit: Submit, node: Option<u8>) -> InsertAt {
        let early = [Broken::IntentBeforeInsert, Broken::KeyBeforeInsert, Broken::HolderBeforeInsert];
        let looks_first = world.broken.is_some_and(|broken| early.contains(&broken));
        let met = self.tables.met(submit);
        match at {
            InsertAt::Sent if looks_first => InsertAt::Looked(met),
            InsertAt::Sent => InsertAt::Answered(self.tables.insert(world, submit, met, node)),
            InsertAt::Looked(met_before) => {
                let met = if world.broken == Some(Broken::IntentBeforeInsert) {
                    Met { intent: met_before.intent, ..met }
                } else {
                    met_before
                };
                let inserted = self.tables.insert(world, submit, met, node);
                if let Some(row) = self.tables.row_of(submit.run).filter(|_| inserted == Inserted::New) {
                    row.cancel_requested = met_before.intent;
                }
                InsertAt::Answered(inserted)
            }
            InsertAt::Answered(answer) => InsertAt::Answered(answer),
        }
    }

    fn cancel_runs(&mut self, world: &World, at: CancelAt, run: u8) -> CancelAt {
        match at {
            CancelAt::Cancel { again } => {
                self.tables.cancel(world, run).map_or(CancelAt::Settled { again }, CancelAt::Answered)
            }
            CancelAt::Settled { again } => {
                let nothing = if again { CancelAt::Answered(CancelAnswer::IntentStored) } else { CancelAt::Store };
                self.tables.settled(world, run).map_or(nothing, CancelAt::Answered)
            }
            CancelAt::Store => {
                self.tables.intents[usize::from(run)] = true;
                if world.broken == Some(Broken::CancelLooksOnce) {
                    CancelAt::Answered(CancelAnswer::IntentStored)
                } else {
                    CancelAt::Cancel { again: true }
                }
            }
            CancelAt::Answered(answer) => CancelAt::Answered(answer),
        }
    }

    pub(super) fn hear_call(&mut self, number: u8) {
        match self.callers[usize::from(number)].progress {
            Progress::Insert { node, at: InsertAt::Answered(inserted) } => self.hear_insert(number, node, inserted),
            Progress::Cancel(CancelAt::Answered(cancelled)) => self.hear_cancel(number, cancelled),
            Progress::Continue(Some(Ok(()))) => self.caller_mut(number).tell(Told::Continued),
            Progress::Continue(Some(Err(_))) => self.caller_mut(number).tell(Told::NotPaused),
            Progress::Todo
            | Progress::Insert { .. }
            | Progress::Cancel(_)
            | Progress::Continue(None)
            | Progress::AwaitsEnd
            | Progress::AwaitsLife
            | Progress::Told(_) => {}
        }
    }

    fn hear_insert(&mut self, number: u8, reserved: Option<u8>, inserted: Inserted) {
        let caller = self.callers[usize::from(number)];
        let (process, run) = (caller.at, caller.run());
        // Where the lease was lost meanwhile the place was given up with it.
        let kept = reserved.filter(|&node| self.process(process).node == Some(node));
        let first = Taken { run, attempt: 1, next_seq: 0, steps: [0; STEPS] };
        self.caller_mut(number).tell(Told::Accepted(run));
        match inserted {
            Inserted::New if kept.is_some() => self.enliven(process, first),
            Inserted::New => {}
            Inserted::Existing { run: found, node, fresh: true } if found == run && kept.is_some() && node == kept => {
                self.enliven(process, first);
            }
            Inserted::Existing { run: found, .. } => {
                self.caller_mut(number).tell(Told::Accepted(found));
                self.release(process, run, kept);
            }
            Inserted::Conflict => self.refuse(number, Told::Conflict, kept),
            Inserted::KeyTaken => self.refuse(number, Told::KeyTaken, kept),
            Inserted::SessionBusy => self.refuse(number, Told::SessionBusy, kept),
        }
    }

    fn refuse(&mut self, number: u8, told: Told, kept: Option<u8>) {
        self.caller_mut(number).tell(told);
        let caller = self.callers[usize::from(number)];
        self.release(caller.at, caller.run(), kept);
    }

    /// Gives up the place that was kept for a run that did not come; a claim may have filled it meanwhile.
    pub(super) fn release(&mut self, process: u8, run: u8, kept: Option<u8>) {
        let is_empty = self.process(process).life(run).is_some_and(|life| life.phase == Phase::Arriving);
        if kept.is_none() || !is_empty {
            return;
        }
        *self.process_mut(process).life_mut(run) = None;
        for caller in self.callers.iter_mut().filter(|caller| caller.at == process && caller.run() == run) {
            if caller.progress == Progress::AwaitsEnd {
                caller.cancel_in_store();
            }
        }
    }

    fn hear_cancel(&mut self, number: u8, cancelled: CancelAnswer) {
        let caller = self.callers[usize::from(number)];
        let (process, run) = (caller.at, caller.run());
        let told = match cancelled {
            CancelAnswer::Requested(node) if self.process(process).node == Some(node) => {
                let is_live = self.process(process).life(run).is_some();
                self.stop(process, run, Stop::Cancel);
                self.caller_mut(number).progress = if is_live { Progress::AwaitsEnd } else { Progress::AwaitsLife };
                return;
            }
            CancelAnswer::Requested(_) => Told::Requested,
            CancelAnswer::Cancelled => Told::Cancelled,
            CancelAnswer::Settled(status) => Told::AlreadySettled(status),
            CancelAnswer::IntentStored => Told::IntentStored,
        };
        self.caller_mut(number).tell(told);
    }
}
