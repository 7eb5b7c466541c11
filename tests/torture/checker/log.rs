//! G7: a log has no gap, and one end. G8: a reader gets exactly the log.

use greenroom::RunEvent;

use super::{Case, Findings, Guarantee};
use crate::history::{Call, StoredRun};
use crate::wire::{Answer, Ask};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    if let Some(stored) = case.stored {
        log(stored, findings);
    }
    let events = case.stored.map_or(&[][..], |stored| &stored.events);
    for call in &case.calls {
        if let Ask::Watch { after, .. } = call.ask {
            watch(call, after, events, findings);
        }
    }
}

fn log(stored: &StoredRun, findings: &mut Findings<'_>) {
    for (seq, event) in (0..).zip(&stored.events) {
        findings.check(event.seq == seq, Guarantee::G7, || format!("event {} is where {seq} should be", event.seq));
    }
    findings.check(stored.next_seq == stored.events.len() as u64, Guarantee::G7, || {
        format!("has {} events, and the next one is {}", stored.events.len(), stored.next_seq)
    });
    let ends: Vec<&RunEvent> = stored.events.iter().filter(|event| event.is_terminal()).collect();
    let last = stored.events.last().and_then(|event| event.kind.settles_as());
    let (expected, right) = if stored.status.is_terminal() { (1, last == Some(stored.status)) } else { (0, true) };
    findings.check(ends.len() == expected, Guarantee::G7, || {
        format!("has {} terminal events, and is {}", ends.len(), stored.status)
    });
    findings.check(right, Guarantee::G7, || format!("is {}, and its last event says {last:?}", stored.status));
}

fn watch(call: &Call, after: Option<u64>, log: &[RunEvent], findings: &mut Findings<'_>) {
    let from = usize::try_from(after.map_or(0, |after| after + 1)).unwrap_or(usize::MAX);
    let rest = log.get(from..).unwrap_or_default();
    for (n, told) in call.told.iter().enumerate() {
        let expected = rest.get(n);
        findings.check(expected == Some(told), Guarantee::G8, || {
            let place = format!("a reader after {after:?} at worker {} was told as number {n}", call.worker);
            format!("{place}: {}, and the log has {}", name(Some(told)), name(expected))
        });
    }
    if matches!(call.answer, Some(Answer::Watched { by_itself: true })) {
        findings.check(call.told.len() == rest.len(), Guarantee::G8, || {
            format!("a reader after {after:?} was told {} of {} events, and no more", call.told.len(), rest.len())
        });
    }
}

fn name(event: Option<&RunEvent>) -> String {
    event.map_or_else(|| "nothing".to_owned(), |event| serde_json::to_string(event).unwrap_or_default())
}
