//! Decides whether a history keeps the guarantees. Pure: a history goes in, and what is wrong with it comes out.
//!
//! Not decided here: G10, the bounds, which have tests of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use greenroom::{RunEvent, RunId};

use crate::clock::Micros;
use crate::history::{Call, History, Process, StoredRun};
use crate::kind::Kind;
use crate::wire::{Ask, What};

mod accepted;
mod attempts;
mod cancels;
mod content;
mod log;
mod overlaps;
mod settled;
#[cfg(test)]
mod tests;

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
    for case in cases(history) {
        let mut findings = Findings { run_id: case.run_id, violations: &mut violations };
        for rule in [
            accepted::check,
            settled::check,
            attempts::check,
            overlaps::check,
            cancels::check,
            log::check,
            content::check,
        ] {
            rule(&case, &mut findings);
        }
    }
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
    for call in &history.calls {
        calls.entry(call.ask.run_id()).or_default().push(call);
    }
    let mut executions = executions(history);
    let run_ids: BTreeSet<RunId> = calls.keys().chain(executions.keys()).chain(history.runs.keys()).copied().collect();
    let case = |run_id: RunId| Case {
        run_id,
        stored: history.runs.get(&run_id),
        calls: calls.remove(&run_id).unwrap_or_default(),
        executions: executions.remove(&run_id).unwrap_or_default(),
        since_1970: history.since_1970,
    };
    run_ids.into_iter().map(case).collect()
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
    accepted.map(|call| call.ask.run_id()).collect::<BTreeSet<RunId>>().len()
}
