//! Continues that meet other continues, cancels and sweeps: each order that two processes can come in is played.

use std::time::Duration;

use super::{client, connection, fresh, open, sessions_wait, somebody_waits, sql};
use crate::run::{FailureKind, RunId, RunStatus};
use crate::store::RunStore;
use crate::store::conformance::samples::{self, Attempt, confirmed, owned, pause};
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::connection::Connection;
use crate::store::postgres::{PostgresOptions, cancel, overdue, resume};
use crate::store::protocol::pause::ContinueRefusal;
use crate::store::protocol::{Cancel, CancelWritten};

/// A run that waits for people for so long.
async fn paused(store: &dyn RunStore, timeout: Option<Duration>) -> RunId {
    let mut attempt = Attempt::start(store, owned()).await;
    attempt.write(pause(timeout)).await;
    attempt.run_id
}

/// Locks the row, as everything does that changes it.
async fn lock(conn: &mut Connection, run_id: RunId) {
    sql(conn, "BEGIN").await;
    sql(conn, &format!("SELECT FROM runs WHERE run_id = '{run_id}' FOR UPDATE")).await;
}

#[tokio::test]
async fn the_second_of_two_continues_waits_for_the_first_and_is_refused() {
    let (database, store) = fresh().await;
    let run_id = paused(&*store, None).await;
    let mut conn = connection(&database, Purpose::Write).await;
    lock(&mut conn, run_id).await;
    let continues = [(); 2].map(|()| {
        let url = database.url().to_owned();
        tokio::spawn(async move {
            let store = open(PostgresOptions::new(url)).await.unwrap();
            samples::resume(&*store, &confirmed(run_id)).await
        })
    });
    sessions_wait(&database, 2).await;
    sql(&mut conn, "COMMIT").await;

    let mut answers = Vec::new();
    for one in continues {
        answers.push(one.await.unwrap());
    }
    let refused = Err(ContinueRefusal::NotPaused(RunStatus::Pending));
    assert!(answers.contains(&Ok(())) && answers.contains(&refused), "{answers:?}");
    assert_eq!(samples::events(&*store, run_id).await.len(), 3);
}

#[tokio::test]
async fn a_continue_that_waits_for_a_cancel_is_refused() {
    let (database, store) = fresh().await;
    let run_id = paused(&*store, None).await;
    let mut conn = connection(&database, Purpose::Write).await;
    sql(&mut conn, "BEGIN").await;
    let found = cancel::look(&mut conn, &[Cancel::from(run_id)]).await.unwrap();
    assert_eq!(found[&Cancel::from(run_id)], CancelWritten::CancelledPaused);
    let other = store.clone();
    let continued = tokio::spawn(async move { samples::resume(&*other, &confirmed(run_id)).await });
    somebody_waits(&database).await;
    sql(&mut conn, "COMMIT").await;

    assert_eq!(continued.await.unwrap(), Err(ContinueRefusal::NotPaused(RunStatus::Cancelled)));
    assert_eq!(samples::events(&*store, run_id).await.len(), 3);
}

/// Continues a run over `conn` up to its commit, which is left out.
async fn continue_halfway(conn: &mut Connection, run_id: RunId) {
    let asked = confirmed(run_id);
    sql(conn, "BEGIN").await;
    resume::resume_locked(conn, &[&asked]).await.unwrap();
}

#[tokio::test]
async fn a_cancel_that_waits_for_a_continue_cancels_the_run_that_waits_again() {
    let (database, store) = fresh().await;
    let run_id = paused(&*store, None).await;
    let mut conn = connection(&database, Purpose::Write).await;
    continue_halfway(&mut conn, run_id).await;
    let other = store.clone();
    let cancelled = tokio::spawn(async move { samples::cancel(&*other, run_id).await });
    somebody_waits(&database).await;
    sql(&mut conn, "COMMIT").await;

    assert_eq!(cancelled.await.unwrap(), CancelWritten::Cancelled);
    let output = samples::get(&*store, run_id).await.output;
    assert_eq!((output.status, output.paused_at), (RunStatus::Cancelled, None));
    let log = samples::events(&*store, run_id).await;
    assert!(log.iter().enumerate().all(|(place, event)| event.seq == place as u64) && log.len() == 4, "{log:?}");
}

#[tokio::test]
async fn a_sweep_passes_over_what_is_just_being_continued_and_then_finds_nothing() {
    let (database, store) = fresh().await;
    let run_id = paused(&*store, Some(Duration::from_secs(3600))).await;
    let mut conn = connection(&database, Purpose::Write).await;
    continue_halfway(&mut conn, run_id).await;
    assert!(store.settle_overdue(100).await.unwrap().is_empty());
    sql(&mut conn, "COMMIT").await;

    assert!(store.settle_overdue(100).await.unwrap().is_empty());
    assert_eq!(samples::get(&*store, run_id).await.output.status, RunStatus::Pending);
}

#[tokio::test]
async fn a_continue_that_waits_for_a_sweep_finds_the_run_expired() {
    let (database, store) = fresh().await;
    let run_id = paused(&*store, Some(Duration::ZERO)).await;
    let mut conn = connection(&database, Purpose::Write).await;
    lock(&mut conn, run_id).await;
    assert!(store.settle_overdue(100).await.unwrap().is_empty(), "somebody has the row");
    let other = store.clone();
    let continued = tokio::spawn(async move { samples::resume(&*other, &confirmed(run_id)).await });
    somebody_waits(&database).await;
    sql(&mut conn, "COMMIT").await;
    // Whether the sweep or the continue comes first, the run expires, once.
    let swept = overdue::settle_overdue(&mut conn, 100).await.unwrap();

    assert_eq!(continued.await.unwrap(), Err(ContinueRefusal::NotPaused(RunStatus::Error)));
    assert!(swept.is_empty() || swept == [(run_id, RunStatus::Paused)]);
    let output = samples::get(&*store, run_id).await.output;
    assert_eq!(output.error.unwrap().kind, FailureKind::PauseTimeout);
    assert_eq!(samples::events(&*store, run_id).await.len(), 3);
}

#[tokio::test]
async fn however_two_continues_and_a_cancel_meet_the_log_tells_of_one_outcome() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let run_id = paused(&*one, None).await;
        let (asked, other) = (confirmed(run_id), confirmed(run_id));
        let (a, b, cancelled) = tokio::join!(
            samples::resume(&*one, &asked),
            samples::resume(&*two, &other),
            samples::cancel(&*two, run_id)
        );
        let was_paused = cancelled == CancelWritten::CancelledPaused;
        assert_eq!(was_paused, a.is_err() && b.is_err(), "{cancelled:?}");
        assert!(!(a.is_ok() && b.is_ok()), "both were heard");
        let log = samples::events(&*one, run_id).await;
        let continued = usize::from(a.is_ok() || b.is_ok());
        assert_eq!(log.len(), 3 + continued, "{a:?} {b:?} {log:?}");
        assert_eq!(samples::get(&*one, run_id).await.output.status, RunStatus::Cancelled);
        seen.insert(continued);
    }
    println!("continued before the cancel: {seen:?}");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(client(&database).await.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
}
