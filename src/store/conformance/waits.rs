//! Runs that wait: for no longer than they may, and for their next attempt.

use std::time::Duration;

use chrono::Utc;

use super::samples::*;
use crate::run::{CrashPolicy, FailureKind, RunEventKind, RunFailure, RunStatus, SessionPolicy};
use crate::store::protocol::{CancelWritten, Change, InsertRun, Refusal};
use crate::store::{NodeId, RunStore};

fn retry(after: Duration) -> Change {
    Change::Retry { after }
}

pub(super) async fn a_run_that_is_not_started_in_time_settles_with_its_last_event(store: &dyn RunStore) {
    let asked = late(unowned());
    let run = submit(store, &asked).await;
    assert_eq!(run.start_by, Some(run.output.created_at));
    let patient = InsertRun { queue_timeout: Some(Duration::from_secs(3600)), ..unowned() };
    let start_by = submit(store, &patient).await.start_by.unwrap();
    assert_eq!(get(store, id(&patient)).await.start_by, Some(start_by));
    assert!(start_by - Utc::now() > chrono::Duration::minutes(50));
    submit(store, &unowned()).await;

    assert_eq!(store.settle_overdue(100).await.unwrap(), [(id(&asked), RunStatus::Pending)]);

    let output = get(store, id(&asked)).await.output;
    let message = "the run was not started in time";
    assert_eq!((output.status, output.started_at), (RunStatus::Error, None));
    assert_eq!(output.error, Some(RunFailure::new(FailureKind::QueueTimeout, message)));
    assert!(output.settled_at.is_some());
    let log = events(store, id(&asked)).await;
    let last = RunEventKind::RunError { error_type: FailureKind::QueueTimeout, content: message.to_owned() };
    assert_eq!((log.len(), log[0].seq, &log[0].kind), (1, 0, &last));
    assert!(store.settle_overdue(100).await.unwrap().is_empty());
    assert_eq!(claim(store, NodeId::new(), 100).await.len(), 2);
}

pub(super) async fn a_run_for_later_waits_from_then_on(store: &dyn RunStore) {
    let later = in_an_hour();
    let asked = InsertRun { delayed: true, ..with(late(unowned()), |run| run.run_at = later) };
    let run = submit(store, &asked).await;
    assert_eq!(run.start_by, Some(run.run_at));
    assert!(store.settle_overdue(100).await.unwrap().is_empty());
    let past = Utc::now() - chrono::Duration::hours(2);
    let asked = InsertRun {
        queue_timeout: Some(Duration::from_secs(3600)),
        delayed: true,
        ..with(unowned(), |run| run.run_at = past)
    };
    assert!(submit(store, &asked).await.start_by.unwrap() > Utc::now());
    assert!(store.settle_overdue(100).await.unwrap().is_empty(), "it has only just been submitted");
}

pub(super) async fn a_run_that_somebody_has_or_that_was_started_once_is_never_late(store: &dyn RunStore) {
    let taken = Attempt::submit(store, late(owned())).await;
    // Only the start that comes too late is refused: whoever has it settles it.
    assert_eq!(advance(store, &taken.next(Change::Start)).await, Err(Refusal::Late));
    for away in [Change::HandBack, retry(Duration::ZERO)] {
        let timeout = Some(Duration::from_secs(3600));
        let mut attempt = Attempt::start(store, InsertRun { queue_timeout: timeout, ..owned() }).await;
        attempt.write(away).await;
        assert_eq!(get(store, attempt.run_id).await.start_by, None);
        let mut again = Attempt::claimed(store, attempt.run_id).await;
        again.write(Change::Start).await;
    }
    assert!(store.settle_overdue(100).await.unwrap().is_empty());

    let mut taken = taken;
    taken.write(Change::HandBack).await;
    assert_eq!(store.settle_overdue(100).await.unwrap(), [(taken.run_id, RunStatus::Pending)], "it was never started");
}

pub(super) async fn overdue_runs_are_settled_up_to_the_limit(store: &dyn RunStore) {
    for _ in 0..5 {
        submit(store, &late(unowned())).await;
    }
    for expected in [2, 2, 1, 0] {
        assert_eq!(store.settle_overdue(2).await.unwrap().len(), expected);
    }
}

pub(super) async fn a_run_that_is_tried_again_waits_unowned_until_it_is_due(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, InsertRun { on_crash: CrashPolicy::Fail, ..owned() }).await;
    attempt.write(retry(Duration::from_secs(3600))).await;

    let run = get(store, attempt.run_id).await;
    assert_eq!((run.output.status, run.output.started_at, run.output.error), (RunStatus::Pending, None, None));
    let wait = run.run_at - Utc::now();
    assert!(wait > chrono::Duration::minutes(59) && wait <= chrono::Duration::minutes(61), "{wait}");
    assert_eq!((run.starts, run.attempt), (1, 1));
    assert!(claim(store, NodeId::new(), 100).await.is_empty());
    assert_eq!(store.count_waiting(100).await.unwrap(), 1);
    assert_eq!(attempt.try_write(Change::Append).await, Err(Refusal::Fenced));
}

pub(super) async fn a_run_is_tried_again_as_often_as_it_may(store: &dyn RunStore) {
    let mut attempt = Attempt::start(store, with(owned(), |run| run.max_attempts = 3)).await;
    for starts in 1..3 {
        attempt.write(retry(Duration::ZERO)).await;
        attempt = Attempt::claimed(store, attempt.run_id).await;
        assert_eq!(attempt.attempt, starts + 1);
        attempt.write(Change::Start).await;
    }
    assert_eq!(attempt.try_write(retry(Duration::ZERO)).await, Err(Refusal::Exhausted));
    attempt.write(settle(RunStatus::Error)).await;
    let run = get(store, attempt.run_id).await;
    assert_eq!((run.starts, run.attempt, run.output.status), (3, 3, RunStatus::Error));
}

pub(super) async fn a_cancel_and_another_attempt_do_not_both_win(store: &dyn RunStore) {
    let mut waiting = Attempt::start(store, owned()).await;
    waiting.write(retry(Duration::from_secs(3600))).await;
    assert_eq!(cancel(store, waiting.run_id).await, CancelWritten::Cancelled);

    let mut running = Attempt::start(store, owned()).await;
    assert!(matches!(cancel(store, running.run_id).await, CancelWritten::Requested(_)));
    assert_eq!(running.try_write(retry(Duration::ZERO)).await, Err(Refusal::CancelWanted));
    running.write(settle(RunStatus::Cancelled)).await;
}

pub(super) async fn a_run_that_is_to_be_tried_again_keeps_its_session(store: &dyn RunStore) {
    let of = |sessions| InsertRun { sessions, ..with(unowned(), |run| run.output.session_id = "s".into()) };
    let first = submit(store, &of(SessionPolicy::InOrder)).await.output.run_id;
    let second = submit(store, &of(SessionPolicy::InOrder)).await.output.run_id;
    let mut attempt = Attempt::claimed(store, first).await;
    attempt.write(Change::Start).await;
    attempt.write(retry(Duration::from_secs(3600))).await;
    assert!(claim(store, NodeId::new(), 100).await.is_empty());
    cancel(store, first).await;
    assert_eq!(taken_ids(&claim(store, NodeId::new(), 100).await), [second]);
}
