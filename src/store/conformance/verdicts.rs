//! Every change of every state, held against the protocol.

use std::time::Duration;

use super::samples::*;
use crate::run::RunStatus::{Cancelled, Completed, Error, Running};
use crate::run::{RunId, RunStatus};
use crate::store::RunStore;
use crate::store::protocol::{Advance, Change, InsertRun, RowFacts, Verdict, judge};

/// The states that writes can put a run into.
#[derive(Clone, Copy, Debug)]
enum State {
    Missing,
    Waiting,
    TakenUp,
    CancelRequested,
    Exhausted,
    Running,
    HandedBack,
    Settled(RunStatus),
    CancelledUnowned,
    Late,
    LateAndHandedBack,
    LastAttempt,
    RunningAndCancelRequested,
    Retried,
    Paused,
}

const RETRY: Change = Change::Retry { after: Duration::from_secs(3600) };

const STATES: [State; 17] = [
    State::Missing,
    State::Waiting,
    State::TakenUp,
    State::CancelRequested,
    State::Exhausted,
    State::Running,
    State::HandedBack,
    State::Settled(Completed),
    State::Settled(Cancelled),
    State::Settled(Error),
    State::CancelledUnowned,
    State::Late,
    State::LateAndHandedBack,
    State::LastAttempt,
    State::RunningAndCancelRequested,
    State::Retried,
    State::Paused,
];

impl State {
    /// A new run, and the steps that bring it into this state.
    fn steps(self) -> (Option<InsertRun>, Vec<Change>, bool) {
        use Change::{HandBack, Start};
        match self {
            Self::Missing => (None, vec![], false),
            Self::Waiting => (Some(unowned()), vec![], false),
            Self::TakenUp => (Some(owned()), vec![], false),
            Self::CancelRequested => (Some(owned()), vec![], true),
            Self::Exhausted => (Some(with(owned(), |run| run.max_attempts = 0)), vec![], false),
            Self::Running => (Some(owned()), vec![Start], false),
            Self::HandedBack => (Some(owned()), vec![Start, HandBack], false),
            Self::Settled(status) => (Some(owned()), vec![Start, settle(status)], false),
            Self::CancelledUnowned => (Some(unowned()), vec![], true),
            Self::Late => (Some(late(owned())), vec![], false),
            Self::LateAndHandedBack => (Some(late(owned())), vec![HandBack], false),
            Self::LastAttempt => (Some(with(owned(), |run| run.max_attempts = 1)), vec![Start], false),
            Self::RunningAndCancelRequested => (Some(owned()), vec![Start], true),
            Self::Paused => (Some(owned()), vec![Start, pause(None)], false),
            Self::Retried => (Some(owned()), vec![Start, RETRY], false),
        }
    }

    async fn make(self, store: &dyn RunStore) -> RunId {
        let (run, steps, cancelled) = self.steps();
        let Some(run) = run else { return RunId::new() };
        submit(store, &run).await;
        let mut attempt = Attempt { store, run_id: id(&run), attempt: 1, next_seq: 0 };
        for change in steps {
            attempt.write(change).await;
        }
        if cancelled {
            cancel(store, id(&run)).await;
        }
        id(&run)
    }
}

/// Where an applied `step` puts the row.
fn after(step: &Advance, row: RowFacts) -> RowFacts {
    let given_up = matches!(step.change, Change::HandBack | Change::Retry { .. } | Change::Pause(_));
    let starts = match step.change {
        Change::Start => row.starts + 1,
        Change::HandBack | Change::Pause(_) if row.status == Running => row.starts - 1,
        Change::Append | Change::Settle(_) | Change::HandBack | Change::Retry { .. } | Change::Pause(_) => row.starts,
    };
    RowFacts {
        status: step.change.to().unwrap_or(row.status),
        node: row.node.filter(|_| !given_up),
        next_seq: step.next_seq(),
        starts,
        ..row
    }
}

/// A step of each kind, by attempts and at places around those of the row.
fn steps(run_id: RunId, row: Option<RowFacts>) -> Vec<Advance> {
    let ends = [Completed, Cancelled, Error].map(settle);
    let changes = [Change::Start, Change::Append, Change::HandBack, RETRY, pause(None)].into_iter().chain(ends);
    let (attempt, next_seq) = row.map_or((1, 0), |row| (row.attempt, row.next_seq));
    let mut steps = Vec::new();
    for change in changes {
        for attempt in attempt.saturating_sub(1)..=attempt + 1 {
            for first_seq in next_seq.saturating_sub(1)..=next_seq + 1 {
                let step = step(run_id, attempt, first_seq, change.clone());
                steps.push(Advance { events: Vec::new(), ..step.clone() });
                steps.push(step);
            }
        }
    }
    steps
}

async fn check(store: &dyn RunStore, state: State, step: &Advance) {
    let run_id = step.run_id;
    let before = store.facts(run_id).await.unwrap();
    let log = events(store, run_id).await;
    let verdict = judge(step, before.as_ref());
    let outcome = advance(store, step).await;
    let now = store.facts(run_id).await.unwrap();
    let grown = events(store, run_id).await;
    match verdict {
        Verdict::Apply => {
            assert_eq!(outcome, Ok(()), "{state:?} {step:?}");
            assert_eq!(now, before.map(|row| after(step, row)), "{state:?} {step:?}");
            assert_eq!(grown, [log, step.events.clone()].concat(), "{state:?} {step:?}");
        }
        Verdict::Applied | Verdict::Refuse(_) => {
            let expected = if let Verdict::Refuse(refusal) = verdict { Err(refusal) } else { Ok(()) };
            assert_eq!(outcome, expected, "{state:?} {step:?}");
            assert_eq!((now, grown), (before, log), "{state:?} {step:?}");
        }
    }
}

pub(super) async fn every_change_of_every_state_is_answered_as_it_is_judged(store: &dyn RunStore) {
    for state in STATES {
        let mut run_id = state.make(store).await;
        let row = store.facts(run_id).await.unwrap();
        for step in steps(run_id, row) {
            let step = Advance { run_id, ..step };
            let events = step.events.iter().cloned().map(|event| crate::run::RunEvent { run_id, ..event }).collect();
            check(store, state, &Advance { events, ..step }).await;
            // A step that was taken leaves another state: the next one needs a run of its own.
            let place = |row: RowFacts| (row.status, row.next_seq, row.node.is_some());
            if store.facts(run_id).await.unwrap().map(place) != row.map(place) {
                run_id = state.make(store).await;
            }
        }
    }
}
