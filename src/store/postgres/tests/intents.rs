//! A cancel, a submit and a start of one id on three connections, statement by statement: the cancel sees the run, or the
//! start sees the intent, whichever was committed first.

use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{LIMITS, connection, fresh, somebody_waits, sql};
use crate::run::RunStatus::{Cancelled, Pending, Running};
use crate::store::conformance::samples::{self, Attempt, id, owned, settle, step, unowned};
use crate::store::postgres::advance::AdvanceRuns;
use crate::store::postgres::cancel;
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::connection::Connection;
use crate::store::postgres::insert::{InsertRuns, NewRow};
use crate::store::protocol::{CancelWritten, Change, InsertRun, Refusal};

async fn insert(conn: &mut Connection, run: &InsertRun) {
    let mut insert = InsertRuns::default();
    insert.push(run).unwrap();
    let new: Vec<NewRow> = insert.get_results(conn).await.unwrap();
    assert_eq!(new.len(), 1);
}

/// Whether the start passes its guard.
async fn starts(conn: &mut Connection, run: &InsertRun) -> bool {
    let mut advance = AdvanceRuns::default();
    advance.push(&step(id(run), 1, 0, Change::Start)).unwrap();
    let started: Vec<Uuid> = advance.get_results(conn).await.unwrap();
    !started.is_empty()
}

async fn stores_intent(conn: &mut Connection, run: &InsertRun) {
    let intents = [id(run).into()];
    assert_eq!(cancel::store_intents(conn, &intents, LIMITS).await.unwrap(), intents);
}

async fn looks(conn: &mut Connection, run: &InsertRun) -> Option<CancelWritten> {
    let wanted = id(run).into();
    cancel::look(conn, std::slice::from_ref(&wanted)).await.unwrap().remove(&wanted)
}

#[tokio::test]
async fn a_start_that_could_not_see_the_intent_is_seen_by_the_cancel() {
    let (database, store) = fresh().await;
    let mut cancels = connection(&database, Purpose::Write).await;
    let mut starter = connection(&database, Purpose::Write).await;
    let run = owned();

    assert_eq!(looks(&mut cancels, &run).await, None);
    sql(&mut cancels, "BEGIN").await;
    stores_intent(&mut cancels, &run).await;
    samples::submit(&*store, &run).await;
    assert!(starts(&mut starter, &run).await, "the intent is not committed yet");
    sql(&mut cancels, "COMMIT").await;

    assert_eq!(looks(&mut cancels, &run).await, Some(CancelWritten::Requested(run.node.unwrap())));
    assert_eq!(store.cancel_requests(run.node.unwrap()).await.unwrap(), [id(&run)]);
}

#[tokio::test]
async fn a_start_after_the_intent_is_refused_though_the_cancel_has_seen_no_run() {
    let (database, store) = fresh().await;
    let mut inserts = connection(&database, Purpose::Write).await;
    let mut cancels = connection(&database, Purpose::Write).await;
    let mut starter = connection(&database, Purpose::Write).await;
    let run = owned();

    sql(&mut inserts, "BEGIN").await;
    insert(&mut inserts, &run).await;
    assert_eq!(looks(&mut cancels, &run).await, None);
    stores_intent(&mut cancels, &run).await;
    assert_eq!(looks(&mut cancels, &run).await, None, "the run is not committed yet");
    sql(&mut inserts, "COMMIT").await;

    assert!(!starts(&mut starter, &run).await);
    let row = samples::facts(&*store, id(&run)).await;
    assert_eq!((row.status, row.starts, row.cancel_wanted), (Pending, 0, true));
}

/// The second look meets a start that is not committed yet, and waits for what becomes of it.
#[tokio::test]
async fn the_second_look_of_a_cancel_waits_for_a_start() {
    for (end, status) in [("COMMIT", Running), ("ROLLBACK", Pending)] {
        let (database, store) = fresh().await;
        let mut cancels = connection(&database, Purpose::Write).await;
        let mut starter = connection(&database, Purpose::Write).await;
        let run = owned();

        assert_eq!(looks(&mut cancels, &run).await, None);
        samples::submit(&*store, &run).await;
        sql(&mut starter, "BEGIN").await;
        assert!(starts(&mut starter, &run).await);
        stores_intent(&mut cancels, &run).await;
        let (found, ()) = tokio::join!(looks(&mut cancels, &run), async {
            somebody_waits(&database).await;
            sql(&mut starter, end).await;
        });

        assert_eq!(found, Some(CancelWritten::Requested(run.node.unwrap())), "{end}");
        let row = samples::facts(&*store, id(&run)).await;
        assert_eq!((row.status, row.cancel_wanted), (status, true), "{end}");
        assert!(!starts(&mut starter, &run).await, "{end}");
    }
}

/// The run was inserted for anybody: it is claimed, not started, and its end spends the intent.
#[tokio::test]
async fn a_claimed_run_is_not_started_after_an_intent_that_its_insert_could_not_see() {
    let (database, store) = fresh().await;
    let mut inserts = connection(&database, Purpose::Write).await;
    let run = unowned();

    sql(&mut inserts, "BEGIN").await;
    insert(&mut inserts, &run).await;
    assert_eq!(samples::cancel(&*store, id(&run)).await, CancelWritten::IntentStored);
    sql(&mut inserts, "COMMIT").await;

    let mut claimed = Attempt::claimed(&*store, id(&run)).await;
    assert_eq!(claimed.try_write(Change::Start).await, Err(Refusal::CancelWanted));
    claimed.write(settle(Cancelled)).await;
    assert_eq!(samples::get(&*store, id(&run)).await.output.status, Cancelled);
    assert!(!samples::facts(&*store, id(&run)).await.cancel_wanted, "the intent is spent");
}

/// Two cancels and a submit: whichever of the cancels sees the run, the run does not start.
#[tokio::test]
async fn two_cancels_before_the_run_exists_are_one() {
    let (database, store) = fresh().await;
    let mut first = connection(&database, Purpose::Write).await;
    let mut inserts = connection(&database, Purpose::Write).await;
    let run = owned();

    sql(&mut first, "BEGIN").await;
    stores_intent(&mut first, &run).await;
    let second = {
        let (store, run_id) = (store.clone(), id(&run));
        tokio::spawn(async move { samples::cancel(&*store, run_id).await })
    };
    somebody_waits(&database).await;
    insert(&mut inserts, &run).await;
    sql(&mut first, "COMMIT").await;

    assert_eq!(second.await.unwrap(), CancelWritten::Requested(run.node.unwrap()));
    assert_eq!(looks(&mut first, &run).await, Some(CancelWritten::Requested(run.node.unwrap())));
    assert!(!starts(&mut first, &run).await);
}
