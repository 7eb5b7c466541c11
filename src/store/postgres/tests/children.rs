//! Children, against what happens to the runs above them in the same moment.

use std::sync::Arc;

use diesel_async::RunQueryDsl;

use super::{connection, fresh, somebody_waits, sql};
use crate::run::RunStatus::Error;
use crate::store::RunQuery;
use crate::store::conformance::samples::{self, Attempt, child_of, heir_of, id, ids, owned, settle};
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::insert::{InsertRuns, NewRow};
use crate::store::protocol::{Change, InsertRun, Inserted};

#[tokio::test]
async fn who_resumes_a_failed_run_waits_for_the_child_that_it_was_just_submitting() {
    for (end, is_there) in [("COMMIT", true), ("ROLLBACK", false)] {
        let (database, store) = fresh().await;
        let mut slow = connection(&database, Purpose::Write).await;
        let mut parent = Attempt::start(&*store, owned()).await;
        let child = child_of(&parent);
        let mut insert = InsertRuns::default();
        insert.push(&child).unwrap();
        sql(&mut slow, "BEGIN").await;
        let new: Vec<NewRow> = insert.get_results(&mut slow).await.unwrap();
        assert_eq!(new.len(), 1);

        // The parent itself waits for nothing.
        parent.write(settle(Error)).await;
        let heir = heir_of(parent.run_id);
        let resumed = tokio::spawn({
            let (store, heir) = (Arc::clone(&store), heir.clone());
            async move { samples::insert(&*store, &heir).await }
        });
        somebody_waits(&database).await;
        sql(&mut slow, end).await;

        let resumed = resumed.await.unwrap();
        assert!(matches!(resumed, Inserted::New { .. }), "{resumed:?}");
        let children = store.list(RunQuery::new().parent_run_id(id(&heir))).await.unwrap();
        assert_eq!(ids(&children), Vec::from_iter(is_there.then_some(id(&child))), "{end}");
    }
}

#[tokio::test]
async fn a_start_that_has_waited_for_its_row_passes_when_nothing_above_it_was_cancelled() {
    let (database, store) = fresh().await;
    let mut other = connection(&database, Purpose::Write).await;
    let mut lowest = Attempt::start(&*store, owned()).await;
    for _ in 0..3 {
        lowest = Attempt::start(&*store, InsertRun { node: owned().node, ..child_of(&lowest) }).await;
    }
    let lowest = Attempt::submit(&*store, InsertRun { node: owned().node, ..child_of(&lowest) }).await;
    sql(&mut other, "BEGIN").await;
    sql(&mut other, &format!("UPDATE runs SET priority = 7 WHERE run_id = '{}'", lowest.run_id)).await;

    let start = lowest.next(Change::Start);
    let started = tokio::spawn({
        let store = Arc::clone(&store);
        async move { samples::advance(&*store, &start).await }
    });
    somebody_waits(&database).await;
    sql(&mut other, "COMMIT").await;

    assert_eq!(started.await.unwrap(), Ok(()));
}
