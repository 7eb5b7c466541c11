//! Submits with a key of the caller's own.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use greenroom::{CancelOutcome, Error, NewRun, RunId, RunQuery, RunStatus, Runtime, Store};

use crate::postgres::fresh_database;
use crate::support::{Gate, gated, on_each_store, settled, start};

on_each_store!(
    what_is_asked_for_twice_with_one_key_is_one_run,
    a_key_is_refused_to_another_run_and_names_its_own,
    fifty_submits_of_one_key_at_once_are_one_run,
    a_known_key_needs_no_room,
);

fn keyed(key: &str) -> NewRun {
    NewRun::new("gated", "hi").idempotency_key(key)
}

async fn what_is_asked_for_twice_with_one_key_is_one_run(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;

    let first = runtime.submit(keyed("k")).await.unwrap();
    let again = runtime.submit(keyed("k")).await.unwrap();

    assert_eq!((again.run_id(), again.session_id()), (first.run_id(), first.session_id()));
    assert_eq!(runtime.get(first.run_id()).await.unwrap().unwrap().idempotency_key.as_deref(), Some("k"));
    let ada = runtime.submit(keyed("k").user_id("ada")).await.unwrap();
    assert_ne!(ada.run_id(), first.run_id());
    gate.open(10);
    settled(&first).await;
    settled(&ada).await;
    assert_eq!(runtime.submit(keyed("k")).await.unwrap().status(), RunStatus::Completed);
    gate.arrivals(2).await;
    assert_eq!(gate.unseen(), 0, "user code was started once for each");
}

async fn a_key_is_refused_to_another_run_and_names_its_own(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    let first = runtime.submit(keyed("k")).await.unwrap();

    let others = [
        NewRun::new("gated", "ho").idempotency_key("k"),
        keyed("k").session_id("s"),
        keyed("k").priority(1),
        keyed("k").run_id(RunId::new()),
    ];
    for other in others {
        let refusal = runtime.submit(other).await.unwrap_err();
        assert!(matches!(refusal, Error::KeyConflict(run_id) if run_id == first.run_id()), "{refusal:?}");
        assert!(!refusal.is_retryable() && refusal.to_string().contains(&first.run_id().to_string()), "{refusal}");
    }
    assert_eq!(runtime.submit(keyed("k").run_id(first.run_id())).await.unwrap().run_id(), first.run_id());
    let refusal = runtime.submit(keyed("another").run_id(first.run_id())).await.unwrap_err();
    assert!(matches!(refusal, Error::Conflict(run_id) if run_id == first.run_id()), "{refusal:?}");
    let refusal = runtime.submit(keyed("")).await.unwrap_err();
    assert!(matches!(&refusal, Error::Invalid(wrong) if wrong.field() == "idempotency_key"), "{refusal:?}");
    assert_eq!(runtime.list(RunQuery::new()).await.unwrap().runs.len(), 1);
}

async fn fifty_submits_of_one_key_at_once_are_one_run(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;

    let runs = join_all((0..50).map(|_| runtime.submit(keyed("k")))).await;

    let ids: HashSet<RunId> = runs.into_iter().map(|run| run.unwrap().run_id()).collect();
    assert_eq!(ids.len(), 1);
    gate.arrivals(1).await;
    gate.open(50);
    // All the places that were kept for the others are free again.
    let later = join_all((0..49).map(|_| runtime.submit(NewRun::new("gated", "hi")))).await;
    for run in later {
        assert_eq!(settled(&run.unwrap()).await.status, RunStatus::Completed);
    }
    assert_eq!(runtime.list(RunQuery::new().limit(100)).await.unwrap().runs.len(), 50);
}

async fn a_known_key_needs_no_room(store: Store) {
    let gate = Gate::new();
    let builder = Runtime::builder().store(store).agent(gated(&gate)).max_running(1).max_waiting(1);
    let runtime = builder.poll_interval(Duration::from_secs(3600)).start().await.unwrap();
    runtime.submit(keyed("runs")).await.unwrap();
    gate.arrivals(1).await;
    let waits = runtime.submit(keyed("waits")).await.unwrap();

    assert!(matches!(runtime.submit(keyed("new")).await, Err(Error::Full(1))));

    assert_eq!(runtime.submit(keyed("waits")).await.unwrap().run_id(), waits.run_id());
    let other = NewRun::new("gated", "else").idempotency_key("waits");
    assert!(matches!(runtime.submit(other).await, Err(Error::KeyConflict(run_id)) if run_id == waits.run_id()));
    assert_eq!(waits.cancel().await.unwrap(), CancelOutcome::Cancelled);
}

#[tokio::test]
async fn one_key_in_two_processes_is_one_run() {
    let database = fresh_database().await;
    let gate = Gate::new();
    let one = start(Store::postgres(database.url()), gated(&gate)).await;
    let two = start(Store::postgres(database.url()), gated(&gate)).await;
    gate.open(100);

    for round in 0..20 {
        let key = round.to_string();
        let (ours, theirs) = tokio::join!(one.submit(keyed(&key)), two.submit(keyed(&key)));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!(ours.run_id(), theirs.run_id());
        assert_eq!(settled(&theirs).await.status, RunStatus::Completed);
    }
    gate.arrivals(20).await;
    assert_eq!(gate.unseen(), 0, "user code was started once for each");
    one.shutdown(Duration::from_secs(10)).await;
    two.shutdown(Duration::from_secs(10)).await;
}
