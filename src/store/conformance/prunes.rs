//! Runs that are forgotten.

use std::time::Duration;

use super::samples::*;
use crate::run::{RunId, RunStatus, StepRecord};
use crate::store::RunStore;
use crate::store::protocol::{Advance, Change};

async fn is_there(store: &dyn RunStore, run_id: RunId) -> bool {
    store.get(run_id).await.unwrap().is_some()
}

pub(super) async fn a_run_that_settled_long_ago_is_forgotten_with_all_that_belongs_to_it(store: &dyn RunStore) {
    let run = owned();
    let mut attempt = Attempt::start(store, run.clone()).await;
    let finished = StepRecord { position: 0, first_attempt: 1, name: "a".to_owned(), result: "1".to_owned() };
    advance(store, &Advance { steps: vec![finished], ..attempt.next(Change::Append) }).await.unwrap();
    attempt.next_seq += 1;
    attempt.write(settle(RunStatus::Completed)).await;
    assert_eq!(store.prune(Duration::ZERO, 10).await.unwrap(), 1);
    assert!(!is_there(store, id(&run)).await);
    assert!(store.facts(id(&run)).await.unwrap().is_none());
    assert!(events(store, id(&run)).await.is_empty());
    assert!(store.steps(id(&run)).await.unwrap().is_empty());
    // Where anything of it were left, it could not live once more.
    settled(store, run, RunStatus::Completed).await;
}

pub(super) async fn what_has_not_settled_or_not_for_long_is_kept(store: &dyn RunStore) {
    let recent = settled(store, owned(), RunStatus::Error).await;
    let waiting = unowned();
    submit(store, &waiting).await;
    let mut running = Attempt::start(store, owned()).await;
    assert_eq!(store.prune(Duration::from_secs(3600), 10).await.unwrap(), 0);
    assert!(is_there(store, recent).await);
    assert_eq!(store.prune(Duration::ZERO, 10).await.unwrap(), 1);
    assert!(is_there(store, id(&waiting)).await);
    running.write(Change::Append).await;
    running.write(settle(RunStatus::Completed)).await;
}

pub(super) async fn the_oldest_are_forgotten_first_and_only_so_many_at_a_time(store: &dyn RunStore) {
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(settled(store, owned(), RunStatus::Cancelled).await);
    }
    assert_eq!(store.prune(Duration::ZERO, 2).await.unwrap(), 2);
    assert!(!is_there(store, runs[0]).await && !is_there(store, runs[1]).await && is_there(store, runs[2]).await);
    assert_eq!(store.prune(Duration::ZERO, 2).await.unwrap(), 1);
    assert_eq!(store.prune(Duration::ZERO, 2).await.unwrap(), 0);
}
