//! Two stores on one database, each at full speed.

use std::collections::HashSet;

use super::{fresh, inserts, open};
use crate::run::{RunStatus, SessionPolicy};
use crate::store::NodeId;
use crate::store::conformance::samples::{self, Attempt, id, owned, settle, step, unowned};
use crate::store::postgres::PostgresOptions;
use crate::store::protocol::{CancelWritten, Change, InsertRun, Inserted, Refusal, Write, Written};
use crate::test_postgres::{Database, fresh_database};

#[tokio::test]
async fn of_two_submits_of_one_run_one_is_new_and_the_other_finds_it() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    for _ in 0..50 {
        let run = owned();
        let answers = tokio::join!(samples::insert(&*one, &run), samples::insert(&*two, &run));
        let is_new = |answer: &Inserted| matches!(answer, Inserted::New { .. });
        let is_old = |answer: &Inserted| matches!(answer, Inserted::Existing { node, .. } if *node == run.node);
        let (first, second) = &answers;
        assert!(is_new(first) && is_old(second) || is_old(first) && is_new(second), "{answers:?}");
    }
}

#[tokio::test]
async fn of_submits_with_one_key_in_two_processes_one_is_new_and_all_are_answered_with_it() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    for round in 0..50 {
        // Each process submits the same ten keys, in an order of its own.
        let batch = |reversed: bool| {
            let mut runs: Vec<InsertRun> = (0..10)
                .map(|place| {
                    let key = format!("{round} {}", if reversed { 9 - place } else { place });
                    let run = samples::with(owned(), |run| run.idempotency_key = Some(key));
                    InsertRun { fingerprint: [1; 32], ..run }
                })
                .collect();
            runs.sort_by_key(id);
            runs
        };
        let (ours, theirs) = (batch(false), batch(true));
        let (a, b) =
            tokio::join!(samples::write_all(&*one, inserts(&ours)), samples::write_all(&*two, inserts(&theirs)));
        let mut winners = std::collections::HashMap::new();
        let mut new = 0;
        for (asked, written) in ours.iter().chain(&theirs).zip(a.iter().chain(&b)) {
            let Written::Insert(Inserted::New { run, .. } | Inserted::Existing { run, .. }) = written else {
                panic!("{written:?}")
            };
            new += usize::from(matches!(written, Written::Insert(Inserted::New { .. })));
            let winner = winners.entry(asked.run.idempotency_key.clone()).or_insert(run.output.run_id);
            assert_eq!(*winner, run.output.run_id);
        }
        assert_eq!(new, 10);
    }
    assert_eq!(deadlocks(&database).await, 0);
}

async fn deadlocks(database: &Database) -> i64 {
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    super::client(database).await.query_one(deadlocks, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn of_submits_to_one_session_in_two_processes_one_is_accepted_and_none_waits_for_the_other_in_a_circle() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    for round in 0..50 {
        // Each process submits to the same sessions, in an order of its own.
        let batch = |reversed: bool| {
            let of = |place: usize| {
                let session = format!("{round} {}", if reversed { 99 - place } else { place });
                InsertRun {
                    sessions: SessionPolicy::Refuse,
                    ..samples::with(owned(), |run| run.output.session_id = session.into())
                }
            };
            (0..100).map(of).collect::<Vec<_>>()
        };
        let (ours, theirs) = (inserts(&batch(false)), inserts(&batch(true)));
        let (a, b) = tokio::join!(samples::write_all(&*one, ours), samples::write_all(&*two, theirs));
        let is_new = |written: &&Written| matches!(written, Written::Insert(Inserted::New { .. }));
        assert_eq!(a.iter().chain(&b).filter(is_new).count(), 100);
    }
    assert_eq!(deadlocks(&database).await, 0);
}

#[tokio::test]
async fn cancels_and_advances_of_the_same_runs_in_two_processes_do_not_wait_for_each_other_in_a_circle() {
    let database = fresh_database().await;
    // So many rows are found as they are in large tables: in the order in which they lie there.
    let as_they_lie =
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET enable_indexscan = off'; END $$";
    super::client(&database).await.batch_execute(as_they_lie).await.unwrap();
    let one = open(PostgresOptions::new(database.url())).await.unwrap();
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    let mut runs: Vec<InsertRun> = (0..500).map(|_| owned()).collect();
    // Not in the order of their ids.
    runs.reverse();
    let mut attempts = Vec::new();
    for run in runs {
        attempts.push(Attempt::start(&*two, run).await);
    }
    let cancels: Vec<Write> = attempts.iter().map(|attempt| Write::Cancel(attempt.run_id.into())).collect();
    for _ in 0..30 {
        let appends: Vec<Write> =
            attempts.iter().map(|attempt| Write::Advance(Box::new(attempt.next(Change::Append)))).collect();
        let (_, appended) =
            tokio::join!(samples::write_all(&*one, cancels.clone()), samples::write_all(&*two, appends));
        assert!(appended.iter().all(|written| matches!(written, Written::Advance(Ok(())))));
        attempts.iter_mut().for_each(|attempt| attempt.next_seq += 1);
    }
    assert_eq!(deadlocks(&database).await, 0);
}

#[tokio::test]
async fn two_nodes_that_claim_at_the_same_time_take_no_run_twice_and_leave_none() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    let runs: Vec<InsertRun> = (0..300).map(|_| unowned()).collect();
    samples::write_all(&*one, inserts(&runs)).await;

    let claim_all = async |store: &dyn crate::store::RunStore| {
        let (node, mut taken) = (samples::node(store).await, Vec::new());
        loop {
            let more = samples::claim_again(store, node, 7).await;
            if more.is_empty() {
                return taken;
            }
            taken.extend(samples::taken_ids(&more));
        }
    };
    let (mut taken, also) = tokio::join!(claim_all(&*one), claim_all(&*two));
    // One that was locked when both looked may have been passed over by both.
    taken.extend(also);
    taken.extend(claim_all(&*one).await);

    assert_eq!(taken.len(), 300);
    assert_eq!(taken.into_iter().collect::<HashSet<_>>().len(), 300);
}

