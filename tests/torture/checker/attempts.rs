//! G3: only the latest attempt writes. G4: how often user code starts. G11: what a shutdown takes for an attempt.

use std::collections::BTreeSet;

use greenroom::{CrashPolicy, FailureKind, RunEventKind, RunStatus};

use super::{Case, Execution, Findings, Guarantee, pauses, starts};
use crate::history::StoredRun;
use crate::kind::Kind;
use crate::speech;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    executions_are_in_the_log(case, findings);
    let Some(stored) = case.stored else { return };
    let Some(kind) = case.kind() else { return };
    writers(stored, kind, findings);
    limits(case, stored, kind, findings);
    shutdowns(case, stored, findings);
    ends(stored, kind, findings);
}

fn executions_are_in_the_log(case: &Case<'_>, findings: &mut Findings<'_>) {
    let durable: BTreeSet<u32> = case.stored.into_iter().flat_map(starts).map(|(attempt, _)| attempt).collect();
    let mut done = BTreeSet::new();
    for Execution { attempt, process, .. } in &case.executions {
        findings.check(durable.contains(attempt), Guarantee::G3, || {
            format!("user code of attempt {attempt} was started in {}, and its start is not in the log", process.name)
        });
        findings.check(done.insert(attempt), Guarantee::G3, || format!("attempt {attempt} was started twice"));
    }
}

/// Each event is of the attempt that was started last, and each attempt's words are all there up to where it came to.
fn writers(stored: &StoredRun, kind: Kind, findings: &mut Findings<'_>) {
    let (mut attempt, mut next) = (0, 0);
    for event in &stored.events {
        if let RunEventKind::RunStarted { attempt: started } = event.kind {
            findings.check(started > attempt, Guarantee::G3, || {
                format!("attempt {started} was started after attempt {attempt}")
            });
            (attempt, next) = (started, 0);
            continue;
        }
        if let RunEventKind::RunRetrying { attempt: failed, .. } = event.kind {
            findings.check(failed == attempt && kind == Kind::Retrying, Guarantee::G4, || {
                format!("attempt {failed} is to be followed by another, and {attempt} of {kind:?} is the latest")
            });
        }
        // A model says what it likes.
        if kind.is_model() {
            continue;
        }
        match speech::words(event) {
            Ok(words) => {
                for word in words {
                    findings.check((word.attempt, word.n) == (attempt, next), Guarantee::G3, || {
                        format!("event {} has {word:?}, when word {next} of attempt {attempt} comes next", event.seq)
                    });
                    next = word.n + 1;
                }
            }
            Err(problem) => findings.add(Guarantee::G3, format!("event {} is nobody's: {problem}", event.seq)),
        }
    }
    findings.check(attempt <= stored.attempt, Guarantee::G3, || {
        format!("attempt {attempt} was started, and the run was taken up {} times", stored.attempt)
    });
}

fn limits(case: &Case<'_>, stored: &StoredRun, kind: Kind, findings: &mut Findings<'_>) {
    findings.check(stored.max_attempts == kind.max_attempts(), Guarantee::G4, || {
        format!("has {} attempts, and its agent {}", stored.max_attempts, kind.max_attempts())
    });
    findings.check(stored.starts <= stored.max_attempts, Guarantee::G4, || {
        format!("was started {} times, and may be {} times", stored.starts, stored.max_attempts)
    });
    let paused = pauses::attempts(stored);
    let counted: Vec<_> = case.executions.iter().filter(|execution| !paused.contains(&execution.attempt)).collect();
    let hard = counted.iter().filter(|execution| execution.process.asked_to_end.is_none()).count();
    findings.check(hard <= stored.max_attempts as usize, Guarantee::G4, || {
        format!("user code was started {hard} times in processes that were not shut down")
    });
    findings.check(kind.policy() != CrashPolicy::Fail || counted.len() <= 1, Guarantee::G4, || {
        format!("must not be run again, and user code was started {} times", counted.len())
    });
}

/// The attempts that a shutdown has handed back, or that have ended in a pause, are not among the starts, and all others are.
fn shutdowns(case: &Case<'_>, stored: &StoredRun, findings: &mut Findings<'_>) {
    let all = starts(stored).count();
    let last = starts(stored).map(|(attempt, _)| attempt).max();
    let (failed, paused) = (retried(stored), pauses::attempts(stored));
    let went_on = |attempt: &u32| failed.contains(attempt) || paused.contains(attempt);
    let handed_back = |execution: &&Execution<'_>| {
        let process = execution.process;
        let in_order = process.drained.is_some_and(|drained| drained.lost == 0);
        let at_the_end = execution.end.zip(process.asked_to_end).is_some_and(|(end, asked)| end > asked);
        in_order && at_the_end && Some(execution.attempt) != last && !went_on(&execution.attempt)
    };
    let given_back = case.executions.iter().filter(handed_back).count();
    let counted = stored.starts as usize + paused.len();
    findings.check(counted + given_back <= all, Guarantee::G11, || {
        let given_up = given_back + paused.len();
        format!("{} of {all} starts count, though {given_up} were handed back or paused", stored.starts)
    });
    // Not every attempt that was handed back had come to user code; but only a shutdown hands back.
    let ever_asked_to_end = case.executions.iter().any(|execution| execution.process.asked_to_end.is_some());
    let unseen = all.saturating_sub(case.executions.len());
    findings.check(counted + unseen >= all || ever_asked_to_end, Guarantee::G4, || {
        format!("{} of {all} starts count, and nobody has handed one back", stored.starts)
    });
}

/// The attempts that failed and were to be followed by another.
fn retried(stored: &StoredRun) -> BTreeSet<u32> {
    let attempt = |event: &greenroom::RunEvent| match event.kind {
        RunEventKind::RunRetrying { attempt, .. } => Some(attempt),
        _ => None,
    };
    stored.events.iter().filter_map(attempt).collect()
}

/// The run ended in a way that its agent can end in.
fn ends(stored: &StoredRun, kind: Kind, findings: &mut Findings<'_>) {
    let legal = match (stored.status, stored.error) {
        (RunStatus::Completed, None) => kind.completes() && !kind.fails(&stored.input, stored.attempt),
        (RunStatus::Error, Some(FailureKind::AgentError)) if kind == Kind::Retrying => {
            stored.starts >= stored.max_attempts && kind.fails(&stored.input, stored.attempt)
        }
        (RunStatus::Error, Some(FailureKind::AgentError)) => kind == Kind::Failing,
        (RunStatus::Error, Some(FailureKind::ProcessDied | FailureKind::Shutdown)) => {
            kind.policy() == CrashPolicy::Fail
        }
        (RunStatus::Error, Some(FailureKind::PauseTimeout)) => kind.pause_timeout().is_some(),
        (RunStatus::Error, Some(FailureKind::AttemptsExhausted)) => stored.starts >= stored.max_attempts,
        (RunStatus::Error, _) => false,
        (RunStatus::Cancelled, None) => true,
        // G1 has said what there is to say.
        _ => !stored.status.is_terminal(),
    };
    findings.check(legal, Guarantee::G4, || {
        format!("ended as {} with {:?} after {} starts, as {kind:?} cannot", stored.status, stored.error, stored.starts)
    });
}
