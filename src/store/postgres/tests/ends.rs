//! A cancel and the end of a run, statement by statement, in both orders: one of them wins, and both know which.

use std::sync::Arc;

use diesel_async::RunQueryDsl;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{connection, fresh, somebody_waits, sql};
use crate::run::RunStatus::{self, Cancelled, Completed, Error, Running};
use crate::store::RunStore;
use crate::store::conformance::samples::{self, Attempt, id, owned, settle, unowned};
use crate::store::postgres::advance::AdvanceRuns;
use crate::store::postgres::cancel;
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::connection::Connection;
use crate::store::protocol::{Advance, CancelWritten, Change, Refusal};

/// Runs the statement of this one write; whether its guard let it pass.
async fn passes(conn: &mut Connection, step: &Advance) -> bool {
    let mut advances = AdvanceRuns::default();
    advances.push(step).unwrap();
    let done: Vec<Uuid> = advances.get_results(conn).await.unwrap();
    done == [step.run_id.as_uuid()]
}

fn cancel_of(store: &Arc<dyn RunStore>, step: &Advance) -> JoinHandle<CancelWritten> {
    let (store, run_id) = (Arc::clone(store), step.run_id);
    tokio::spawn(async move { samples::cancel(&*store, run_id).await })
}

fn write_of(store: &Arc<dyn RunStore>, step: &Advance) -> JoinHandle<Result<(), Refusal>> {
    let (store, step) = (Arc::clone(store), step.clone());
    tokio::spawn(async move { samples::advance(&*store, &step).await })
}

/// The run has settled with this status, and its log tells so once.
async fn assert_ended(store: &dyn RunStore, step: &Advance, status: RunStatus) {
    assert_eq!(samples::get(store, step.run_id).await.output.status, status);
    let log = samples::events(store, step.run_id).await;
    assert_eq!(log.iter().filter(|event| event.is_terminal()).count(), 1, "{log:?}");
    assert!(log.last().unwrap().is_terminal());
    assert!(log.iter().map(|event| event.seq).eq(0..log.len() as u64));
}

#[tokio::test]
async fn a_cancel_waits_for_the_end_of_a_run_and_then_says_how_it_ended() {
    for status in [Completed, Error, Cancelled] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let end = Attempt::start(&*store, owned()).await.next(settle(status));

        sql(&mut conn, "BEGIN").await;
        assert!(passes(&mut conn, &end).await);
        let cancelled = cancel_of(&store, &end);
        somebody_waits(&database).await;
        sql(&mut conn, "COMMIT").await;

        assert_eq!(cancelled.await.unwrap(), CancelWritten::Settled(status));
        assert_ended(&*store, &end, status).await;
        assert!(!samples::facts(&*store, end.run_id).await.cancel_wanted, "nothing is asked of a run that has settled");
    }
}

#[tokio::test]
async fn a_cancel_that_waits_for_an_end_that_comes_to_nothing_is_a_request() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let run = owned();
    let end = Attempt::start(&*store, run.clone()).await.next(settle(Completed));

    sql(&mut conn, "BEGIN").await;
    assert!(passes(&mut conn, &end).await);
    let cancelled = cancel_of(&store, &end);
    somebody_waits(&database).await;
    sql(&mut conn, "ROLLBACK").await;

    assert_eq!(cancelled.await.unwrap(), CancelWritten::Requested(run.node.unwrap()));
    let row = samples::facts(&*store, end.run_id).await;
    assert_eq!((row.status, row.cancel_wanted), (Running, true));
}

#[tokio::test]
async fn an_end_waits_for_a_cancel_and_then_still_settles_the_run_of_its_own() {
    for status in [Completed, Cancelled] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let run = owned();
        let end = Attempt::start(&*store, run.clone()).await.next(settle(status));

        sql(&mut conn, "BEGIN").await;
        let found = cancel::look(&mut conn, &[id(&run).into()]).await.unwrap();
        assert_eq!(found[&id(&run).into()], CancelWritten::Requested(run.node.unwrap()));
        let ended = write_of(&store, &end);
        somebody_waits(&database).await;
        sql(&mut conn, "COMMIT").await;

        // The request was answered as one: the run ends as cancelled unless it settles first.
        assert_eq!(ended.await.unwrap(), Ok(()));
        assert_ended(&*store, &end, status).await;
    }
}

/// The attempt has given the run back, and does not know: its answer was lost.
#[tokio::test]
async fn an_end_that_waits_for_the_cancel_of_a_run_that_nobody_has_is_refused() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let mut attempt = Attempt::start(&*store, owned()).await;
    let late = attempt.next(settle(Completed));
    attempt.write(Change::HandBack).await;

    sql(&mut conn, "BEGIN").await;
    let found = cancel::look(&mut conn, &[late.run_id.into()]).await.unwrap();
    assert_eq!(found[&late.run_id.into()], CancelWritten::Cancelled);
    // Nobody has the run before the cancel and after it, so there is nothing to wait for.
    assert_eq!(samples::advance(&*store, &late).await, Err(Refusal::Fenced));
    sql(&mut conn, "COMMIT").await;

    assert_eq!(samples::advance(&*store, &late).await, Err(Refusal::Settled(Cancelled)));
    assert_ended(&*store, &late, Cancelled).await;
}

#[tokio::test]
async fn of_two_cancels_of_a_run_that_nobody_has_the_second_finds_it_cancelled() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let run = unowned();
    samples::submit(&*store, &run).await;
    let any = samples::step(id(&run), 0, 0, settle(Cancelled));

    sql(&mut conn, "BEGIN").await;
    cancel::look(&mut conn, &[id(&run).into()]).await.unwrap();
    let second = cancel_of(&store, &any);
    somebody_waits(&database).await;
    sql(&mut conn, "COMMIT").await;

    assert_eq!(second.await.unwrap(), CancelWritten::Settled(Cancelled));
    assert_ended(&*store, &any, Cancelled).await;
}
