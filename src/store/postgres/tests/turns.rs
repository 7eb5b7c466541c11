//! Two processes that are after one session.

use diesel_async::RunQueryDsl;

use super::{connection, fresh, open, somebody_waits, sql};
use crate::run::{RunId, RunStatus, SessionPolicy};
use crate::store::conformance::samples::{self, id, unowned};
use crate::store::postgres::PostgresOptions;
use crate::store::postgres::advance::AdvanceRuns;
use crate::store::postgres::claim::ClaimRuns;
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::connection::Connection;
use crate::store::postgres::insert::{InsertRuns, NewRow};
use crate::store::postgres::row::RunRow;
use crate::store::protocol::{InsertRun, Inserted};
use crate::store::{Claim, NodeId};

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

/// What a claim on this connection takes up.
async fn claimed(conn: &mut Connection, node: NodeId) -> Vec<RunId> {
    let claim = Claim { node, agents: vec![samples::AGENT.to_owned()], limited: Vec::new(), limit: 10 };
    let taken: Vec<RunRow> = ClaimRuns::from(claim).get_results(conn).await.unwrap();
    taken.iter().map(|row| RunId::from(row.run_id)).collect()
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
            tokio::spawn(async move { samples::claim(&*store, NodeId::new(), 10).await })
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
async fn a_submit_waits_for_a_claim_that_is_taking_its_session() {
    for (end, accepted) in [("COMMIT", false), ("ROLLBACK", true)] {
        let (database, store) = fresh().await;
        let mut conn = connection(&database, Purpose::Write).await;
        let (first, second) = (of("s", SessionPolicy::InOrder), of("s", SessionPolicy::Refuse));
        samples::submit(&*store, &first).await;

        sql(&mut conn, "BEGIN").await;
        assert_eq!(claimed(&mut conn, samples::node(&*store).await).await, [id(&first)]);
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
async fn a_claim_does_not_take_the_next_run_of_a_session_that_another_claim_is_taking() {
    for (end, then) in [("COMMIT", 0), ("ROLLBACK", 1)] {
        let (database, store) = fresh().await;
        let mut one = connection(&database, Purpose::Write).await;
        let mut two = connection(&database, Purpose::Write).await;
        let runs = [of("s", SessionPolicy::InOrder), of("s", SessionPolicy::InOrder)];
        for run in &runs {
            samples::submit(&*store, run).await;
        }
        let nodes = [samples::node(&*store).await, samples::node(&*store).await];

        sql(&mut one, "BEGIN").await;
        assert_eq!(claimed(&mut one, nodes[0]).await, [id(&runs[0])]);
        assert!(claimed(&mut two, nodes[1]).await.is_empty(), "the first run is locked, and the second has to wait");
        sql(&mut one, end).await;

        let ids: Vec<_> = runs[..then].iter().map(id).collect();
        assert_eq!(claimed(&mut two, nodes[1]).await, ids, "{end}");
    }
}

#[tokio::test]
async fn a_session_is_free_when_the_end_of_its_run_is_committed_and_not_before() {
    for (end, free) in [("COMMIT", true), ("ROLLBACK", false)] {
        let (database, store) = fresh().await;
        let mut ends = connection(&database, Purpose::Write).await;
        let mut claims = connection(&database, Purpose::Write).await;
        let node = samples::node(&*store).await;
        let [first, second] = [of("s", SessionPolicy::InOrder), of("s", SessionPolicy::InOrder)];
        let third = of("s", SessionPolicy::Refuse);
        samples::submit(&*store, &first).await;
        samples::submit(&*store, &second).await;
        assert_eq!(claimed(&mut claims, node).await, [id(&first)]);

        sql(&mut ends, "BEGIN").await;
        let mut advance = AdvanceRuns::default();
        advance.push(&samples::step(id(&first), 1, 0, samples::settle(RunStatus::Cancelled))).unwrap();
        let ended: Vec<uuid::Uuid> = advance.get_results(&mut ends).await.unwrap();
        assert_eq!(ended.len(), 1);
        assert!(claimed(&mut claims, node).await.is_empty(), "the end is not committed yet");
        let answer = {
            let (store, third) = (store.clone(), third.clone());
            tokio::spawn(async move { samples::insert(&*store, &third).await })
        };
        somebody_waits(&database).await;
        sql(&mut ends, end).await;

        // Whoever has waited for the session has it before the one whose turn it would be.
        assert_answer(&answer.await.unwrap(), free, &first);
        let next = free.then(|| id(&third));
        assert_eq!(claimed(&mut claims, node).await, Vec::from_iter(next), "{end}");
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
        let node = NodeId::new;
        let (ours, theirs) = tokio::join!(samples::claim(&*one, node(), 50), samples::claim(&*two, node(), 50));
        let mut sessions: Vec<_> =
            ours.iter().chain(&theirs).map(|taken| taken.run.output.session_id.clone()).collect();
        sessions.sort();
        sessions.dedup();
        assert_eq!(sessions.len(), ours.len() + theirs.len());
        assert!(ours.len() + theirs.len() <= 3);
        for taken in ours.iter().chain(&theirs) {
            let output = &taken.run.output;
            let end = samples::settle(RunStatus::Cancelled);
            samples::advance(&*one, &samples::step(output.run_id, taken.run.attempt, taken.next_seq, end))
                .await
                .unwrap();
        }
    }
}
