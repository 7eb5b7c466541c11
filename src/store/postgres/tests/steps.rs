//! Races, statement by statement: each order that two processes can come in is played.

use diesel_async::RunQueryDsl;

use super::{LIMITS, client, connection, fresh, open, somebody_waits, sql};
use crate::run::RunStatus;
use crate::store::conformance::samples::{self, id, owned, step, unowned};
use crate::store::postgres::PostgresOptions;
use crate::store::postgres::advance::AdvanceRuns;
use crate::store::postgres::cancel;
use crate::store::postgres::claim::ClaimRuns;
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::insert::{InsertRuns, NewRow};
use crate::store::postgres::row::RunRow;
use crate::store::protocol::{Cancel, CancelWritten, Change, InsertRun, Inserted, Refusal};
use crate::store::{Claim, NodeId, RunStore};

fn insert_of(run: &InsertRun) -> InsertRuns {
    let mut insert = InsertRuns::default();
    insert.push(run).unwrap();
    insert
}

fn claim_of(node: NodeId, limit: usize) -> ClaimRuns {
    ClaimRuns::from(Claim { node, agents: vec![samples::AGENT.to_owned()], limited: Vec::new(), limit })
}

async fn start(store: &dyn RunStore, run: &InsertRun) -> Result<(), Refusal> {
    samples::advance(store, &step(id(run), 1, 0, Change::Start)).await
}

#[tokio::test]
async fn an_intent_that_no_insert_could_see_keeps_the_run_from_starting() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let run = owned();

    sql(&mut conn, "BEGIN").await;
    let new: Vec<NewRow> = insert_of(&run).get_results(&mut conn).await.unwrap();
    assert!(!new[0].4, "there is no intent yet");
    assert_eq!(samples::cancel(&*store, id(&run)).await, CancelWritten::IntentStored);
    sql(&mut conn, "COMMIT").await;

    assert_eq!(start(&*store, &run).await, Err(Refusal::CancelWanted));
}

#[tokio::test]
async fn a_run_that_comes_between_the_two_looks_of_a_cancel_is_cancelled() {
    for mut run in [owned(), unowned()] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let cancels = [Cancel::from(id(&run))];

        assert!(cancel::look(&mut conn, &cancels).await.unwrap().is_empty());
        samples::submit(&*store, &run).await;
        assert_eq!(cancel::store_intents(&mut conn, &cancels, LIMITS).await.unwrap(), cancels);
        let found = cancel::look(&mut conn, &cancels).await.unwrap();

        match run.node.take() {
            Some(node) => {
                assert_eq!(found[&cancels[0]], CancelWritten::Requested(node));
                assert_eq!(start(&*store, &run).await, Err(Refusal::CancelWanted));
            }
            None => {
                assert_eq!(found[&cancels[0]], CancelWritten::Cancelled);
                assert_eq!(samples::get(&*store, id(&run)).await.output.status, RunStatus::Cancelled);
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_comes_after_the_intent_and_before_the_second_look_is_cancelled() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let run = owned();
    let cancels = [Cancel::from(id(&run))];

    assert!(cancel::look(&mut conn, &cancels).await.unwrap().is_empty());
    cancel::store_intents(&mut conn, &cancels, LIMITS).await.unwrap();
    let inserted = samples::insert(&*store, &run).await;
    assert!(matches!(inserted, Inserted::New { cancel_wanted: true, .. }), "{inserted:?}");
    assert_eq!(start(&*store, &run).await, Err(Refusal::CancelWanted));
    let found = cancel::look(&mut conn, &cancels).await.unwrap();

    assert_eq!(found[&cancels[0]], CancelWritten::Requested(run.node.unwrap()));
}

#[tokio::test]
async fn a_cancel_waits_for_a_start_and_then_finds_the_run_started() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let run = owned();
    samples::submit(&*store, &run).await;

    sql(&mut conn, "BEGIN").await;
    let mut starts = AdvanceRuns::default();
    starts.push(&step(id(&run), 1, 0, Change::Start)).unwrap();
    let started: Vec<uuid::Uuid> = starts.get_results(&mut conn).await.unwrap();
    assert_eq!(started.len(), 1);
    let other = open(PostgresOptions::new(database.url())).await.unwrap();
    let run_id = id(&run);
    let cancelled = tokio::spawn(async move { samples::cancel(&*other, run_id).await });
    somebody_waits(&database).await;
    sql(&mut conn, "COMMIT").await;

    assert_eq!(cancelled.await.unwrap(), CancelWritten::Requested(run.node.unwrap()));
    let facts = samples::facts(&*store, run_id).await;
    assert_eq!((facts.status, facts.cancel_wanted), (RunStatus::Running, true));
    assert_eq!(store.cancel_requests(run.node.unwrap()).await.unwrap(), [run_id]);
}

#[tokio::test]
async fn a_start_waits_for_a_cancel_and_is_then_refused() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let run = owned();
    samples::submit(&*store, &run).await;

    sql(&mut conn, "BEGIN").await;
    cancel::look(&mut conn, &[id(&run).into()]).await.unwrap();
    let waiting = {
        let (store, run) = (store.clone(), run.clone());
        tokio::spawn(async move { start(&*store, &run).await })
    };
    somebody_waits(&database).await;
    sql(&mut conn, "COMMIT").await;

    assert_eq!(waiting.await.unwrap(), Err(Refusal::CancelWanted));
    assert_eq!(samples::facts(&*store, id(&run)).await.starts, 0);
}

