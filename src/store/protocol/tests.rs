use std::time::Duration;

use proptest::prelude::*;

use super::Change::{Append, HandBack, Retry, Settle, Start};
use super::{Advance, Change, Pause, RowFacts, Settlement, Takeover, judge, take_over, takeover_message, time_out};
use crate::run::FailureKind::{AttemptsExhausted, PauseTimeout, ProcessDied, QueueTimeout};
use crate::run::RunStatus::{Cancelled, Completed, Error, Paused, Pending, Running};
use crate::run::{CrashPolicy, Metrics, RunEvent, RunEventKind, RunId, RunStatus, StepRecord};
use crate::store::NodeId;
use crate::store::protocol::Refusal::{CancelWanted, Exhausted, Fenced, Late, Missing, OutOfStep, Settled};
use crate::store::protocol::Verdict::{Applied, Apply, Refuse};

/// A run of attempt 2 that has an owner, and five events.
fn row(status: RunStatus) -> RowFacts {
    RowFacts {
        status,
        attempt: 2,
        node: Some(NodeId::new()),
        next_seq: 5,
        starts: 1,
        max_attempts: 3,
        cancel_wanted: false,
        late: false,
    }
}

/// A write by attempt 2 of one event that goes to seq 5.
fn step(change: Change) -> Advance {
    let run_id = RunId::new();
    let events = vec![RunEvent::new(run_id, 5, RunEventKind::RunStarted { attempt: 2 })];
    Advance { run_id, attempt: 2, first_seq: 5, events, steps: Vec::new(), change }
}

const RETRY: Change = Retry { after: Duration::from_secs(2) };

fn pause() -> Change {
    Change::Pause(Pause {
        requirements: Vec::new(),
        timeout: None,
        content: None,
        metrics: Metrics::default(),
        tools: Vec::new(),
    })
}

fn settle(status: RunStatus) -> Change {
    Settle(Settlement { status, content: None, error: None, metrics: Metrics::default(), tools: Vec::new() })
}

/// Where `change` puts a run that was `from`.
fn after(change: &Change, from: RowFacts) -> RowFacts {
    let node = if matches!(change, HandBack | Retry { .. } | Change::Pause(_)) { None } else { from.node };
    RowFacts { status: change.to().unwrap_or(from.status), node, next_seq: from.next_seq + 1, ..from }
}

#[test]
fn every_change_of_every_status_is_decided() {
    let changes = [Start, Append, HandBack, RETRY, pause(), settle(Completed), settle(Cancelled), settle(Error)];
    let no = Refuse(OutOfStep);
    #[rustfmt::skip]
    let table = [
        // from        Start   Append  HandBack  Retry  Pause  COMPLETED  CANCELLED  ERROR
        (Pending, [Apply, no,    Apply, no,    no,    no,    Apply, Apply]),
        (Running, [no,    Apply, Apply, Apply, Apply, Apply, Apply, Apply]),
        (Paused,  [no,    no,    no,    no,    no,    no,    Apply, Apply]),
        (Completed, [Refuse(Settled(Completed)); 8]),
        (Cancelled, [Refuse(Settled(Cancelled)); 8]),
        (Error,     [Refuse(Settled(Error)); 8]),
    ];
    assert_eq!(table.map(|(from, _)| from), RunStatus::ALL);
    for (from, verdicts) in table {
        for (change, verdict) in changes.clone().into_iter().zip(verdicts) {
            assert_eq!(judge(&step(change.clone()), Some(&row(from))), verdict, "{change:?} of {from}");
        }
    }
}

#[test]
fn what_was_applied_is_applied_once() {
    let legal = [
        (Pending, Start),
        (Pending, HandBack),
        (Pending, settle(Cancelled)),
        (Pending, settle(Error)),
        (Running, Append),
        (Running, HandBack),
        (Running, RETRY),
        (Running, pause()),
        (Running, settle(Completed)),
        (Running, settle(Cancelled)),
        (Running, settle(Error)),
    ];
    for (from, change) in legal {
        let step = step(change);
        assert_eq!(judge(&step, Some(&row(from))), Apply, "{step:?} of {from}");
        let after = after(&step.change, row(from));
        assert_eq!(judge(&step, Some(&after)), Applied, "{step:?} again");
        assert_ne!(judge(&Advance { attempt: 1, ..step.clone() }, Some(&after)), Applied, "{step:?} by another");
    }
}

