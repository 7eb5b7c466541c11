//! How settled runs are forgotten by one of several processes, and gently.

use std::time::Duration;

use super::plans::assert_goes_by_index;
use super::{client, connection, fresh, sql};
use crate::run::RunStatus;
use crate::store::conformance::samples::{owned, settled};
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::prune::PruneRuns;
use crate::store::postgres::session::PruneStates;

#[tokio::test]
async fn one_process_at_a_time_prunes() {
    let (database, store) = fresh().await;
    settled(&*store, owned(), RunStatus::Completed).await;
    let other = &mut connection(&database, Purpose::Write).await;
    sql(other, "BEGIN; SELECT pg_advisory_xact_lock('runs'::regclass::oid::bigint)").await;
    assert_eq!(store.prune(Duration::ZERO, 10).await.unwrap(), 0);
    sql(other, "COMMIT").await;
    assert_eq!(store.prune(Duration::ZERO, 10).await.unwrap(), 1);
}

#[tokio::test]
async fn a_batch_has_only_so_many_events_and_a_run_that_has_more_goes_alone() {
    let (database, store) = fresh().await;
    for _ in 0..4 {
        settled(&*store, owned(), RunStatus::Completed).await;
    }
    let count = "UPDATE greenroom.runs SET next_seq = CASE WHEN run_id = (SELECT min(run_id::text)::uuid FROM greenroom.runs) \
                 THEN 1000000 ELSE 6000 END";
    client(&database).await.batch_execute(count).await.unwrap();
    let mut batches = Vec::new();
    for _ in 0..4 {
        batches.push(store.prune(Duration::ZERO, 10).await.unwrap());
    }
    assert_eq!(batches, [1, 2, 1, 0]);
}

#[tokio::test]
async fn pruning_goes_by_index() {
    let (database, _store) = fresh().await;
    let conn = &mut connection(&database, Purpose::Write).await;
    assert_goes_by_index("prune", conn, PruneRuns { age_ms: 0, limit: 500 }).await;
    assert_goes_by_index("prune states", conn, PruneStates { age_ms: 0, limit: 500 }).await;
}
