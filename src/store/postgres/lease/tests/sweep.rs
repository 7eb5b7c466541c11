//! What a sweep does to the runs of a dead node, and what its zombie can still do.

use super::{Place, open, restartable, run_of};
use crate::run::RunStatus::{Cancelled, Completed, Error, Pending};
use crate::run::{CrashPolicy, FailureKind, RunEventKind, RunFailure, RunId, RunStatus};
use crate::store::RunStore;
use crate::store::conformance::samples::{
    Attempt, advance, cancel, events, facts, get, node, pause, settle, settled, step, submit, unowned, with,
};
use crate::store::postgres::Postgres;
use crate::store::protocol::{CANCELLED_BY_CALLER, Change, Refusal, Takeover, takeover_message};

#[tokio::test]
async fn a_sweep_does_to_each_run_what_its_policy_and_state_ask_for() {
    use CrashPolicy::{Fail, Restart};
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let alive = node(store).await;
    let unstarted = Attempt::submit(store, run_of(dead, Fail)).await.run_id;
    let started = Attempt::start(store, run_of(dead, Restart)).await.run_id;
    let fails = Attempt::start(store, run_of(dead, Fail)).await.run_id;
    let last = Attempt::start(store, with(run_of(dead, Restart), |run| run.max_attempts = 1)).await.run_id;
    let cancelled = Attempt::start(store, run_of(dead, Fail)).await.run_id;
    cancel(store, cancelled).await;
    let done = settled(store, run_of(dead, Restart), Completed).await;
    let waiting = submit(store, &unowned()).await.output.run_id;
    let others = Attempt::start(store, run_of(alive, Restart)).await.run_id;
    let untouched = [done, waiting, others];
    let mut before = Vec::new();
    for run_id in untouched {
        before.push((get(store, run_id).await, facts(store, run_id).await, events(store, run_id).await));
    }
    assert!(place.sweep().await.is_empty(), "the lease holds");

    place.expire(dead).await;
    let mut swept = place.sweep().await;
    swept.sort_unstable_by_key(|(run_id, _)| *run_id);
    let mut expected = vec![
        (unstarted, Takeover::Requeue),
        (started, Takeover::Requeue),
        (fails, Takeover::Fail(FailureKind::ProcessDied)),
        (last, Takeover::Fail(FailureKind::AttemptsExhausted)),
        (cancelled, Takeover::Cancel),
    ];
    expected.sort_unstable_by_key(|(run_id, _)| *run_id);
    assert_eq!(swept, expected);
    assert!(!place.has_row(dead).await);
    assert!(place.sweep().await.is_empty());

    for (run_id, starts, next_seq) in [(unstarted, 0, 0), (started, 1, 1)] {
        let row = facts(store, run_id).await;
        assert_eq!((row.status, row.node, row.attempt, row.starts, row.next_seq), (Pending, None, 1, starts, next_seq));
        assert_eq!(get(store, run_id).await.output.started_at, None);
    }
    for (run_id, kind) in [(fails, FailureKind::ProcessDied), (last, FailureKind::AttemptsExhausted)] {
        let output = get(store, run_id).await.output;
        let message = takeover_message(kind);
        assert_eq!((output.status, output.error), (Error, Some(RunFailure::new(kind, message))));
        assert!(output.settled_at.is_some());
        let event = RunEventKind::RunError { error_type: kind, content: message.to_owned() };
        assert_last(store, run_id, 1, event).await;
    }
    let output = get(store, cancelled).await.output;
    assert_eq!((output.status, output.error), (Cancelled, None));
    assert_last(store, cancelled, 1, RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() }).await;
    for (run_id, before) in untouched.into_iter().zip(before) {
        assert_eq!((get(store, run_id).await, facts(store, run_id).await, events(store, run_id).await), before);
    }
}

/// The last event of the log is this one, at `seq`.
async fn assert_last(store: &Postgres, run_id: RunId, seq: u64, kind: RunEventKind) {
    let log = events(store, run_id).await;
    let last = log.last().unwrap();
    assert_eq!((log.len() as u64, last.seq, &last.kind), (seq + 1, seq, &kind));
    assert_eq!(facts(store, run_id).await.next_seq, seq + 1);
}

#[tokio::test]
async fn a_run_that_is_paused_is_nobodys_to_take_over() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    let mut attempt = Attempt::start(&place.store, restartable(node)).await;
    attempt.write(pause(None)).await;
    let run_id = attempt.run_id;
    place.expire(node).await;
    assert!(place.sweep().await.is_empty());
    assert_eq!(facts(&place.store, run_id).await.status, RunStatus::Paused);
}

#[tokio::test]
async fn sweeps_at_the_same_time_take_no_run_twice() {
    let place = Place::new().await;
    let stores = [open(&place.database).await, open(&place.database).await, open(&place.database).await];
    let mut all = Vec::new();
    for _ in 0..4 {
        let node = node(&place.store).await;
        for _ in 0..25 {
            all.push(Attempt::submit(&place.store, restartable(node)).await.run_id);
        }
        place.expire(node).await;
    }
    let mut swept = Vec::new();
    for round in 0.. {
        let [one, two, three] = &stores;
        let rounds = tokio::join!(one.sweep(7), two.sweep(7), three.sweep(7));
        let new = [rounds.0.unwrap(), rounds.1.unwrap(), rounds.2.unwrap()].concat();
        if new.is_empty() {
            break;
        }
        assert!(round < 100);
        swept.extend(new.into_iter().map(|(run_id, _)| run_id));
    }
    swept.sort_unstable();
    all.sort_unstable();
    assert_eq!(swept, all);
}

