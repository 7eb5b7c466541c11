//! Two processes that are after one session.

use diesel_async::RunQueryDsl;

use uuid::Uuid;

use super::{connection, fresh, open, somebody_waits, sql};
use crate::run::RunStatus::Completed;
use crate::run::{RunId, SessionPolicy};
use crate::store::conformance::samples::{self, AGENT, Attempt, id, settle, unowned};
use crate::store::postgres::PostgresOptions;
use crate::store::postgres::advance::AdvanceRuns;
use crate::store::postgres::claim::ClaimRuns;
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::connection::Connection;
use crate::store::postgres::insert::{InsertRuns, NewRow};
use crate::store::postgres::row::RunRow;
use crate::store::protocol::{Advance, InsertRun, Inserted};
use crate::store::{Claim, RunStore};

fn of(session: &str, sessions: SessionPolicy) -> InsertRun {
    InsertRun { sessions, ..samples::with(unowned(), |run| run.output.session_id = session.into()) }
}

fn insert_of(run: &InsertRun) -> InsertRuns {
    let mut insert = InsertRuns::default();
    insert.push(run).unwrap();
    insert
}

/// The run was accepted, or else refused because this one has its session.
fn assert_answer(answer: &Inserted, accepted: bool, holder: &InsertRun) {
    let is_new = matches!(answer, Inserted::New { .. });
    let is_busy = matches!(answer, Inserted::SessionBusy(run_id) if *run_id == id(holder));
    assert_eq!((is_new, is_busy), (accepted, !accepted), "{answer:?}");
}

/// Inserts, in a transaction that is not over.
async fn inserted(conn: &mut Connection, run: &InsertRun) -> usize {
    let new: Vec<NewRow> = insert_of(run).get_results(conn).await.unwrap();
    new.len()
}

/// Claims for a node of its own, in a transaction that is not over.
async fn claimed(conn: &mut Connection, store: &dyn RunStore) -> Vec<RunId> {
    let node = samples::node(store).await;
    let claim = Claim { node, agents: vec![AGENT.to_owned()], limited: Vec::new(), limit: 10 };
    let rows: Vec<RunRow> = ClaimRuns::from(claim).get_results(conn).await.unwrap();
    rows.into_iter().map(|row| row.into_taken().unwrap().run.output.run_id).collect()
}

/// Ends a run, in a transaction that is not over.
async fn ended(conn: &mut Connection, end: &Advance) {
    let mut advances = AdvanceRuns::default();
    advances.push(end).unwrap();
    let done: Vec<Uuid> = advances.get_results(conn).await.unwrap();
    assert_eq!(done, [end.run_id.as_uuid()]);
}

async fn claim_by_another(store: &dyn RunStore) -> Vec<RunId> {
    samples::taken_ids(&samples::claim(store, crate::store::NodeId::new(), 10).await)
}

/// The first one was due first, and was committed when the second one had been taken up.
#[tokio::test]
async fn of_two_claims_that_see_different_runs_of_a_session_one_gets_it() {
    for (end, taken) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut slow = connection(&database, Purpose::Write).await;
        let mut conn = connection(&database, Purpose::Write).await;
        let (first, second) = (of("s", SessionPolicy::InOrder), of("s", SessionPolicy::InOrder));

        sql(&mut slow, "BEGIN").await;
        assert_eq!(inserted(&mut slow, &first).await, 1);
        samples::submit(&*store, &second).await;
        sql(&mut conn, "BEGIN").await;
        assert_eq!(claimed(&mut conn, &*store).await, [id(&second)]);
        sql(&mut slow, "COMMIT").await;
        let other = {
            let store = store.clone();
            tokio::spawn(async move { claim_by_another(&*store).await })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        assert_eq!(other.await.unwrap() == [id(&first)], taken, "{end}");
        let left = if taken { second } else { first };
        assert_eq!(samples::facts(&*store, id(&left)).await.node, None, "{end}");
    }
}

#[tokio::test]
async fn a_claim_waits_for_no_other_and_takes_no_second_run_of_its_session() {
    for (end, left) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let (first, second) = (of("s", SessionPolicy::InOrder), of("s", SessionPolicy::InOrder));
        samples::submit(&*store, &first).await;
        samples::submit(&*store, &second).await;

        sql(&mut conn, "BEGIN").await;
        assert_eq!(claimed(&mut conn, &*store).await, [id(&first)]);
        assert!(claim_by_another(&*store).await.is_empty(), "the first is locked, and it is not the second one's turn");
        sql(&mut conn, end).await;

        assert_eq!(claim_by_another(&*store).await == [id(&first)], left, "{end}");
    }
}

#[tokio::test]
async fn a_submit_waits_for_a_claim_that_takes_its_session_and_is_refused_only_if_that_comes_to_something() {
    for (end, accepted) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let (waiting, direct) = (of("s", SessionPolicy::InOrder), of("s", SessionPolicy::Refuse));
        samples::submit(&*store, &waiting).await;

        sql(&mut conn, "BEGIN").await;
        assert_eq!(claimed(&mut conn, &*store).await, [id(&waiting)]);
        let answer = {
            let (store, direct) = (store.clone(), direct.clone());
            tokio::spawn(async move { samples::insert(&*store, &direct).await })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        assert_answer(&answer.await.unwrap(), accepted, &waiting);
        if accepted {
            assert_eq!(claim_by_another(&*store).await, [id(&direct)], "the session is taken");
        }
    }
}

