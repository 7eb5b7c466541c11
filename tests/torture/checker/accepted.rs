//! G1: what was accepted is there and settles. G9: it is one run, and the one that was asked for.

use super::{Case, Findings, Guarantee};
use crate::history::{Call, StoredRun};
use crate::wire::{Answer, Submit};

pub(super) fn is_accepted(call: &Call) -> bool {
    matches!(call.answer, Some(Answer::Accepted { .. }))
}

fn is_what_was_asked(stored: &StoredRun, submit: &Submit) -> bool {
    (&stored.agent, &stored.user, &stored.input, &stored.key)
        == (&submit.agent, &submit.user, &submit.input, &submit.key)
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let Some(stored) = case.stored else {
        findings.check(!case.submits().any(|(call, _)| is_accepted(call)), Guarantee::G1, || {
            "was acknowledged and is lost".to_owned()
        });
        return;
    };
    findings.check(stored.status.is_terminal(), Guarantee::G1, || format!("has not settled: {}", stored.status));
    let refused =
        |call: &Call| matches!(call.answer, Some(Answer::Refused { nothing_stored: true, .. } | Answer::Busy { .. }));
    findings.check(!case.submits().all(|(call, _)| refused(call)), Guarantee::G1, || {
        "is there, though every submit was refused without storing anything".to_owned()
    });
    for (call, submit) in case.submits() {
        let same = is_what_was_asked(stored, submit);
        match call.answer {
            Some(Answer::Accepted { .. }) => {
                findings
                    .check(same, Guarantee::G9, || format!("was acknowledged for {submit:?} and is something else"));
            }
            Some(Answer::Conflict) => {
                findings.check(!same, Guarantee::G9, || "conflicts with itself".to_owned());
            }
            Some(Answer::KeyConflict { .. }) => {
                let right = !same && stored.key == submit.key;
                findings.check(right, Guarantee::G9, || format!("has not the key of {submit:?}, or all else as well"));
            }
            _ => {}
        }
    }
}
