//! Reads of single runs, very many of them at the same time.

use std::time::Duration;

use futures_util::future::join_all;

use super::{fresh, inserts};
use crate::run::RunId;
use crate::store::StoreError;
use crate::store::conformance::samples::{self, id, unowned};
use crate::store::protocol::InsertRun;

#[tokio::test]
async fn reads_at_the_same_time_are_each_answered_with_their_own_run() {
    let (_database, store) = fresh().await;
    let runs: Vec<InsertRun> = (0..250).map(|_| unowned()).collect();
    samples::write_all(&*store, inserts(&runs)).await;

    let asked: Vec<RunId> = runs.iter().map(id).flat_map(|run_id| [run_id, RunId::new(), run_id]).collect();
    let answers = join_all(asked.iter().map(|&run_id| store.get(run_id))).await;

    for (place, (run_id, answer)) in asked.iter().zip(answers).enumerate() {
        let found = answer.unwrap().map(|run| run.output.run_id);
        assert_eq!(found, (place % 3 != 1).then_some(*run_id));
    }
}

#[tokio::test]
async fn whoever_stops_waiting_for_a_read_leaves_the_others_theirs() {
    let (_database, store) = fresh().await;
    let runs: Vec<InsertRun> = (0..20).map(|_| unowned()).collect();
    samples::write_all(&*store, inserts(&runs)).await;
    for run in &runs {
        let (given_up, kept) = (store.get(id(run)), store.get(id(run)));
        drop(given_up);
        assert!(kept.await.unwrap().is_some());
    }
}

#[tokio::test]
async fn nobody_waits_for_a_read_of_a_store_that_is_closed() {
    let (_database, store) = fresh().await;
    let asked: Vec<_> = (0..500).map(|_| store.get(RunId::new())).collect();
    store.close().await;
    let answers = tokio::time::timeout(Duration::from_secs(20), join_all(asked)).await.unwrap();
    assert!(
        answers
            .into_iter()
            .all(|answer| matches!(answer, Ok(None) | Err(StoreError::Closed | StoreError::Unavailable(_))))
    );
    assert!(matches!(store.get(RunId::new()).await, Err(StoreError::Closed)));
}
