//! The protocol under a model checker: every order in which a few processes, their callers, one database and what goes
//! wrong can meet.
//!
//! What decides is the code's own: [`encounter`](super::insert::encounter), [`judge`](super::judge),
//! [`judge_cancel`](super::judge_cancel), [`judge_continue`](super::pause::judge_continue),
//! [`take_over`](super::take_over), [`next_move`](super::lease::next_move) and the table of transitions. Around them:
//!
//! - [`tables`], [`arrivals`], [`claims`], [`row`]: the database. Each of its transactions is one step, so that two of them come in either order;
//! - [`process`], [`keeper`], [`lives`]: a process with its lease, and the runs that are live in it, each a writer that
//!   waits for its answers;
//! - [`callers`], [`calls`]: who submits, who cancels and who decides, and what they were told;
//! - [`steps`]: what can happen next, and what it does;
//! - [`faults`]: pauses, deaths, answers that get lost, requests that arrive when nobody waits for them any more;
//! - [`properties`]: the guarantees, and what has to be reachable so that they do not hold for want of anything happening;
//! - [`recovery`]: what follows when nothing goes wrong any more: every run settles.
//!
//! A [`World`] bounds all this. Time is counted in [`TTL`] to a lease; one step of the clock is a second of [`TERMS`].

use std::time::Duration;

use stateright::{Model, Property};

use self::callers::Ask;
use self::state::State;
use self::steps::Step;
use super::lease::Terms;
use crate::run::{CrashPolicy, SessionPolicy};

mod arrivals;
mod callers;
mod calls;
mod claims;
mod faults;
mod keeper;
mod lives;
mod process;
mod properties;
mod recovery;
mod row;
mod state;
mod steps;
mod tables;
#[cfg(test)]
mod tests;

/// How many steps of the clock a lease lasts.
const TTL: u8 = 4;

/// How many steps of user code are told apart.
const STEPS: usize = 2;

/// By step of user code, the attempt whose work its result is; 0 where there is none.
type Results = [u8; STEPS];

const TERMS: Terms = Terms { ttl: Duration::from_secs(TTL as u64) };

/// What is tried, and how much of it.
#[derive(Clone, Debug)]
struct World {
    processes: u8,
    /// Who asks for what, and at which process.
    asks: Vec<(u8, Ask)>,
    runs: u8,
    max_attempts: u32,
    on_crash: CrashPolicy,
    /// Whether the runs, all of them of one session, may run beside each other.
    sessions: SessionPolicy,
    /// How many steps user code has, at most [`STEPS`].
    steps: usize,
    /// What may happen, and how often.
    may: May,
    /// Time stands still here; what is still open then is looked at by [`recovery`].
    horizon: u8,
    /// A process that stands still finds its own clock where it was: its lease seems better than it is. Then only the
    /// database can refuse what comes too late.
    clocks_stop: bool,
    /// The protocol with one mistake in it.
    broken: Option<Broken>,
    /// What has to be reachable here.
    reachable: &'static [&'static str],
}

/// How often things may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct May {
    /// A process stands still for a while.
    pause: u8,
    /// A process dies.
    die: u8,
    /// A process begins anew: one that died, or one whose lease is over.
    boot: u8,
    /// An answer of the database is not heard, or not waited for.
    lose: u8,
    /// A process is shut down in good order.
    drain: u8,
    /// User code says something.
    say: u8,
    /// User code waits for people.
    need: u8,
    /// User code fails in a way that may pass.
    fail: u8,
    /// A sweep finds the runs of the node locked by somebody.
    skip: u8,
    /// What a process looked up about runs of its own is stale when it hears it.
    stale: u8,
    /// A renewal takes its time, at every stage of its way, or is lost. All others are done at once when they are due.
    slow: u8,
}

/// A mistake that the protocol does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// A write does not say which attempt it is of.
    NoFence,
    /// A sweep takes what it saw expired, whatever has become of it.
    SweepWithoutRecheck,
    /// A sweep takes settled runs as well.
    SweepOfTheSettled,
    /// The last event is written after the status.
    LastEventLater,
    /// An insert looks for the intent before it writes, and a start does not look at all.
    IntentBeforeInsert,
    /// A cancel that found no run stores its intent and does not look again.
    CancelLooksOnce,
    /// A start does not mind a request on the row.
    StartIgnoresRequest,
    /// Neither a start nor a sweep minds how often user code was started.
    StartsUnbounded,
    /// A lease is trusted from when the answer came.
    TrustFromTheAnswer,
    /// An insert looks for its idempotency key before it writes, and no index minds.
    KeyBeforeInsert,
    /// A continue does not mind whether the run waits for people.
    ContinueUnguarded,
    /// A pause does not mind a request on the row.
    PauseIgnoresRequest,
    /// A start that was followed by a failure does not count.
    RetryUncounted,
    /// A claim does not mind that a failed run is to wait.
    RetryTakenAtOnce,
    /// User code goes on from the result of a step before that is durable.
    StepUsedEarly,
    /// An attempt does not look for the steps that earlier ones have finished.
    StepsForgotten,
    /// Of two claims that see different runs of a session, none minds what the other has committed.
    TurnWithoutIndex,
    /// An insert looks before it writes for the run that has the session, and no index minds.
    HolderBeforeInsert,
    /// A second insert of an id writes over the first.
    InsertOverwrites,
    /// A node looks once for what it was not told of, and not again.
    LooksOnlyAfterALoss,
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.extend(self.steps(state));
        steps.extend(self.faults(state));
        if state.tables.now < self.horizon && self.clock_may_go_on(state) {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        self.take(&mut next, step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}