#[tokio::test]
async fn what_a_dead_node_inserts_is_swept() {
    let place = Place::new().await;
    let store = &place.store;
    let expired = node(store).await;
    place.expire(expired).await;
    let late = Attempt::submit(store, restartable(expired)).await.run_id;
    assert_eq!(place.sweep().await, [(late, Takeover::Requeue)]);
    assert!(!place.has_row(expired).await);

    let mut later = Vec::new();
    for _ in 0..3 {
        later.push(Attempt::start(store, restartable(expired)).await.run_id);
    }
    let mut swept: Vec<RunId> = place.sweep().await.into_iter().map(|(run_id, _)| run_id).collect();
    swept.sort_unstable();
    assert_eq!(swept, later);
}

#[tokio::test]
async fn a_zombie_can_write_nothing_any_more() {
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let unstarted = Attempt::submit(store, restartable(dead)).await;
    let started = Attempt::start(store, restartable(dead)).await;
    place.expire(dead).await;
    assert_eq!(place.sweep().await.len(), 2);
    let changes = || [Change::Start, Change::Append, settle(Completed), settle(Error), settle(Cancelled)];

    for zombie in [&unstarted, &started] {
        for change in changes() {
            assert_eq!(advance(store, &zombie.next(change)).await, Err(Refusal::Fenced), "nobody has it");
        }
    }
    let mut again = Attempt::claimed(store, started.run_id).await;
    assert_eq!((again.attempt, again.next_seq), (2, 1));
    for zombie in [&unstarted, &started] {
        for change in changes().into_iter().chain([Change::HandBack]) {
            assert_eq!(advance(store, &zombie.next(change)).await, Err(Refusal::Fenced), "another attempt has it");
        }
    }
    again.write(Change::Start).await;
    assert_eq!(advance(store, &step(started.run_id, 1, 2, Change::Append)).await, Err(Refusal::Fenced));
    again.write(settle(Completed)).await;
}

/// The end that a takeover has written looks like what the zombie wants to write, and is not its own.
#[tokio::test]
async fn a_zombie_does_not_take_the_end_by_a_takeover_for_its_own() {
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let zombie = Attempt::start(store, run_of(dead, CrashPolicy::Fail)).await;
    place.expire(dead).await;
    place.sweep().await;
    assert_eq!(advance(store, &zombie.next(settle(Error))).await, Err(Refusal::Settled(Error)));
}

#[tokio::test]
async fn a_run_that_a_late_write_has_locked_is_left_for_the_next_sweep() {
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let locked = Attempt::start(store, restartable(dead)).await.run_id;
    let free = Attempt::start(store, restartable(dead)).await.run_id;
    place.expire(dead).await;
    let write = place.session().await;
    let lock = format!("BEGIN; SELECT FROM runs WHERE run_id = '{locked}' FOR UPDATE");
    write.batch_execute(&lock).await.unwrap();

    assert_eq!(place.sweep().await, [(free, Takeover::Requeue)]);
    assert!(place.has_row(dead).await);
    write.batch_execute("COMMIT").await.unwrap();
    assert_eq!(place.sweep().await, [(locked, Takeover::Requeue)]);
    assert!(!place.has_row(dead).await);
}

#[cfg(feature = "webhooks")]
#[tokio::test]
async fn a_sweep_that_settles_a_run_writes_its_webhook_delivery_and_no_other() {
    use crate::run::WebhookUrl;
    use crate::store::delivery::Collect;
    use crate::store::protocol::InsertRun;

    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let webhook = || Some(WebhookUrl::parse("https://example.org/").unwrap());
    let told = |on_crash| InsertRun { webhook: webhook(), ..run_of(dead, on_crash) };
    let failed = Attempt::start(store, told(CrashPolicy::Fail)).await.run_id;
    Attempt::start(store, told(CrashPolicy::Restart)).await;
    place.expire(dead).await;
    assert_eq!(place.sweep().await.len(), 2);

    let collect = Collect { busy: Vec::new(), limit: 10, hold: super::HOUR };
    let deliveries = store.outbox().collect(collect).await.unwrap();
    assert_eq!(deliveries.iter().map(|delivery| delivery.run_id).collect::<Vec<_>>(), [failed]);
    // Whoever settles a run by hand, from whichever schema, tells of it as well.
    let by_hand =
        Attempt::start(store, InsertRun { webhook: webhook(), ..run_of(node(store).await, CrashPolicy::Fail) }).await;
    let sql = "RESET search_path; UPDATE greenroom.runs SET status = 'ERROR', settled_at = now() WHERE run_id = ";
    place.sql(&format!("{sql}'{}'", by_hand.run_id)).await;
    let sql = "SELECT count(*) FROM webhook_deliveries";
    assert_eq!(place.session().await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 2);
}