#[tokio::test]
async fn the_next_run_is_taken_up_when_the_end_of_the_first_is_durable_and_not_before() {
    for (end, next) in [("COMMIT", true), ("ROLLBACK", false)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let (first, second) = (of("s", SessionPolicy::InOrder), of("s", SessionPolicy::InOrder));
        samples::submit(&*store, &first).await;
        samples::submit(&*store, &second).await;
        let mut attempt = Attempt::claimed(&*store, id(&first)).await;
        attempt.write(crate::store::protocol::Change::Start).await;

        sql(&mut conn, "BEGIN").await;
        ended(&mut conn, &attempt.next(settle(Completed))).await;
        assert!(claim_by_another(&*store).await.is_empty(), "nobody knows of the end");
        sql(&mut conn, end).await;

        assert_eq!(claim_by_another(&*store).await == [id(&second)], next, "{end}");
    }
}

#[tokio::test]
async fn a_claim_that_looked_before_the_end_takes_nothing_and_the_end_does_not_wait_for_it() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let (first, second) = (of("s", SessionPolicy::InOrder), of("s", SessionPolicy::InOrder));
    samples::submit(&*store, &first).await;
    samples::submit(&*store, &second).await;
    let mut attempt = Attempt::claimed(&*store, id(&first)).await;
    attempt.write(crate::store::protocol::Change::Start).await;

    sql(&mut conn, "BEGIN").await;
    assert!(claimed(&mut conn, &*store).await.is_empty());
    attempt.write(settle(Completed)).await;
    sql(&mut conn, "COMMIT").await;

    assert_eq!(claim_by_another(&*store).await, [id(&second)]);
}

#[tokio::test]
async fn a_submit_waits_for_the_end_of_the_run_that_has_its_session() {
    for (end, accepted) in [("COMMIT", true), ("ROLLBACK", false)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let (first, second) = (of("s", SessionPolicy::Refuse), of("s", SessionPolicy::Refuse));
        let attempt = Attempt::start(&*store, first.clone()).await;

        sql(&mut conn, "BEGIN").await;
        ended(&mut conn, &attempt.next(settle(Completed))).await;
        let answer = {
            let (store, second) = (store.clone(), second.clone());
            tokio::spawn(async move { samples::insert(&*store, &second).await })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        assert_answer(&answer.await.unwrap(), accepted, &first);
    }
}

#[tokio::test]
async fn a_submit_that_came_before_the_end_of_the_run_that_has_its_session_is_refused() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let (first, second) = (of("s", SessionPolicy::Refuse), of("s", SessionPolicy::Refuse));
    let mut attempt = Attempt::start(&*store, first).await;

    sql(&mut conn, "BEGIN").await;
    assert_eq!(inserted(&mut conn, &second).await, 0);
    attempt.write(settle(Completed)).await;
    sql(&mut conn, "COMMIT").await;

    assert!(store.get(id(&second)).await.unwrap().is_none());
    samples::submit(&*store, &second).await;
}

#[tokio::test]
async fn a_claim_that_takes_up_a_run_as_another_gets_its_session_is_tried_again_without_harm() {
    for (end, taken) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let run = of("s", SessionPolicy::InOrder);
        let others = [of("t", SessionPolicy::InOrder), unowned()];
        samples::submit(&*store, &run).await;
        for other in &others {
            samples::submit(&*store, other).await;
        }

        // Nobody can see it yet, and it is about to have the session.
        sql(&mut conn, "BEGIN").await;
        let new: Vec<NewRow> = insert_of(&of("s", SessionPolicy::Refuse)).get_results(&mut conn).await.unwrap();
        assert_eq!(new.len(), 1);
        let claimed = {
            let store = store.clone();
            tokio::spawn(async move { samples::claim(&*store, crate::store::NodeId::new(), 10).await })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        let claimed = samples::taken_ids(&claimed.await.unwrap());
        assert!(others.iter().all(|other| claimed.contains(&id(other))), "{end}");
        assert_eq!(claimed.contains(&id(&run)), taken, "{end}");
    }
}

#[tokio::test]
async fn a_submit_waits_for_another_of_its_session_and_is_refused_only_if_that_comes_to_something() {
    for (end, accepted) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let (first, second) = (of("s", SessionPolicy::Refuse), of("s", SessionPolicy::Refuse));

        sql(&mut conn, "BEGIN").await;
        let new: Vec<NewRow> = insert_of(&first).get_results(&mut conn).await.unwrap();
        assert_eq!(new.len(), 1);
        let answer = {
            let (store, second) = (store.clone(), second.clone());
            tokio::spawn(async move { samples::insert(&*store, &second).await })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        assert_answer(&answer.await.unwrap(), accepted, &first);
    }
}

#[tokio::test]
async fn two_nodes_that_claim_at_the_same_time_take_up_one_run_of_each_session() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    for place in 0..60 {
        samples::submit(&*one, &of(["a", "b", "c"][place % 3], SessionPolicy::InOrder)).await;
    }

    for _ in 0..10 {
        let node = crate::store::NodeId::new;
        let (ours, theirs) = tokio::join!(samples::claim(&*one, node(), 50), samples::claim(&*two, node(), 50));
        let mut sessions: Vec<_> =
            ours.iter().chain(&theirs).map(|taken| taken.run.output.session_id.clone()).collect();
        sessions.sort();
        sessions.dedup();
        assert_eq!(sessions.len(), ours.len() + theirs.len());
        assert!(ours.len() + theirs.len() <= 3);
        for taken in ours.iter().chain(&theirs) {
            let output = &taken.run.output;
            let end = settle(crate::run::RunStatus::Cancelled);
            samples::advance(&*one, &samples::step(output.run_id, taken.run.attempt, taken.next_seq, end))
                .await
                .unwrap();
        }
    }
}
