//! Cancels that come before their run.

use super::samples::*;
use crate::run::{RunId, RunStatus, UserId};
use crate::store::RunStore;
use crate::store::protocol::{Cancel, CancelWritten, Change, InsertRun, Inserted, Refusal};

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

fn of(user_id: Option<&str>, insert: InsertRun) -> InsertRun {
    with(insert, |run| run.output.user_id = user_id.map(UserId::from))
}

fn on_behalf_of(user_id: &str, run_id: RunId) -> Cancel {
    Cancel { run_id, user_id: Some(user_id.into()) }
}

pub(super) async fn an_intent_of_a_user_meets_runs_of_that_user_only(store: &dyn RunStore) {
    for user_id in [Some("bob"), None] {
        let run = of(user_id, owned());
        assert_eq!(cancel(store, on_behalf_of("ann", id(&run))).await, CancelWritten::IntentStored);
        assert!(!is_awaited(store, &run).await, "{user_id:?}");
        assert!(!facts(store, id(&run)).await.cancel_wanted, "{user_id:?}");
        let mut attempt = Attempt { store, run_id: id(&run), attempt: 1, next_seq: 0 };
        attempt.write(Change::Start).await;
    }
    let run = of(Some("ann"), owned());
    assert_eq!(cancel(store, on_behalf_of("ann", id(&run))).await, CancelWritten::IntentStored);
    assert!(is_awaited(store, &run).await);
    assert!(facts(store, id(&run)).await.cancel_wanted);
    let mut attempt = Attempt { store, run_id: id(&run), attempt: 1, next_seq: 0 };
    assert_eq!(attempt.try_write(Change::Start).await, Err(Refusal::CancelWanted));
}

pub(super) async fn intents_of_several_users_for_one_id_are_each_kept(store: &dyn RunStore) {
    let run = of(Some("bob"), owned());
    for user_id in ["ann", "bob", "ann"] {
        assert_eq!(cancel(store, on_behalf_of(user_id, id(&run))).await, CancelWritten::IntentStored);
    }
    assert_eq!(cancel(store, id(&run)).await, CancelWritten::IntentStored);
    assert_eq!(cancel(store, on_behalf_of("eve", id(&run))).await, CancelWritten::TooManyIntents);

    assert!(is_awaited(store, &run).await);
    let mut attempt = Attempt { store, run_id: id(&run), attempt: 1, next_seq: 0 };
    assert_eq!(attempt.try_write(Change::Start).await, Err(Refusal::CancelWanted));
    attempt.write(settle(RunStatus::Cancelled)).await;

    // Bob's and nobody's are spent, ann's is kept.
    assert_eq!(cancel(store, RunId::new()).await, CancelWritten::IntentStored);
    assert_eq!(cancel(store, RunId::new()).await, CancelWritten::IntentStored);
    assert_eq!(cancel(store, RunId::new()).await, CancelWritten::TooManyIntents);
}
