//! The guarantees, and what has to be reachable so that they do not hold for want of anything happening.

use stateright::Property;

use super::World;
use super::callers::{Ask, Told};
use super::process::{Phase, Process, WriteAt};
use super::row::{Deed, Row};
use super::state::{State, Stray};
use super::tables::Flaw;
use crate::run::{RunStatus, SessionPolicy};
use crate::store::protocol::{Refusal, Verdict};

pub(super) const SETTLES: &str = "G1: every run settles when nothing goes wrong any more";
pub(super) const LEGAL: &str = "G2: a settled run never changes, and every transition is legal";
pub(super) const FENCED: &str = "G3: only the attempt that has the run writes";
pub(super) const ALONE: &str = "G3: user code of two attempts never runs at the same time";
pub(super) const NOT_ROBBED: &str = "G3: nothing is taken from a node whose lease holds";
pub(super) const BOUNDED: &str = "G4: user code starts at most max_attempts times";
pub(super) const ACKNOWLEDGED: &str = "G5: a cancel that was acknowledged holds";
pub(super) const NEVER_STARTS: &str = "G6: after an acknowledged intent user code never starts";
pub(super) const GAPLESS: &str = "G7: the log is gapless, and its last event comes with the status";
pub(super) const WAITS_NOT: &str = "G5: a run that is to be cancelled does not wait for people";
pub(super) const ONE_DECISION: &str = "a pause is continued once, and nothing else is";
pub(super) const NOT_TOO_EARLY: &str = "G4: a failed attempt is followed by another after a while, and not before";
pub(super) const NOT_AGAIN: &str = "a step that is remembered is not done again";
pub(super) const ONE_RESULT: &str = "whatever goes on from a step goes on from one result";
pub(super) const ITS_SESSION: &str = "a session that is left to one run is left to one";
pub(super) const ONE_RUN: &str = "G9: an id that is submitted twice is one run";
pub(super) const ONE_KEY: &str = "G9: a key that is submitted twice is one run";

type Condition = fn(&World, &State) -> bool;

const GUARANTEES: [(&str, Condition); 17] = [
    (SETTLES, |world, state| !is_at_its_end(world, state) || world.settles(state)),
    (LEGAL, |_, state| !state.tables.flaws.contains(&Flaw::IllegalTransition)),
    (FENCED, |_, state| !state.tables.flaws.contains(&Flaw::ForeignWrite)),
    (ALONE, |world, state| world.clocks_stop || (0..world.runs).all(|run| at_work(state, run) <= 1)),
    (NOT_ROBBED, |_, state| !state.tables.flaws.contains(&Flaw::Robbed)),
    (BOUNDED, |world, state| state.started.iter().all(|started| started.counted.count_ones() <= world.max_attempts)),
    (ACKNOWLEDGED, are_cancels_kept),
    (NEVER_STARTS, |_, state| !any_told(state, |told, _, run| told == Told::IntentStored && state.started[run].ever)),
    (GAPLESS, |_, state| state.tables.runs.iter().flatten().all(has_good_log)),
    (ONE_RUN, is_one_run),
    (ONE_KEY, |_, state| state.tables.runs.iter().flatten().filter(|row| row.keyed).count() <= 1),
    (WAITS_NOT, |_, state| !any_row(state, |row| row.status == RunStatus::Paused && row.cancel_requested)),
    (ONE_DECISION, is_decided_once),
    (NOT_TOO_EARLY, |_, state| !state.tables.flaws.contains(&Flaw::StartedTooEarly)),
    (NOT_AGAIN, |_, state| !state.tables.flaws.contains(&Flaw::DoneAgain)),
    (ONE_RESULT, |_, state| !state.tables.flaws.contains(&Flaw::TwoResults)),
    (ITS_SESSION, has_its_session),
];

