//! Decides whether a history keeps the guarantees. Pure: a history goes in, and what is wrong with it comes out.
//!
//! Not decided here: G10, the bounds, which have tests of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use greenroom::{RunEvent, RunId};

use crate::clock::Micros;
use crate::history::{Call, History, Process, StoredRun};
use crate::kind::Kind;
use crate::wire::{Answer, Ask, Note, Submit, What};

mod accepted;
mod attempts;
mod cancels;
mod content;
mod keys;
mod log;
mod overlaps;
mod pauses;
mod sessions;
mod settled;
mod steps;
#[cfg(test)]
mod tests;
mod users;

pub(crate) use self::overlaps::longest_overlap;

/// For what is promised up to the time that it takes to notice: how long user code may go on beside the next attempt.
const TIME_TO_NOTICE: Micros = 3_000_000;

/// The clocks of Postgres and of the processes are one, but they are read in two ways.
const CLOCK_SLACK: Micros = 5_000;

/// The guarantees, by their numbers in the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guarantee {
    /// What was accepted settles.
    G1 = 1,
    /// Settled is settled.
    G2,
    /// Only the latest attempt writes.
    G3,
    /// User code starts so many times, and as its agent wants it.
    G4,
    /// An acknowledged cancel is one.
    G5,
    /// What was cancelled before it came does not start.
    G6,
    /// A log has no gap, and one end.
    G7,
    /// A reader gets exactly the log.
    G8,
    /// One run for each id.
    G9,
    /// A shutdown uses up no attempt.
    G11 = 11,
    /// Nothing is seen by another user.
    G12,
    /// What was remembered is not done again. Not among the numbered ones.
    Steps,
    /// A session is left to one run, where its agent wants that. Not among the numbered ones.
    Sessions,
    /// A run that waits for people does nothing else, and hears one of them. Not among the numbered ones.
    Pauses,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) of: Guarantee,
    /// `None` where it is about a process.
    pub(crate) run_id: Option<RunId>,
    pub(crate) what: String,
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run_id = self.run_id.map_or_else(String::new, |run_id| format!("run {run_id}: "));
        write!(f, "{:?}: {run_id}{}", self.of, self.what)
    }
}

/// All that is known of one run.
struct Case<'a> {
    run_id: RunId,
    stored: Option<&'a StoredRun>,
    calls: Vec<&'a Call>,
    /// By attempt, then by start.
    executions: Vec<Execution<'a>>,
    /// What user code has noted of it, besides.
    notes: Vec<&'a Note>,
    since_1970: i64,
}

/// One start of user code.
struct Execution<'a> {
    attempt: u32,
    start: Micros,
    /// When it ended itself; it also ends with its process.
    end: Option<Micros>,
    process: &'a Process,
}

impl Execution<'_> {
    fn is_over_by(&self) -> Micros {
        self.end.or(self.process.gone).unwrap_or(Micros::MAX)
    }
}

impl Case<'_> {
    /// When an event happened, on the clock of everything else.
    fn time_of(&self, event: &RunEvent) -> Micros {
        u64::try_from(event.created_at.timestamp_micros() - self.since_1970).unwrap_or_default()
    }

    /// When it had settled at the earliest.
    fn end(&self) -> Micros {
        let last = self.stored.and_then(|stored| stored.events.last()).filter(|event| event.is_terminal());
        last.map_or(Micros::MAX, |last| self.time_of(last))
    }

    /// When its first attempt was started.
    fn begin(&self) -> Option<Micros> {
        self.stored.and_then(|stored| starts(stored).next()).map(|(_, event)| self.time_of(event))
    }

    fn submits(&self) -> impl Iterator<Item = (&Call, &Submit)> {
        self.calls.iter().filter_map(|call| match &call.ask {
            Ask::Submit(submit) => Some((*call, submit)),
            _ => None,
        })
    }

    fn kind(&self) -> Option<Kind> {
        Kind::named(&self.stored?.agent)
    }
}

/// What was found to be wrong with one run.
struct Findings<'a> {
    run_id: RunId,
    violations: &'a mut Vec<Violation>,
}

impl Findings<'_> {
    fn add(&mut self, of: Guarantee, what: impl Into<String>) {
        self.violations.push(Violation { of, run_id: Some(self.run_id), what: what.into() });
    }

    fn check(&mut self, holds: bool, of: Guarantee, what: impl FnOnce() -> String) {
        if !holds {
            self.add(of, what());
        }
    }
}

