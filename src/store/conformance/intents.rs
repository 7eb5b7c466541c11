//! Cancels that come before their run.

use super::samples::*;
use crate::run::{RunId, RunStatus};
use crate::store::RunStore;
use crate::store::protocol::{CancelWritten, Change, InsertRun, Inserted, Refusal};

/// Inserts a new run, and tells whether an intent waits for it.
async fn is_awaited(store: &dyn RunStore, run: &InsertRun) -> bool {
    let inserted = insert(store, run).await;
    let Inserted::New { cancel_wanted, .. } = inserted else { panic!("a new run was answered by {inserted:?}") };
    cancel_wanted
}

/// Stores as many intents as there may be.
async fn fill(store: &dyn RunStore) -> Vec<RunId> {
    let mut filled = Vec::new();
    for _ in 0..super::LIMITS.max_intents {
        let run_id = RunId::new();
        assert_eq!(cancel(store, run_id).await, CancelWritten::IntentStored);
        filled.push(run_id);
    }
    assert_eq!(cancel(store, RunId::new()).await, CancelWritten::TooManyIntents);
    filled
}

pub(super) async fn an_intent_meets_its_run(store: &dyn RunStore) {
    let (awaited, other) = (owned(), owned());
    assert_eq!(cancel(store, id(&awaited)).await, CancelWritten::IntentStored);
    assert!(store.facts(id(&awaited)).await.unwrap().is_none());
    assert!(store.get(id(&awaited)).await.unwrap().is_none());

    assert!(is_awaited(store, &awaited).await);
    assert!(!is_awaited(store, &other).await);
    assert!(facts(store, id(&awaited)).await.cancel_wanted);
    assert!(!facts(store, id(&other)).await.cancel_wanted);
    let mut attempt = Attempt { store, run_id: id(&awaited), attempt: 1, next_seq: 0 };
    assert_eq!(attempt.try_write(Change::Start).await, Err(Refusal::CancelWanted));
    attempt.write(settle(RunStatus::Cancelled)).await;
    assert_eq!(get(store, id(&awaited)).await.output.status, RunStatus::Cancelled);
}

pub(super) async fn a_run_that_settles_as_cancelled_takes_its_intent_along(store: &dyn RunStore) {
    let filled = fill(store).await;
    let by_attempt = with(owned(), |run| run.output.run_id = filled[0]);
    assert!(is_awaited(store, &by_attempt).await);
    let mut attempt = Attempt { store, run_id: filled[0], attempt: 1, next_seq: 0 };
    attempt.write(settle(RunStatus::Cancelled)).await;
    assert!(!facts(store, filled[0]).await.cancel_wanted);

    let unowned = with(unowned(), |run| run.output.run_id = filled[1]);
    assert!(is_awaited(store, &unowned).await);
    assert_eq!(cancel(store, filled[1]).await, CancelWritten::Cancelled);
    assert!(!facts(store, filled[1]).await.cancel_wanted);

    for expected in [CancelWritten::IntentStored, CancelWritten::IntentStored, CancelWritten::TooManyIntents] {
        assert_eq!(cancel(store, RunId::new()).await, expected);
    }
}

pub(super) async fn there_are_only_so_many_intents(store: &dyn RunStore) {
    let filled = fill(store).await;
    let refused = owned();
    assert_eq!(cancel(store, id(&refused)).await, CancelWritten::TooManyIntents);
    assert!(!is_awaited(store, &refused).await);
    assert_ne!(cancel(store, id(&refused)).await, CancelWritten::TooManyIntents);
    for run_id in filled {
        assert!(is_awaited(store, &with(owned(), |run| run.output.run_id = run_id)).await);
    }
}

pub(super) async fn an_intent_can_be_stored_again_when_there_is_no_room_for_another(store: &dyn RunStore) {
    for run_id in fill(store).await {
        assert_eq!(cancel(store, run_id).await, CancelWritten::IntentStored);
        assert_eq!(cancel(store, RunId::new()).await, CancelWritten::TooManyIntents);
    }
}

pub(super) async fn an_unexpired_intent_is_not_forgotten(store: &dyn RunStore) {
    let filled = fill(store).await;
    store.forget_expired_intents().await.unwrap();
    assert_eq!(cancel(store, RunId::new()).await, CancelWritten::TooManyIntents);
    assert!(is_awaited(store, &with(owned(), |run| run.output.run_id = filled[2])).await);
}

pub(super) async fn an_expired_intent_is_as_good_as_none(store: &dyn RunStore) {
    let asked = owned();
    for _ in 0..=super::EXPIRED_AT_ONCE.max_intents {
        assert_eq!(cancel(store, RunId::new()).await, CancelWritten::IntentStored);
    }
    assert_eq!(cancel(store, id(&asked)).await, CancelWritten::IntentStored);
    assert!(!is_awaited(store, &asked).await);
    assert!(!facts(store, id(&asked)).await.cancel_wanted);
    store.forget_expired_intents().await.unwrap();
    let mut attempt = Attempt { store, run_id: id(&asked), attempt: 1, next_seq: 0 };
    attempt.write(Change::Start).await;
}