const REACHABLE: [(&str, Condition); 25] = [
    ("a rescued run completes", |_, state| any_row(state, |row| row.attempt > 1 && row.status == RunStatus::Completed)),
    ("a fenced write arrives", |world, state| any_write(state, |deed| meets(world, state, deed, is_fenced))),
    ("an unheard write is known again", |world, state| {
        any_live_write(state, |deed, at| {
            at == WriteAt::Refused && meets(world, state, deed, |verdict| verdict == Verdict::Applied)
        })
    }),
    ("a process stops for want of a lease", |_, state| {
        state.processes.iter().any(|process| process.is_awake() && process.node.is_none())
    }),
    ("a process wakes too late", |_, state| {
        (0..).zip(&state.processes).any(|(number, process)| {
            process.is_awake() && process.overslept && process.must_stop(state.reading(number))
        })
    }),
    ("a lease is renewed", |_, state| state.processes.iter().any(|process| !process.lease.granted.is_zero())),
    ("the attempts run out", |world, state| {
        any_row(state, |row| row.status == RunStatus::Error && row.starts == world.max_attempts)
    }),
    ("the death of its process ends a run", |world, state| {
        any_row(state, |row| row.status == RunStatus::Error && row.starts < world.max_attempts)
    }),
    ("a drained run waits for others", |_, state| {
        let drains = state.processes.iter().any(|process: &Process| process.draining);
        drains && any_row(state, |row| row.attempt > 0 && row.node.is_none() && row.status == RunStatus::Pending)
    }),
    ("an intent is honoured", |_, state| {
        any_told(state, |told, row, _| told == Told::IntentStored && is(row, RunStatus::Cancelled))
    }),
    ("a request is honoured", |_, state| {
        any_told(state, |told, row, _| told == Told::Requested && is(row, RunStatus::Cancelled))
    }),
    ("a cancel comes first", |_, state| any_told(state, |told, _, _| told == Told::Cancelled)),
    ("a completion comes first", |_, state| {
        any_told(state, |told, _, _| told == Told::AlreadySettled(RunStatus::Completed))
    }),
    ("two submits are one run", |_, state| {
        state.callers.iter().filter(|caller| matches!(caller.told(), Some(Told::Accepted(0)))).count() == 2
    }),
    ("a continued run completes", |_, state| {
        any_told(state, |told, row, _| told == Told::Continued && is(row, RunStatus::Completed))
    }),
    ("a second continue is refused", |_, state| {
        any_told(state, |told, _, _| told == Told::Continued) && any_told(state, |told, _, _| told == Told::NotPaused)
    }),
    ("a paused run is cancelled", |_, state| {
        any_row(state, |row| row.pauses > 0 && row.continued_by.is_none() && row.status == RunStatus::Cancelled)
    }),
    ("a failed attempt is followed by another", |_, state| {
        any_row(state, |row| row.starts > 1 && row.run_at > 0 && row.status == RunStatus::Completed)
    }),
    ("failures use up the attempts", |world, state| {
        any_row(state, |row| row.starts == world.max_attempts && row.run_at > 0 && row.status == RunStatus::Error)
    }),
    ("an attempt goes on from steps of another", |_, state| {
        any_row(state, |row| row.status == RunStatus::Completed && row.steps == [1, 2])
    }),
    ("a session is busy", |_, state| any_told(state, |told, _, _| told == Told::SessionBusy)),
    ("a run follows another in its session", |_, state| {
        state.tables.runs.len() > 1 && state.tables.runs.iter().all(|row| is(row.as_ref(), RunStatus::Completed))
    }),
    ("an id is taken", |_, state| any_told(state, |told, _, _| told == Told::Conflict)),
    ("two submits by one key are one run", |_, state| {
        any_told(state, |told, row, run| {
            row.is_none() && matches!(told, Told::Accepted(other) if usize::from(other) != run)
        })
    }),
    ("a key is taken", |_, state| any_told(state, |told, _, _| told == Told::KeyTaken)),
];

pub(super) fn of(world: &World) -> Vec<Property<World>> {
    let guarantees = GUARANTEES.into_iter().map(|(name, holds)| Property::always(name, holds));
    let reachable = REACHABLE.into_iter().filter(|(name, _)| world.reachable.contains(name));
    // Without an end, the first guarantee would say nothing.
    let end = [("nobody can do anything more", is_at_its_end as Condition)];
    guarantees.chain(reachable.chain(end).map(|(name, is_so)| Property::sometimes(name, is_so))).collect()
}

/// Time stands still, and nobody can do anything more.
fn is_at_its_end(world: &World, state: &State) -> bool {
    state.tables.now >= world.horizon && world.steps(state).is_empty()
}

/// How many attempts have user code at work. A process that has stood still and has not looked at its lease since does not
/// count: nothing can keep its user code from the few instructions that it gets to before it is stopped.
fn at_work(state: &State, run: u8) -> usize {
    let works = |process: &&Process| {
        let at_work = process.life(run).is_some_and(|life| life.phase == Phase::Working);
        at_work && process.is_awake() && !process.overslept
    };
    state.processes.iter().filter(works).count()
}

/// Of the runs of a session that is left to one, at most one is under way; and user code of one at most is at work.
fn has_its_session(world: &World, state: &State) -> bool {
    let keeping = state.tables.runs.iter().flatten().filter(|row| row.keeps_session()).count();
    let working: usize = (0..world.runs).map(|run| at_work(state, run)).sum();
    world.sessions == SessionPolicy::Concurrent || keeping <= 1 && (working <= 1 || world.clocks_stop)
}

