//! What a step promises: one that is remembered is not done again, and whatever went on from its result, in whichever attempt,
//! went on from the same one.

use std::collections::{BTreeMap, BTreeSet};

use greenroom::{RunEventKind, RunStatus};

use super::{Case, Findings, Guarantee, starts};
use crate::history::StoredRun;
use crate::kind::Kind;
use crate::wire::What;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    match (case.kind(), case.stored) {
        (Some(Kind::Steps), Some(stored)) => steps(case, stored, findings),
        (Some(Kind::Model), Some(stored)) => turns(stored, findings),
        _ => {}
    }
}

fn steps(case: &Case<'_>, stored: &StoredRun, findings: &mut Findings<'_>) {
    // The attempts that did the work whose result is remembered: by the table, and by those who were given it.
    let mut by_whom: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for step in &stored.steps {
        by_whom.entry(step.position).or_default().insert(step.result.as_u64().unwrap_or_default());
    }
    for note in &case.notes {
        if let What::Got { step, by } = note.what {
            by_whom.entry(step).or_default().insert(u64::from(by));
        }
    }
    for (step, attempts) in &by_whom {
        findings.check(attempts.len() == 1, Guarantee::Steps, || {
            format!("step {step} has had the results of attempts {attempts:?}")
        });
    }
    let mut done = BTreeSet::new();
    for note in &case.notes {
        let What::Work { step } = note.what else { continue };
        findings.check(done.insert((note.attempt, step)), Guarantee::Steps, || {
            format!("attempt {} did step {step} twice", note.attempt)
        });
        let remembered = by_whom.get(&step).and_then(BTreeSet::first);
        findings.check(remembered.is_none_or(|by| u64::from(note.attempt) <= *by), Guarantee::Steps, || {
            format!(
                "attempt {} did step {step} again, of which the result of {remembered:?} is remembered",
                note.attempt
            )
        });
        let before = step.checked_sub(1);
        findings.check(before.is_none_or(|before| is_stored(stored, before)), Guarantee::Steps, || {
            format!("attempt {} went on to step {step}, and the one before it is not remembered", note.attempt)
        });
    }
    if let (RunStatus::Completed, Some(content)) = (stored.status, &stored.content) {
        let results: Vec<_> = stored.steps.iter().map(|step| &step.result).collect();
        let returned: Vec<_> = content["steps"].as_array().into_iter().flatten().collect();
        findings.check(returned == results, Guarantee::Steps, || {
            format!("returned the results {returned:?}, and remembers {results:?}")
        });
    }
}

fn is_stored(stored: &StoredRun, position: u32) -> bool {
    stored.steps.iter().any(|step| step.position == position)
}

/// An attempt that was started after a turn had been remembered does not ask for it.
fn turns(stored: &StoredRun, findings: &mut Findings<'_>) {
    let Some(turn) = stored.steps.first() else { return };
    for (attempt, start) in starts(stored).filter(|(_, start)| start.created_at.timestamp_micros() > turn.at) {
        let said = stored.events.iter().skip_while(|event| event.seq <= start.seq);
        let mut said = said.take_while(|event| !matches!(event.kind, RunEventKind::RunStarted { .. }));
        let asked = said.any(|event| matches!(event.kind, RunEventKind::ModelRequestStarted { .. }));
        findings.check(!asked, Guarantee::Steps, || format!("attempt {attempt} asked for a turn that is remembered"));
    }
}
