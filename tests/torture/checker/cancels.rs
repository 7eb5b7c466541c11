//! G5: an acknowledged cancel is one. G6: what was cancelled before it came does not start.

use greenroom::RunStatus;

use super::{CLOCK_SLACK, Case, Findings, Guarantee, starts, users};
use crate::clock::Micros;
use crate::history::{Call, StoredRun};
use crate::kind::Kind;
use crate::speech;
use crate::wire::Answer;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let owner = case.stored.map(|stored| stored.user.as_str());
    for call in case.calls.iter().filter(|call| users::may_cancel(call, owner)) {
        match call.answer {
            Some(Answer::Cancelled) => {
                let ended = case.stored.map(|stored| stored.status);
                findings.check(ended == Some(RunStatus::Cancelled), Guarantee::G5, || {
                    format!("was acknowledged as cancelled, and is {ended:?}")
                });
                nothing_starts_after(case, call, findings);
            }
            Some(Answer::CancelRequested) => {
                findings.check(case.stored.is_some(), Guarantee::G1, || "was there and is not".to_owned());
                nothing_starts_after(case, call, findings);
            }
            Some(Answer::IntentStored) => intent(case, call, findings),
            _ => {}
        }
    }
    let Some(stored) = case.stored else { return };
    if stored.status == RunStatus::Cancelled {
        let asked = case.calls.iter().any(|call| users::may_cancel(call, owner));
        findings.check(asked, Guarantee::G5, || "is cancelled, and nobody who may wanted that".to_owned());
        // What a model has said in a turn that is remembered is not said again.
        if !case.kind().is_some_and(Kind::is_model) {
            partial_output(stored, findings);
        }
    }
    // It has no end of its own, so a cancel that somebody heard of is what ends it.
    let parked = case.kind() == Some(Kind::Parked) && stored.status.is_terminal();
    findings.check(!parked || stored.status == RunStatus::Cancelled, Guarantee::G5, || {
        format!("can only end by a cancel, and is {}", stored.status)
    });
}

/// A start that was sent after the cancel had been acknowledged is refused.
fn nothing_starts_after(case: &Case<'_>, cancel: &Call, findings: &mut Findings<'_>) {
    for (attempt, event) in case.stored.into_iter().flat_map(starts) {
        findings.check(case.time_of(event) <= cancel.ended + CLOCK_SLACK, Guarantee::G5, || {
            let late = (case.time_of(event) - cancel.ended) / 1000;
            format!("attempt {attempt} was started {late} ms after a cancel was acknowledged")
        });
    }
}

/// When an intent was stored there was no run; its start, whenever that is, sees the intent.
fn intent(case: &Case<'_>, cancel: &Call, findings: &mut Findings<'_>) {
    findings.check(case.executions.is_empty(), Guarantee::G6, || {
        "was cancelled before it came, and user code was started".to_owned()
    });
    let started = case.stored.is_some_and(|stored| starts(stored).next().is_some());
    findings.check(!started, Guarantee::G6, || "was cancelled before it came, and was started".to_owned());
    if let Some(stored) = case.stored.filter(|stored| stored.status.is_terminal()) {
        findings.check(stored.status == RunStatus::Cancelled, Guarantee::G6, || {
            format!("was cancelled before it came, and is {}", stored.status)
        });
    }
    let known: Option<Micros> = case.calls.iter().filter(|call| shows_the_run(call)).map(|call| call.ended).min();
    findings.check(known.is_none_or(|known| cancel.began <= known), Guarantee::G5, || {
        "was there, and a cancel did not find it".to_owned()
    });
}

fn shows_the_run(call: &Call) -> bool {
    matches!(
        call.answer,
        Some(
            Answer::Accepted { .. }
                | Answer::Output { .. }
                | Answer::Cancelled
                | Answer::CancelRequested
                | Answer::AlreadySettled(_)
                | Answer::Paused { .. }
                | Answer::Continued
        )
    )
}

/// What the last attempt has said is kept, where it is the one that ended the run.
fn partial_output(stored: &StoredRun, findings: &mut Findings<'_>) {
    let from = stored.events.iter().rposition(|event| matches!(event.kind, greenroom::RunEventKind::RunStarted { .. }));
    let said: String = stored.events[from.unwrap_or_default()..].iter().map(speech::text).collect();
    if let Some(content) = &stored.content {
        findings.check(content.as_str() == Some(&said), Guarantee::G5, || {
            format!("kept {content} when it had said `{said}`")
        });
    }
}