fn are_cancels_kept(_: &World, state: &State) -> bool {
    let holds = |told, row: Option<&Row>, _| match told {
        Told::Cancelled => is(row, RunStatus::Cancelled),
        Told::AlreadySettled(status) => is(row, status),
        // The run does not come as far as user code, so there is nothing else that it could end as.
        Told::IntentStored => !is(row, RunStatus::Completed),
        // The owner may have settled it first.
        Told::Requested
        | Told::Accepted(_)
        | Told::Conflict
        | Told::KeyTaken
        | Told::Continued
        | Told::NotPaused
        | Told::SessionBusy
        | Told::Unknown => true,
    };
    let is_broken = |told, row: Option<&Row>, run| !holds(told, row, run);
    !state.tables.flaws.contains(&Flaw::StartedAfterCancel) && !any_told(state, is_broken)
}

fn has_good_log(row: &Row) -> bool {
    let in_order = (0..).zip(&row.log).all(|(place, entry)| entry.seq == place);
    let Some((last, before)) = row.log.split_last() else { return !row.status.is_terminal() && row.next_seq == 0 };
    let is_last = before.iter().all(|entry| entry.ends.is_none());
    let tells = last.ends == Some(row.status).filter(|status| status.is_terminal());
    in_order && is_last && tells && row.log.len() == usize::from(row.next_seq)
}

fn is_one_run(_: &World, state: &State) -> bool {
    let is_true = |ask, told| match (ask, told) {
        (Ask::Submit(submit), Told::Accepted(run)) => {
            let is_it = |row: &Row| row.content == submit.content && (run == submit.run || submit.keyed && row.keyed);
            state.tables.row(run).is_some_and(is_it)
        }
        (Ask::Submit(submit), Told::Conflict) => {
            state.tables.row(submit.run).is_some_and(|row| row.content != submit.content)
        }
        (Ask::Submit(submit), Told::KeyTaken) => {
            submit.keyed && any_row(state, |row| row.keyed && row.content != submit.content)
        }
        (Ask::Submit(_) | Ask::Cancel { .. } | Ask::Continue { .. }, _) => true,
    };
    let told = state.callers.iter().filter_map(|caller| caller.told().map(|told| (caller, told)));
    let mut all = told.map(|(caller, told)| is_true(caller.ask, told));
    !state.tables.flaws.contains(&Flaw::InsertedTwice) && all.all(|is_true| is_true)
}

/// No more continues are acknowledged than there were pauses.
fn is_decided_once(world: &World, state: &State) -> bool {
    (0..world.runs).all(|run| {
        let of_run = |caller: &&super::callers::Caller| caller.run() == run && caller.told() == Some(Told::Continued);
        let continued = state.callers.iter().filter(of_run).count();
        continued <= state.tables.row(run).map_or(0, |row| usize::from(row.pauses))
    })
}

fn any_told(state: &State, is_so: impl Fn(Told, Option<&Row>, usize) -> bool) -> bool {
    let told = |caller: &super::callers::Caller| caller.told().map(|told| (told, caller.run()));
    state.callers.iter().filter_map(told).any(|(told, run)| is_so(told, state.tables.row(run), usize::from(run)))
}

fn is(row: Option<&Row>, status: RunStatus) -> bool {
    row.is_some_and(|row| row.status == status)
}

fn any_row(state: &State, is_so: impl Fn(&Row) -> bool) -> bool {
    state.tables.runs.iter().flatten().any(is_so)
}

fn any_live_write(state: &State, is_so: impl Fn(Deed, WriteAt) -> bool) -> bool {
    let lives = state.processes.iter().flat_map(|process| process.lives.iter().flatten());
    lives.filter_map(|life| life.write).any(|(deed, at)| is_so(deed, at))
}

/// Whether such a write is on its way.
fn any_write(state: &State, is_so: impl Fn(Deed) -> bool) -> bool {
    let strays = || state.strays.iter().any(|stray| matches!(stray, Stray::Write(deed) if is_so(*deed)));
    any_live_write(state, |deed, at| at == WriteAt::Sent && is_so(deed)) || strays()
}

fn meets(world: &World, state: &State, deed: Deed, verdict: impl Fn(Verdict) -> bool) -> bool {
    verdict(state.tables.judge(world, deed))
}

fn is_fenced(verdict: Verdict) -> bool {
    verdict == Verdict::Refuse(Refusal::Fenced)
}