#[tokio::test]
async fn a_claim_and_a_cancel_of_one_waiting_run_do_not_both_have_it() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let (node, claim) = (NodeId::new(), |node: NodeId| claim_of(node, 10));

    // The cancel first: the claim passes the run over.
    let run = unowned();
    samples::submit(&*store, &run).await;
    sql(&mut conn, "BEGIN").await;
    let found = cancel::look(&mut conn, &[id(&run).into()]).await.unwrap();
    assert_eq!(found[&id(&run).into()], CancelWritten::Cancelled);
    assert!(samples::claim(&*store, node, 10).await.is_empty());
    sql(&mut conn, "COMMIT").await;

    // The claim first: the cancel waits, and leaves a request to the node that has it.
    let run = unowned();
    samples::submit(&*store, &run).await;
    sql(&mut conn, "BEGIN").await;
    let taken: Vec<RunRow> = claim(node).get_results(&mut conn).await.unwrap();
    assert_eq!(taken.len(), 1);
    let run_id = id(&run);
    let cancelled = {
        let store = store.clone();
        tokio::spawn(async move { samples::cancel(&*store, run_id).await })
    };
    somebody_waits(&database).await;
    sql(&mut conn, "COMMIT").await;
    assert_eq!(cancelled.await.unwrap(), CancelWritten::Requested(node));
}

#[tokio::test]
async fn an_insert_waits_for_another_of_the_same_id_and_takes_its_place_only_if_that_comes_to_nothing() {
    for (end, is_new) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let run = owned();

        sql(&mut conn, "BEGIN").await;
        let first: Vec<NewRow> = insert_of(&run).get_results(&mut conn).await.unwrap();
        assert_eq!(first.len(), 1);
        let second = {
            let (store, run) = (store.clone(), run.clone());
            tokio::spawn(async move { samples::insert(&*store, &run).await })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        let second = second.await.unwrap();
        assert_eq!(matches!(second, Inserted::New { .. }), is_new, "{end}: {second:?}");
        assert_eq!(matches!(second, Inserted::Existing { .. }), !is_new, "{end}: {second:?}");
    }
}

#[tokio::test]
async fn an_insert_waits_for_another_with_its_key_and_takes_its_place_only_if_that_comes_to_nothing() {
    for (end, is_new) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let keyed = || InsertRun {
            fingerprint: [1; 32],
            ..samples::with(owned(), |run| run.idempotency_key = Some("k".to_owned()))
        };
        let (first, second) = (keyed(), keyed());

        sql(&mut conn, "BEGIN").await;
        let new: Vec<NewRow> = insert_of(&first).get_results(&mut conn).await.unwrap();
        assert_eq!(new.len(), 1);
        let answer = {
            let (store, second) = (store.clone(), second.clone());
            tokio::spawn(async move { samples::insert(&*store, &second).await })
        };
        somebody_waits(&database).await;
        sql(&mut conn, end).await;

        match answer.await.unwrap() {
            Inserted::New { run, .. } if is_new => assert_eq!(run.output.run_id, id(&second)),
            Inserted::Existing { run, .. } if !is_new => assert_eq!(run.output.run_id, id(&first)),
            other => panic!("{end}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_claim_passes_over_what_another_is_just_taking() {
    let (database, store) = fresh().await;
    let mut conn = connection(&database, Purpose::Write).await;
    let runs: Vec<InsertRun> = (0..10).map(|_| unowned()).collect();
    samples::write_all(&*store, super::inserts(&runs)).await;

    let node = samples::node(&*store).await;

    sql(&mut conn, "BEGIN").await;
    let claim = claim_of(node, 5);
    let first: Vec<RunRow> = claim.get_results(&mut conn).await.unwrap();
    let second = samples::claim(&*store, NodeId::new(), 10).await;
    sql(&mut conn, "COMMIT").await;

    assert_eq!((first.len(), second.len()), (5, 5));
    let firsts: Vec<_> = first.iter().map(|row| row.run_id).collect();
    assert!(samples::taken_ids(&second).iter().all(|taken| !firsts.contains(&taken.as_uuid())));
}

#[tokio::test]
async fn two_batches_that_meet_the_same_rows_in_any_order_do_not_deadlock() {
    let (database, store) = fresh().await;
    let other = open(PostgresOptions::new(database.url())).await.unwrap();
    let runs: Vec<InsertRun> = (0..100).map(|_| owned()).collect();
    let mut reversed = runs.clone();
    reversed.reverse();

    for _ in 0..5 {
        let (one, two) = tokio::join!(
            store.write(0, super::inserts(&runs).into()),
            other.write(0, super::inserts(&reversed).into())
        );
        assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    }

    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(client(&database).await.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
}
