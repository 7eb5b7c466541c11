//! What follows when nothing goes wrong any more.
//!
//! The checker's own *eventually* passes over what goes round in circles or comes together from two sides. So where time
//! stands still, and nobody can do anything more, the world is let go on without its bounds: whoever stood still is dead,
//! what was on its way is lost, a process is started where there is none. Then every run has to settle. A run that is stuck
//! somewhere on the way is stuck there as well.

use super::process::Body;
use super::state::State;
use super::{May, TTL, World};
use crate::run::RunStatus;

/// So many steps of the clock are more than enough for each attempt of a run to expire in turn.
const ROUNDS: u8 = 5 * TTL;

/// More steps than any round has.
const STEPS: usize = 300;

impl World {
    pub(super) fn settles(&self, state: &State) -> bool {
        let stuck = || {
            let mut state = state.clone();
            state.strays.clear();
            state.seen_expired = None;
            state.may = May { boot: u8::MAX, ..May::default() };
            for process in
                (0..self.processes).filter(|&process| state.process(process).body == Body::Paused).collect::<Vec<_>>()
            {
                state.kill(process);
            }
            !(0..ROUNDS).any(|_| self.goes_on(&mut state))
        };
        all_settled(state) || !stuck()
    }

    /// Lets everything happen that can happen before the clock goes on; whether all runs have settled.
    fn goes_on(&self, state: &mut State) -> bool {
        for process in 0..self.processes {
            if state.process(process).body == Body::Dead {
                state.boot(process);
            }
        }
        for turn in 0..STEPS {
            let steps = self.steps(state);
            if all_settled(state) || steps.is_empty() {
                break;
            }
            // Everybody gets a turn.
            self.take(state, steps[turn % steps.len()]);
        }
        self.tick(state);
        all_settled(state)
    }
}

fn all_settled(state: &State) -> bool {
    // Nobody can make people decide.
    state.tables.runs.iter().flatten().all(|row| row.status.is_terminal() || row.status == RunStatus::Paused)
}