/// What is wrong with `history`.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let cases = cases(history);
    for case in &cases {
        let mut findings = Findings { run_id: case.run_id, violations: &mut violations };
        for rule in [
            accepted::check,
            settled::check,
            attempts::check,
            overlaps::check,
            cancels::check,
            log::check,
            content::check,
            steps::check,
            pauses::check,
            users::check,
        ] {
            rule(case, &mut findings);
        }
    }
    keys::check(history, &mut violations);
    sessions::check(&cases, &mut violations);
    users::check_lists(history, &mut violations);
    for process in &history.processes {
        if process.gone.is_none() {
            let what = format!("{} was asked to end and did not", process.name);
            violations.push(Violation { of: Guarantee::G11, run_id: None, what });
        }
    }
    violations
}

fn cases(history: &History) -> Vec<Case<'_>> {
    let mut calls: BTreeMap<RunId, Vec<&Call>> = BTreeMap::new();
    let keys = keys::owners(history);
    for call in &history.calls {
        if let Some(run_id) = run_of(call, &keys) {
            calls.entry(run_id).or_default().push(call);
        }
    }
    let mut executions = executions(history);
    let mut notes: BTreeMap<RunId, Vec<&Note>> = BTreeMap::new();
    for note in history.processes.iter().flat_map(|process| &process.notes) {
        notes.entry(note.run_id).or_default().push(note);
    }
    let run_ids: BTreeSet<RunId> = calls.keys().chain(executions.keys()).chain(history.runs.keys()).copied().collect();
    let case = |run_id: RunId| Case {
        run_id,
        stored: history.runs.get(&run_id),
        calls: calls.remove(&run_id).unwrap_or_default(),
        executions: executions.remove(&run_id).unwrap_or_default(),
        notes: notes.remove(&run_id).unwrap_or_default(),
        since_1970: history.since_1970,
    };
    run_ids.into_iter().map(case).collect()
}

/// The run that a call is about: the one that it names, the one that it was answered with, or the one that has its key.
fn run_of(call: &Call, keys: &keys::Owners<'_>) -> Option<RunId> {
    let answered = || match call.answer {
        Some(Answer::Accepted { run_id, .. } | Answer::KeyConflict { run_id }) => Some(run_id),
        _ => None,
    };
    let keyed = || match &call.ask {
        Ask::Submit(Submit { key: Some(key), user, agent, .. }) => {
            keys.get(&(user.as_str(), agent.as_str(), key.as_str())).copied()
        }
        _ => None,
    };
    call.ask.run_id().or_else(answered).or_else(keyed)
}

fn executions(history: &History) -> BTreeMap<RunId, Vec<Execution<'_>>> {
    let mut executions: BTreeMap<RunId, Vec<Execution<'_>>> = BTreeMap::new();
    for process in &history.processes {
        let mut open: BTreeMap<(RunId, u32), usize> = BTreeMap::new();
        for note in &process.notes {
            let of_run = executions.entry(note.run_id).or_default();
            match note.what {
                What::Start => {
                    open.insert((note.run_id, note.attempt), of_run.len());
                    of_run.push(Execution { attempt: note.attempt, start: note.at, end: None, process });
                }
                What::End => {
                    if let Some(at) = open.remove(&(note.run_id, note.attempt)) {
                        of_run[at].end = Some(note.at);
                    }
                }
                What::Work { .. } | What::Got { .. } => {}
            }
        }
    }
    for of_run in executions.values_mut() {
        of_run.sort_by_key(|execution| (execution.attempt, execution.start));
    }
    executions
}

/// The attempts whose start is in the log, with the events that say so.
fn starts(stored: &StoredRun) -> impl Iterator<Item = (u32, &RunEvent)> {
    stored.events.iter().filter_map(|event| match event.kind {
        greenroom::RunEventKind::RunStarted { attempt } => Some((attempt, event)),
        _ => None,
    })
}

/// How many submits were acknowledged, by their runs.
pub(crate) fn acknowledged(history: &History) -> usize {
    let accepted =
        history.calls.iter().filter(|call| accepted::is_accepted(call) && matches!(call.ask, Ask::Submit(_)));
    let run_id = |call: &Call| match call.answer {
        Some(Answer::Accepted { run_id, .. }) => Some(run_id),
        _ => None,
    };
    accepted.filter_map(run_id).collect::<BTreeSet<RunId>>().len()
}
