//! What a step promises: one that is remembered is not done again, and whatever went on from its result, in whichever attempt,
//! went on from the same one.

use std::collections::{BTreeMap, BTreeSet};

use greenroom::{CrashPolicy, RunEventKind, RunStatus};
use serde_json::Value;

use super::{Case, Findings, Guarantee, pauses, starts};
use crate::history::{StoredRun, StoredStep};
use crate::kind::Kind;
use crate::wire::What;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let (Some(kind), Some(stored)) = (case.kind(), case.stored) else { return };
    if matches!(kind, Kind::Steps | Kind::Asking | Kind::Expiring | Kind::Tools) {
        steps(case, kind, stored, findings);
    }
    turns(kind, stored, findings);
}

/// The number that a step has brought: the attempt that did its work, or the answer to a question. A turn brings none.
fn number(kind: Kind, step: &StoredStep) -> Option<u64> {
    let is_turn = kind.turns().contains(&step.position);
    let result = if kind == Kind::Tools { &step.result["output"] } else { &step.result };
    (!is_turn).then(|| result.as_u64().unwrap_or_default())
}

/// The first attempt of which everything is remembered that it has finished, whatever becomes of it.
fn remembers_from(kind: Kind, stored: &StoredRun) -> u32 {
    match kind.policy() {
        CrashPolicy::Resume => 0,
        _ => pauses::attempts(stored).first().copied().unwrap_or(u32::MAX),
    }
}

/// How many steps are remembered before the work of this one begins, at least. Two calls of one turn begin together.
const fn remembered_before(kind: Kind, step: u32) -> u32 {
    if matches!(kind, Kind::Tools) && step == 2 { 1 } else { step }
}

fn steps(case: &Case<'_>, kind: Kind, stored: &StoredRun, findings: &mut Findings<'_>) {
    // The numbers that a step has brought: by the table, and by those who were given them.
    let mut numbers: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for step in &stored.steps {
        numbers.entry(step.position).or_default().extend(number(kind, step));
    }
    let from = remembers_from(kind, stored);
    for note in case.notes.iter().filter(|note| note.attempt >= from) {
        if let What::Got { step, by } = note.what {
            numbers.entry(step).or_default().insert(u64::from(by));
        }
    }
    for (step, numbers) in &numbers {
        findings.check(numbers.len() <= 1, Guarantee::Steps, || format!("step {step} has had the results {numbers:?}"));
    }
    let mut done = BTreeSet::new();
    for note in &case.notes {
        let What::Work { step } = note.what else { continue };
        findings.check(done.insert((note.attempt, step)), Guarantee::Steps, || {
            format!("attempt {} did step {step} twice", note.attempt)
        });
        let remembered = numbers.get(&step).and_then(BTreeSet::first).filter(|_| note.attempt >= from);
        findings.check(remembered.is_none_or(|by| u64::from(note.attempt) <= *by), Guarantee::Steps, || {
            format!(
                "attempt {} did step {step} again, of which the result of {remembered:?} is remembered",
                note.attempt
            )
        });
        let before = remembered_before(kind, step);
        findings.check((0..before).all(|before| is_stored(stored, before)), Guarantee::Steps, || {
            format!("attempt {} went on to step {step}, and not all before it are remembered", note.attempt)
        });
    }
    if let (RunStatus::Completed, Some(content)) = (stored.status, &stored.content) {
        let results: Vec<u64> = stored.steps.iter().filter_map(|step| number(kind, step)).collect();
        let returned = returned(kind, content);
        findings.check(returned.as_ref() == Some(&results), Guarantee::Steps, || {
            format!("returned the results {returned:?}, and remembers {results:?}")
        });
    }
}

/// The numbers that a run says its steps have brought: as part of what it returns or, of a model, as all that it says.
fn returned(kind: Kind, content: &Value) -> Option<Vec<u64>> {
    if kind.is_model() {
        serde_json::from_str(content.as_str()?).ok()
    } else {
        serde_json::from_value(content["steps"].clone()).ok()
    }
}

fn is_stored(stored: &StoredRun, position: u32) -> bool {
    stored.steps.iter().any(|step| step.position == position)
}

/// An attempt that was started after a turn had been remembered does not ask for it.
fn turns(kind: Kind, stored: &StoredRun, findings: &mut Findings<'_>) {
    let is_turn = |step: &&StoredStep| kind.turns().contains(&step.position);
    for (attempt, start) in starts(stored).filter(|_| kind.is_model()) {
        let at = start.created_at.timestamp_micros();
        let remembered = stored.steps.iter().filter(is_turn).filter(|turn| turn.at < at).count();
        let said = stored.events.iter().skip_while(|event| event.seq <= start.seq);
        let said = said.take_while(|event| !matches!(event.kind, RunEventKind::RunStarted { .. }));
        let asked = said.filter(|event| matches!(event.kind, RunEventKind::ModelRequestStarted { .. })).count();
        findings.check(asked + remembered <= kind.turns().len(), Guarantee::Steps, || {
            format!("attempt {attempt} asked for {asked} turns when {remembered} were remembered")
        });
    }
}
