//! What the next open does to runs that a dead process left.

use std::sync::Arc;

use super::{open, place};
use crate::run::RunStatus::{Cancelled, Completed, Error, Pending};
use crate::run::{CrashPolicy, FailureKind, RunEventKind, RunFailure, RunId};
use crate::store::RunStore;
use crate::store::conformance::samples::{
    Attempt, cancel, events, facts, get, id, owned, settle, settled, submit, unowned, with,
};
use crate::store::protocol::{CANCELLED_BY_CALLER, Change, InsertRun, Write, takeover_message};
use crate::store::sqlite::Sqlite;

/// Closes the store as a process that dies leaves it: with its runs unsettled.
async fn die(store: Sqlite) {
    store.close().await;
}

#[tokio::test]
async fn a_run_that_a_dead_process_had_not_started_waits_again() {
    let (_folder, path) = place();
    for on_crash in [CrashPolicy::Restart, CrashPolicy::Fail] {
        let store = open(&path).await;
        let run_id = Attempt::submit(&store, InsertRun { on_crash, ..owned() }).await.run_id;
        die(store).await;
        let store = open(&path).await;
        let row = facts(&store, run_id).await;
        assert_eq!((row.status, row.node, row.attempt, row.starts, row.next_seq), (Pending, None, 1, 0, 0));
        let mut again = Attempt::claimed(&store, run_id).await;
        assert_eq!(again.attempt, 2);
        again.write(Change::Start).await;
        again.write(settle(Completed)).await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_started_run_is_restarted_as_often_as_it_allows() {
    let (_folder, path) = place();
    let mut store = open(&path).await;
    let run_id = Attempt::start(&store, with(owned(), |run| run.max_attempts = 2)).await.run_id;
    die(store).await;

    store = open(&path).await;
    let row = facts(&store, run_id).await;
    assert_eq!((row.status, row.node, row.attempt, row.starts, row.next_seq), (Pending, None, 1, 1, 1));
    assert_eq!(get(&store, run_id).await.output.started_at, None);
    Attempt::claimed(&store, run_id).await.write(Change::Start).await;
    die(store).await;

    store = open(&path).await;
    assert_failed(&store, run_id, FailureKind::AttemptsExhausted, 2).await;
}

#[tokio::test]
async fn a_started_run_that_must_not_be_repeated_fails() {
    let (_folder, path) = place();
    let store = open(&path).await;
    let run = InsertRun { on_crash: CrashPolicy::Fail, ..owned() };
    let mut attempt = Attempt::start(&store, run).await;
    attempt.write(Change::Append).await;
    let run_id = attempt.run_id;
    die(store).await;
    assert_failed(&open(&path).await, run_id, FailureKind::ProcessDied, 2).await;
}

/// The run failed in a takeover, after `seq` events.
async fn assert_failed(store: &Sqlite, run_id: RunId, kind: FailureKind, seq: usize) {
    let output = get(store, run_id).await.output;
    let message = takeover_message(kind);
    assert_eq!((output.status, output.error), (Error, Some(RunFailure::new(kind, message))));
    assert!(output.settled_at.is_some());
    let log = events(store, run_id).await;
    assert_eq!((log.len(), log[seq].seq), (seq + 1, seq as u64));
    assert_eq!(log[seq].kind, RunEventKind::RunError { error_type: kind, content: message.to_owned() });
    assert_eq!(facts(store, run_id).await.next_seq, seq as u64 + 1);
}

#[tokio::test]
async fn a_run_that_somebody_wanted_cancelled_is_cancelled_by_a_takeover() {
    let (_folder, path) = place();
    let store = open(&path).await;
    let requested = Attempt::start(&store, InsertRun { on_crash: CrashPolicy::Fail, ..owned() }).await.run_id;
    cancel(&store, requested).await;
    let awaited = owned();
    cancel(&store, id(&awaited)).await;
    store.write(0, Arc::new([Write::Insert(Box::new(awaited.clone()))])).await.unwrap();
    die(store).await;

    let store = open(&path).await;
    for (run_id, seq) in [(requested, 1), (id(&awaited), 0)] {
        let output = get(&store, run_id).await.output;
        assert_eq!((output.status, output.error), (Cancelled, None));
        let log = events(&store, run_id).await;
        assert_eq!(log[seq].kind, RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() });
        assert_eq!(log.len(), seq + 1);
    }
    assert!(!facts(&store, id(&awaited)).await.cancel_wanted);
}

#[tokio::test]
async fn a_takeover_touches_no_run_that_waits_or_has_settled() {
    let (_folder, path) = place();
    let store = open(&path).await;
    let waiting = submit(&store, &unowned()).await;
    let mut done = Vec::new();
    for status in [Completed, Cancelled, Error] {
        let run_id = settled(&store, owned(), status).await;
        done.push((get(&store, run_id).await, events(&store, run_id).await));
    }
    die(store).await;
    let store = open(&path).await;
    assert_eq!(get(&store, waiting.output.run_id).await, waiting);
    for (run, log) in done {
        let run_id = run.output.run_id;
        assert_eq!((get(&store, run_id).await, events(&store, run_id).await), (run, log));
    }
}

#[cfg(feature = "webhooks")]
#[tokio::test]
async fn a_run_that_fails_with_its_process_writes_its_webhook_delivery() {
    use std::time::Duration;

    use crate::run::WebhookUrl;
    use crate::store::delivery::Collect;

    let (_folder, path) = place();
    let store = open(&path).await;
    let webhook = Some(WebhookUrl::parse("https://example.org/").unwrap());
    let told = InsertRun { on_crash: CrashPolicy::Fail, webhook, ..owned() };
    let run_id = Attempt::start(&store, told).await.run_id;
    die(store).await;

    let store = open(&path).await;
    let collect = Collect { busy: Vec::new(), limit: 10, hold: Duration::ZERO };
    let deliveries = store.outbox().collect(collect).await.unwrap();
    assert_eq!(deliveries.iter().map(|delivery| delivery.run_id).collect::<Vec<_>>(), [run_id]);
    store.close().await;
}
