//! G12: for one who is not its user, there is no such run.

use super::{Case, Findings, Guarantee, Violation};
use crate::history::{Call, History};
use crate::wire::{Answer, Ask, Continue};

/// Whether a cancel may hit the run of this user.
pub(super) fn may_cancel(call: &Call, owner: Option<&str>) -> bool {
    match &call.ask {
        Ask::Cancel { .. } => true,
        Ask::CancelFor { user, .. } => owner.is_none_or(|owner| owner == user),
        _ => false,
    }
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let Some(stored) = case.stored else { return };
    for call in &case.calls {
        let Some(answer) = &call.answer else { continue };
        match &call.ask {
            Ask::GetFor { user, .. } if *user != stored.user => {
                let right = matches!(answer, Answer::Missing | Answer::Refused { .. });
                findings.check(right, Guarantee::G12, || format!("is of {}, and {user} saw {answer:?}", stored.user));
            }
            Ask::CancelFor { user, .. } if *user != stored.user => {
                let right = matches!(answer, Answer::IntentStored | Answer::Refused { .. });
                findings.check(right, Guarantee::G12, || {
                    format!("is of {}, and a cancel by {user} was answered {answer:?}", stored.user)
                });
            }
            Ask::Continue(Continue { user: Some(user), .. }) if *user != stored.user => {
                let right = matches!(answer, Answer::Missing | Answer::Refused { .. });
                findings.check(right, Guarantee::G12, || {
                    format!("is of {}, and a decision by {user} was answered {answer:?}", stored.user)
                });
            }
            _ => {}
        }
    }
}

pub(super) fn check_lists(history: &History, violations: &mut Vec<Violation>) {
    for call in &history.calls {
        let (Ask::ListFor { user }, Some(Answer::Listed(runs))) = (&call.ask, &call.answer) else { continue };
        for (run_id, owner) in runs {
            let stored = history.runs.get(run_id).map(|stored| stored.user.as_str());
            if owner.as_deref() != Some(user) || stored != Some(user) {
                let what = format!("was listed for {user} as a run of {owner:?}, and is of {stored:?}");
                violations.push(Violation { of: Guarantee::G12, run_id: Some(*run_id), what });
            }
        }
    }
}
