//! What a completed run says of itself. G3: it is of the latest attempt. G7: its log has all that it said. G12: it has seen
//! nothing of other users.

use greenroom::RunStatus;
use serde::Deserialize;

use super::{Case, Findings, Guarantee, starts};
use crate::history::StoredRun;
use crate::kind::Kind;
use crate::speech;

/// What agents return, see `worker/agents.rs`.
#[derive(Deserialize)]
struct Returned {
    attempt: u32,
    said: usize,
    seen: Vec<String>,
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let Some(stored) = case.stored.filter(|stored| stored.status == RunStatus::Completed) else { return };
    match case.kind() {
        Some(Kind::Model) => return echoed(stored, findings),
        // The steps say what it should have said.
        Some(Kind::Tools) => return,
        _ => {}
    }
    let Some(Ok(returned)) = stored.content.as_ref().map(Returned::deserialize) else {
        return findings.add(Guarantee::G2, format!("is completed, with {:?}", stored.content));
    };
    let last = starts(stored).last().map(|(attempt, _)| attempt);
    findings.check((Some(returned.attempt), returned.attempt) == (last, stored.attempt), Guarantee::G3, || {
        format!("attempt {} returned, {last:?} was started last, {} is the latest", returned.attempt, stored.attempt)
    });
    let words = stored.events.iter().filter_map(|event| speech::words(event).ok()).flatten();
    let said = words.filter(|word| word.attempt == returned.attempt).count();
    findings.check(said == returned.said, Guarantee::G7, || {
        format!("said {} words, and its log has {said}", returned.said)
    });
    findings.check(returned.seen.iter().all(|user| *user == stored.user), Guarantee::G12, || {
        format!("is of {}, and has seen runs of {:?}", stored.user, returned.seen)
    });
}

/// The model says what it was told.
fn echoed(stored: &StoredRun, findings: &mut Findings<'_>) {
    let said = stored.content.as_ref().and_then(|content| content.as_str());
    let echo = said.and_then(|said| serde_json::from_str(said).ok());
    findings.check(echo.as_ref() == Some(&stored.input), Guarantee::G2, || {
        format!("is completed, with {:?}", stored.content)
    });
}
