//! G2: what a client saw settled stays as it was, for everybody and for ever.

use greenroom::{RunEventKind, RunStatus};
use serde_json::Value;

use super::{Case, Findings, Guarantee};
use crate::clock::Micros;
use crate::history::Call;
use crate::wire::Answer;

/// When somebody knew first that it had settled.
pub(super) fn seen_settled(case: &Case<'_>) -> Option<Micros> {
    let seen = case.calls.iter().filter_map(|call| seen(call)).filter(|(_, status, _)| status.is_terminal());
    seen.map(|(call, ..)| call.ended).min()
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let Some(stored) = case.stored else { return };
    let seen: Vec<(&Call, RunStatus, Option<Option<&Value>>)> =
        case.calls.iter().filter_map(|call| seen(call)).collect();
    for (_, status, content) in seen.iter().filter(|(_, status, _)| status.is_terminal()) {
        findings.check(*status == stored.status, Guarantee::G2, || {
            format!("was seen as {status} and is {}", stored.status)
        });
        if let Some(content) = content {
            findings.check(*content == stored.content.as_ref(), Guarantee::G2, || {
                "was settled with another content than it has".to_owned()
            });
        }
    }
    let settled = seen_settled(case);
    for (call, status, _) in seen.iter().filter(|(_, status, _)| !status.is_terminal()) {
        findings.check(settled.is_none_or(|settled| call.began <= settled), Guarantee::G2, || {
            format!("was seen as {status} after it had been seen settled")
        });
    }
}

/// The status that a call has shown, and the content, where it shows one.
fn seen(call: &Call) -> Option<(&Call, RunStatus, Option<Option<&Value>>)> {
    let (status, content) = match call.answer.as_ref() {
        Some(Answer::Accepted { status, .. }) => (*status, None),
        Some(Answer::Output { status, content }) => (*status, Some(content.as_ref())),
        Some(Answer::AlreadySettled(status)) => (*status, None),
        Some(Answer::Cancelled) => (RunStatus::Cancelled, None),
        Some(Answer::NotPaused(status)) => (*status, None),
        Some(Answer::Paused { .. }) => (RunStatus::Paused, None),
        // Somebody had it.
        Some(Answer::CancelRequested) => (RunStatus::Running, None),
        _ => (told(call)?, None),
    };
    Some((call, status, content))
}

/// The end that a watch has told.
fn told(call: &Call) -> Option<RunStatus> {
    match call.told.last()?.kind {
        RunEventKind::RunCompleted { .. } => Some(RunStatus::Completed),
        RunEventKind::RunCancelled { .. } => Some(RunStatus::Cancelled),
        RunEventKind::RunError { .. } => Some(RunStatus::Error),
        _ => None,
    }
}