#[tokio::test]
async fn however_a_submit_and_a_cancel_meet_the_run_does_not_start() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    for _ in 0..200 {
        let run = owned();
        let (inserted, cancelled) = tokio::join!(samples::insert(&*one, &run), samples::cancel(&*two, id(&run)));
        assert!(matches!(inserted, Inserted::New { .. }), "{inserted:?}");
        let node = run.node.unwrap();
        assert!([CancelWritten::IntentStored, CancelWritten::Requested(node)].contains(&cancelled), "{cancelled:?}");

        let start = samples::advance(&*one, &step(id(&run), 1, 0, Change::Start)).await;
        assert_eq!(start, Err(Refusal::CancelWanted), "the cancel was answered {cancelled:?}");
        // Its intent goes with it: there are only so many.
        let end = step(id(&run), 1, 0, settle(RunStatus::Cancelled));
        assert_eq!(samples::advance(&*one, &end).await, Ok(()));
    }
}

#[tokio::test]
async fn however_a_start_and_a_cancel_meet_one_of_them_knows_of_the_other() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url())).await.unwrap();
    let mut outcomes = HashSet::new();
    for _ in 0..200 {
        let run = owned();
        samples::submit(&*one, &run).await;
        let start = step(id(&run), 1, 0, Change::Start);
        let (started, cancelled) = tokio::join!(samples::advance(&*one, &start), samples::cancel(&*two, id(&run)));

        assert_eq!(cancelled, CancelWritten::Requested(run.node.unwrap()));
        let status = samples::get(&*one, id(&run)).await.output.status;
        match started {
            Ok(()) => assert_eq!(status, RunStatus::Running),
            Err(refusal) => assert_eq!((refusal, status), (Refusal::CancelWanted, RunStatus::Pending)),
        }
        assert_eq!(one.cancel_requests(run.node.unwrap()).await.unwrap(), [id(&run)]);
        outcomes.insert(started.is_ok());
    }
    println!("outcomes seen: {outcomes:?}");
}

#[tokio::test]
async fn two_schemas_of_one_database_know_nothing_of_each_other() {
    let (database, one) = fresh().await;
    let two = open(PostgresOptions::new(database.url()).schema("other")).await.unwrap();
    let run = unowned();

    samples::submit(&*one, &run).await;

    assert!(two.get(id(&run)).await.unwrap().is_none());
    assert!(samples::claim(&*two, NodeId::new(), 10).await.is_empty());
    assert_eq!(samples::cancel(&*two, id(&run)).await, CancelWritten::IntentStored);
    assert_eq!(samples::claim(&*one, NodeId::new(), 10).await.len(), 1);
    let start = samples::advance(&*one, &step(id(&run), 1, 0, Change::Start)).await;
    assert_eq!(start, Ok(()), "the other one's intent is none of its business");
}
