//! Through the actor's address, on SQLite in memory.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::lanes::MAX_BATCH;
use super::{Persister, Retry, Writer};
use crate::actors::testing::{Gated, run_of};
use crate::run::{RunId, RunStatus};
use crate::store::conformance::samples::{self, settle, step};
use crate::store::protocol::{CancelWritten, Change, InsertRun, Inserted, Refusal};
use crate::store::{Claim, NodeId, StoreError, StoreResult};

const LIMIT: Duration = Duration::from_secs(60);

async fn open() -> (Arc<Gated>, Writer) {
    let store = Gated::open().await;
    let persister = Persister::new(store.clone(), Retry { limit: LIMIT }).start();
    (store, Writer::new(persister))
}

fn owned() -> InsertRun {
    InsertRun { node: Some(NodeId::new()), ..run_of("agent") }
}

fn id(insert: &InsertRun) -> RunId {
    insert.run.output.run_id
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn is_new(inserted: &StoreResult<Inserted>) -> bool {
    matches!(inserted, Ok(Inserted::New { .. }))
}

/// Returns when the persister has taken in all that was sent before.
async fn all_taken_in(writer: &Writer) {
    writer.claim(Claim { node: NodeId::new(), agents: Vec::new(), limited: Vec::new(), limit: 0 }).await.unwrap();
}

#[actix::test]
async fn batches_form_while_one_is_written_and_hold_no_run_twice() {
    let (store, writer) = open().await;
    let (one, two, three) = (owned(), owned(), owned());
    store.hold_all();

    let first = writer.insert(one.clone(), far());
    store.batches_have_come(1).await;
    let inserts = [writer.insert(two.clone(), far()), writer.insert(three.clone(), far())];
    let cancel = writer.cancel(id(&one).into(), far());
    let start = writer.advance(step(id(&two), 1, 0, Change::Start));
    let end = writer.advance(step(id(&two), 1, 1, settle(RunStatus::Completed)));
    all_taken_in(&writer).await;
    store.let_go();

    assert!(is_new(&first.await) && join_all(inserts).await.iter().all(is_new));
    assert!(matches!(cancel.await, Ok(CancelWritten::Requested(_))));
    assert!(matches!((start.await, end.await), (Ok(Ok(())), Ok(Ok(())))));
    let expected = [
        vec![(id(&one), "insert")],
        vec![(id(&two), "insert"), (id(&three), "insert"), (id(&one), "cancel")],
        vec![(id(&two), "start")],
        vec![(id(&two), "settle")],
    ];
    assert_eq!(store.batches(), expected);
}

#[actix::test]
async fn cancels_of_one_run_share_a_batch_and_let_nothing_pass_them() {
    let (store, writer) = open().await;
    let run = owned();
    store.hold_all();

    let first = writer.insert(run.clone(), far());
    store.batches_have_come(1).await;
    let early = [writer.cancel(id(&run).into(), far()), writer.cancel(id(&run).into(), far())];
    let start = writer.advance(step(id(&run), 1, 0, Change::Start));
    let late = writer.cancel(id(&run).into(), far());
    all_taken_in(&writer).await;
    store.let_go();

    assert!(is_new(&first.await));
    for cancel in join_all(early.into_iter().chain([late])).await {
        assert!(matches!(cancel, Ok(CancelWritten::Requested(_))), "{cancel:?}");
    }
    assert!(matches!(start.await, Ok(Err(Refusal::CancelWanted))));
    let cancel = || (id(&run), "cancel");
    assert_eq!(
        store.batches(),
        [vec![(id(&run), "insert")], vec![cancel(), cancel()], vec![(id(&run), "start")], vec![cancel()]]
    );
}

#[actix::test]
async fn what_is_sent_at_once_is_written_in_that_order() {
    let (store, writer) = open().await;
    let runs: Vec<InsertRun> = (0..50).map(|_| owned()).collect();

    let inserted: Vec<_> = runs.iter().map(|run| writer.insert(run.clone(), far())).collect();
    let mut steps = Vec::new();
    for seq in 0..12 {
        let change = |seq| match seq {
            0 => Change::Start,
            11 => settle(RunStatus::Completed),
            _ => Change::Append,
        };
        steps.extend(runs.iter().map(|run| writer.advance(step(id(run), 1, seq, change(seq)))));
    }

    assert!(join_all(inserted).await.iter().all(is_new));
    for answer in join_all(steps).await {
        assert_eq!(answer.unwrap(), Ok(()));
    }
    for run in &runs {
        let events = samples::events(store.inner(), id(run)).await;
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
        assert_eq!(samples::get(store.inner(), id(run)).await.output.status, RunStatus::Completed);
    }
}

#[actix::test]
async fn each_sender_gets_its_own_outcome() {
    let (store, writer) = open().await;
    let there = owned();
    assert!(is_new(&writer.insert(there.clone(), far()).await));
    store.hold_all();
    let block = writer.insert(owned(), far());
    store.batches_have_come(2).await;

    let mut other = owned();
    other.run.output.run_id = id(&there);
    other.fingerprint = [1; 32];
    let conflict = writer.insert(other, far());
    let new = writer.insert(owned(), far());
    let missing = writer.advance(step(RunId::new(), 1, 0, Change::Start));
    let intent = writer.cancel(RunId::new().into(), far());
    all_taken_in(&writer).await;
    store.let_go();

    assert!(is_new(&block.await) && is_new(&new.await));
    assert!(matches!(conflict.await, Ok(Inserted::Conflict)));
    assert_eq!(missing.await.unwrap(), Err(Refusal::Missing));
    assert!(matches!(intent.await, Ok(CancelWritten::IntentStored)));
    assert_eq!(store.batches().len(), 3, "they were one batch");
}

#[actix::test]
async fn a_poisoned_write_hurts_only_its_sender() {
    let (store, writer) = open().await;
    store.hold_all();
    let block = writer.insert(owned(), far());
    store.batches_have_come(1).await;
    let runs: Vec<InsertRun> = (0..500).map(|_| owned()).collect();
    store.poison(id(&runs[137]));

    let inserted: Vec<_> = runs.iter().map(|run| writer.insert(run.clone(), far())).collect();
    all_taken_in(&writer).await;
    store.let_go();

    assert!(is_new(&block.await));
    for (number, inserted) in join_all(inserted).await.iter().enumerate() {
        let own = if number == 137 { matches!(inserted, Err(StoreError::Data(_))) } else { is_new(inserted) };
        assert!(own, "{number}: {inserted:?}");
    }
    assert_eq!(store.batches()[1].len(), 500);
    assert!(store.batches().len() <= 2 + 2 * 9, "found by halving, in {} tries", store.batches().len());
}

#[actix::test]
async fn an_unavailable_store_is_tried_again_ever_more_seldom() {
    let (store, writer) = open().await;
    tokio::time::pause();
    store.fail_writes(5);
    let begun = Instant::now();

    assert!(is_new(&writer.insert(owned(), far()).await));

    assert_eq!(store.batches().len(), 6);
    // 50, 100, 200, 400 and 800 ms, each with up to as much again by chance.
    let took = begun.elapsed();
    assert!((Duration::from_millis(1550)..Duration::from_millis(3200)).contains(&took), "{took:?}");
}

#[actix::test]
async fn what_comes_while_the_store_is_away_is_written_after_it() {
    let (store, writer) = open().await;
    tokio::time::pause();
    store.fail_writes(5);
    let (one, two) = (owned(), owned());

    let first = writer.insert(one.clone(), far());
    store.batches_have_come(1).await;
    let second = writer.insert(two.clone(), far());
    let start = writer.advance(step(id(&one), 1, 0, Change::Start));

    assert!(is_new(&first.await) && is_new(&second.await));
    assert_eq!(start.await.unwrap(), Ok(()));
    assert_eq!(store.batches()[6], [(id(&two), "insert"), (id(&one), "start")]);
}

#[actix::test]
async fn the_limit_ends_the_tries_and_the_sender_may_ask_again() {
    let (store, writer) = open().await;
    tokio::time::pause();
    store.fail_writes(usize::MAX);
    let run = owned();
    let begun = Instant::now();

    let given_up = writer.insert(run.clone(), far()).await.unwrap_err();

    assert!(given_up.is_retryable(), "{given_up}");
    let took = begun.elapsed();
    assert!((LIMIT..LIMIT + Duration::from_secs(4)).contains(&took), "{took:?}");
    store.fail_writes(0);
    assert!(is_new(&writer.insert(run, far()).await), "the lane goes on");
}

#[actix::test]
async fn an_expired_write_is_answered_and_not_written() {
    let (store, writer) = open().await;
    tokio::time::pause();
    store.hold_all();
    let block = writer.insert(owned(), far());
    store.batches_have_come(1).await;
    let (late, timely) = (owned(), owned());

    let expired = writer.insert(late.clone(), Instant::now() + Duration::from_secs(5));
    let written = writer.insert(timely.clone(), far());
    all_taken_in(&writer).await;
    tokio::time::advance(Duration::from_secs(6)).await;
    store.let_go();

    let expired = expired.await.unwrap_err();
    assert!(expired.is_retryable(), "{expired}");
    assert!(is_new(&block.await) && is_new(&written.await));
    assert_eq!(store.batches()[1..], [vec![(id(&timely), "insert")]]);
    assert!(store.inner().get(id(&late)).await.unwrap().is_none());
}

#[actix::test]
async fn a_write_that_expires_between_two_tries_is_answered_and_the_rest_is_written() {
    let (store, writer) = open().await;
    tokio::time::pause();
    store.hold_all();
    let block = writer.insert(owned(), far());
    store.batches_have_come(1).await;
    let (late, timely) = (owned(), owned());
    let expired = writer.insert(late.clone(), Instant::now() + Duration::from_secs(1));
    let written = writer.insert(timely.clone(), far());
    all_taken_in(&writer).await;
    store.fail_writes(10);
    store.let_go();

    assert!(expired.await.unwrap_err().is_retryable());
    assert!(is_new(&block.await) && is_new(&written.await));
    assert!(store.inner().get(id(&late)).await.unwrap().is_none());
}

#[actix::test]
async fn an_answer_lost_after_the_commit_is_made_up_for() {
    let (store, writer) = open().await;
    tokio::time::pause();
    let run = owned();

    store.lose_answers(1);
    let inserted = writer.insert(run.clone(), far()).await;
    assert!(matches!(inserted, Ok(Inserted::Existing { node, .. }) if node == run.node), "{inserted:?}");
    for (seq, change) in [(0, Change::Start), (1, Change::Append), (2, settle(RunStatus::Completed))] {
        store.lose_answers(1);
        assert_eq!(writer.advance(step(id(&run), 1, seq, change)).await.unwrap(), Ok(()));
    }

    assert_eq!(store.batches().len(), 8, "each was written twice");
    assert_eq!(samples::facts(store.inner(), id(&run)).await.starts, 1);
    let events = samples::events(store.inner(), id(&run)).await;
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1, 2]);
}

#[actix::test]
async fn a_batch_has_a_bound() {
    let (store, writer) = open().await;
    store.hold_all();
    let block = writer.insert(owned(), far());
    store.batches_have_come(1).await;

    let inserted: Vec<_> = (0..2 * MAX_BATCH + 500).map(|_| writer.insert(owned(), far())).collect();
    all_taken_in(&writer).await;
    store.let_go();

    assert!(is_new(&block.await) && join_all(inserted).await.iter().all(is_new));
    let sizes: Vec<usize> = store.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, MAX_BATCH, MAX_BATCH, 500]);
}
