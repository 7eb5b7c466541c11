//! G1: what was accepted is there and settles. G9: it is one run, and the one that was asked for.

use super::{Case, Findings, Guarantee};
use crate::history::{Call, StoredRun};
use crate::wire::{Answer, Ask, Submit};

pub(super) fn is_accepted(call: &Call) -> bool {
    matches!(call.answer, Some(Answer::Accepted { .. }))
}

fn submits<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (&'a Call, &'a Submit)> {
    case.calls.iter().filter_map(|call| match &call.ask {
        Ask::Submit(submit) => Some((*call, submit)),
        _ => None,
    })
}

fn is_what_was_asked(stored: &StoredRun, submit: &Submit) -> bool {
    (&stored.agent, &stored.user, &stored.input) == (&submit.agent, &submit.user, &submit.input)
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let Some(stored) = case.stored else {
        findings.check(!submits(case).any(|(call, _)| is_accepted(call)), Guarantee::G1, || {
            "was acknowledged and is lost".to_owned()
        });
        return;
    };
    findings.check(stored.status.is_terminal(), Guarantee::G1, || format!("has not settled: {}", stored.status));
    let refused = |call: &Call| matches!(call.answer, Some(Answer::Refused { nothing_stored: true, .. }));
    findings.check(!submits(case).all(|(call, _)| refused(call)), Guarantee::G1, || {
        "is there, though every submit was refused without storing anything".to_owned()
    });
    for (call, submit) in submits(case) {
        let same = is_what_was_asked(stored, submit);
        match call.answer {
            Some(Answer::Accepted { .. }) => {
                findings
                    .check(same, Guarantee::G9, || format!("was acknowledged for {submit:?} and is something else"));
            }
            Some(Answer::Conflict) => {
                findings.check(!same, Guarantee::G9, || "conflicts with itself".to_owned());
            }
            _ => {}
        }
    }
}