#[test]
fn the_reasons_of_a_refusal_go_before_each_other_in_one_order() {
    let owned = row(Pending);
    let exhausted = RowFacts { starts: 3, ..owned };
    let cancelled = RowFacts { cancel_wanted: true, ..exhausted };
    let ahead = RowFacts { next_seq: 7, ..cancelled };
    let unowned = RowFacts { node: None, ..ahead };
    let settled = RowFacts { status: Completed, ..unowned };
    let cases = [
        (None, Missing),
        (Some(settled), Settled(Completed)),
        (Some(unowned), Fenced),
        (Some(RowFacts { attempt: 1, ..owned }), Fenced),
        (Some(RowFacts { attempt: 3, ..owned }), Fenced),
        (Some(ahead), OutOfStep),
        (Some(cancelled), CancelWanted),
        (Some(exhausted), Exhausted),
        (Some(RowFacts { late: true, starts: 0, ..owned }), Late),
    ];
    for (row, refusal) in cases {
        assert_eq!(judge(&step(Start), row.as_ref()), Refuse(refusal), "{row:?}");
    }
}

#[test]
fn only_what_ends_in_another_start_minds_a_cancel_or_the_number_of_starts() {
    let row_of = |status| RowFacts { cancel_wanted: true, starts: 3, late: true, ..row(status) };
    for (change, status) in [(Start, Pending), (RETRY, Running)] {
        let wanted = row_of(status);
        assert_eq!(judge(&step(change.clone()), Some(&wanted)), Refuse(CancelWanted));
        let exhausted = RowFacts { cancel_wanted: false, ..wanted };
        assert_eq!(judge(&step(change), Some(&exhausted)), Refuse(Exhausted));
    }
    // A pause gives its start back.
    assert_eq!(judge(&step(pause()), Some(&row_of(Running))), Refuse(CancelWanted));
    assert_eq!(judge(&step(pause()), Some(&RowFacts { cancel_wanted: false, ..row_of(Running) })), Apply);
    for change in [Append, HandBack, settle(Completed), settle(Cancelled), settle(Error)] {
        assert_eq!(judge(&step(change.clone()), Some(&row_of(Running))), Apply, "{change:?}");
    }
}

#[test]
fn an_append_of_nothing_is_never_taken_for_an_old_one() {
    let nothing = Advance { events: Vec::new(), ..step(Append) };
    assert_eq!(judge(&nothing, Some(&row(Running))), Apply);
    // Done again it would write the same steps again.
    let step = StepRecord { position: 0, first_attempt: 1, name: "a".to_owned(), result: "1".to_owned() };
    let only_a_step = Advance { steps: vec![step], ..nothing };
    assert_eq!(judge(&only_a_step, Some(&row(Running))), Apply);
}

#[test]
fn a_takeover_decides_by_status_policy_and_starts() {
    use CrashPolicy::{Fail, Restart, Resume};
    let cases = [
        (Pending, 0, Restart, Takeover::Requeue),
        (Pending, 0, Resume, Takeover::Requeue),
        (Pending, 0, Fail, Takeover::Requeue),
        (Pending, 3, Restart, Takeover::Requeue),
        (Pending, 3, Fail, Takeover::Requeue),
        (Running, 1, Restart, Takeover::Requeue),
        (Running, 2, Restart, Takeover::Requeue),
        (Running, 3, Restart, Takeover::Fail(AttemptsExhausted)),
        (Running, 4, Restart, Takeover::Fail(AttemptsExhausted)),
        (Running, 2, Resume, Takeover::Requeue),
        (Running, 3, Resume, Takeover::Fail(AttemptsExhausted)),
        (Running, 1, Fail, Takeover::Fail(ProcessDied)),
        (Running, 3, Fail, Takeover::Fail(ProcessDied)),
    ];
    for (status, starts, on_crash, decision) in cases {
        let row = RowFacts { starts, ..row(status) };
        assert_eq!(take_over(&row, on_crash), decision, "{status} {starts} {on_crash:?}");
        let wanted = RowFacts { cancel_wanted: true, ..row };
        assert_eq!(take_over(&wanted, on_crash), Takeover::Cancel, "{status} {starts} {on_crash:?}");
    }
}

