//! Two processes that are after one session.

use diesel_async::RunQueryDsl;

use super::{connection, fresh, open, somebody_waits, sql};
use crate::run::SessionPolicy;
use crate::store::conformance::samples::{self, id, unowned};
use crate::store::postgres::PostgresOptions;
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::insert::{InsertRuns, NewRow};
use crate::store::protocol::{InsertRun, Inserted};

fn of(session: &str, sessions: SessionPolicy) -> InsertRun {
    InsertRun { sessions, ..samples::with(unowned(), |run| run.output.session_id = session.into()) }
}

fn insert_of(run: &InsertRun) -> InsertRuns {
    let mut insert = InsertRuns::default();
    insert.push(run).unwrap();
    insert
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

        let answer = answer.await.unwrap();
        assert_eq!(matches!(answer, Inserted::New { .. }), accepted, "{end}: {answer:?}");
        let refused = matches!(answer, Inserted::SessionBusy(run_id) if run_id == id(&first));
        assert_eq!(refused, !accepted, "{end}: {answer:?}");
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
            let end = samples::settle(crate::run::RunStatus::Cancelled);
            samples::advance(&*one, &samples::step(output.run_id, taken.run.attempt, taken.next_seq, end))
                .await
                .unwrap();
        }
    }
}