#[test]
fn a_takeover_says_why_it_fails_a_run() {
    assert!(!takeover_message(ProcessDied).contains("attempts"));
    assert!(takeover_message(AttemptsExhausted).contains("no attempts left"));
}

#[test]
fn only_a_run_that_was_never_started_or_is_paused_is_late() {
    let late = RowFacts { late: true, starts: 0, ..row(Pending) };
    assert_eq!(judge(&step(Start), Some(&late)), Refuse(Late));
    assert_eq!(judge(&step(Start), Some(&RowFacts { starts: 1, ..late })), Apply);

    let waits = RowFacts { node: None, ..late };
    assert_eq!(time_out(&waits), Some(Takeover::Fail(QueueTimeout)));
    assert_eq!(time_out(&RowFacts { cancel_wanted: true, ..waits }), Some(Takeover::Cancel));
    for starts in [0, 1] {
        let paused = RowFacts { status: Paused, starts, ..waits };
        assert_eq!(time_out(&paused), Some(Takeover::Fail(PauseTimeout)));
        assert_eq!(time_out(&RowFacts { late: false, ..paused }), None);
    }
    for other in
        [late, RowFacts { late: false, ..waits }, RowFacts { starts: 1, ..waits }, RowFacts { status: Error, ..waits }]
    {
        assert_eq!(time_out(&other), None, "{other:?}");
    }
}

fn any_row() -> impl Strategy<Value = RowFacts> {
    let status = prop::sample::select(RunStatus::ALL.to_vec());
    (status, 0..4u32, any::<bool>(), 0..5u64, 0..4u32, 0..4u32, any::<bool>(), any::<bool>()).prop_map(
        |(status, attempt, owned, next_seq, starts, max_attempts, cancel_wanted, late)| {
            let node = owned.then(NodeId::new);
            RowFacts { status, attempt, node, next_seq, starts, max_attempts, cancel_wanted, late }
        },
    )
}

fn any_step() -> impl Strategy<Value = Advance> {
    let changes = vec![Start, Append, HandBack, RETRY, pause(), settle(Completed), settle(Cancelled), settle(Error)];
    (prop::sample::select(changes), 0..4u32, 0..5u64, 0..3u64).prop_map(|(change, attempt, first_seq, count)| {
        let run_id = RunId::new();
        let event = |offset| RunEvent::new(run_id, first_seq + offset, RunEventKind::RunStarted { attempt });
        let events = (0..count).map(event).collect();
        Advance { run_id, attempt, first_seq, events, steps: Vec::new(), change }
    })
}

proptest! {
    #[test]
    fn only_the_owning_attempt_writes_and_only_legal_steps_where_the_log_ends(row in any_row(), step in any_step()) {
        if judge(&step, Some(&row)) == Apply {
            prop_assert_eq!(row.attempt, step.attempt);
            prop_assert!(row.node.is_some());
            prop_assert_eq!(row.next_seq, step.first_seq);
            prop_assert!(!row.status.is_terminal());
            let handed_back_unstarted = matches!(step.change, HandBack) && row.status == Pending;
            let to = step.change.to().unwrap_or(row.status);
            prop_assert!(to == row.status && matches!(step.change, Append) || handed_back_unstarted || row.status.can_become(to));
            if matches!(step.change, Change::Pause(_)) {
                prop_assert!(!row.cancel_wanted);
            }
            if matches!(step.change, Start | Retry { .. }) {
                prop_assert!(!row.cancel_wanted && row.starts < row.max_attempts);
            }
            if matches!(step.change, Start) {
                prop_assert!(!row.late || row.starts > 0 || row.status != Pending);
            }
        }
    }
}
