//! What a node that lost its lease still sends, against the sweep, the claim and the renewal, statement by statement.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::RunQueryDsl;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{client, connection, fresh, sessions_wait, somebody_waits, sql};
use crate::run::RunId;
use crate::run::RunStatus::{Cancelled, Completed, Error, Pending, Running};
use crate::store::conformance::samples::{self, AGENT, Attempt, owned, settle};
use crate::store::postgres::advance::AdvanceRuns;
use crate::store::postgres::claim::ClaimRuns;
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::connection::Connection;
use crate::store::postgres::lease;
use crate::store::postgres::row::RunRow;
use crate::store::protocol::{Advance, Change, InsertRun, Refusal, Takeover};
use crate::store::{Claim, NodeId, RunStore};
use crate::test_postgres::Database;

const HOUR: Duration = Duration::from_secs(3600);

/// A node whose lease is over, and a run of its own that it has started.
async fn dead_and_its_run<'a>(database: &Database, store: &'a dyn RunStore) -> (NodeId, Attempt<'a>) {
    let node = samples::node(store).await;
    let attempt = Attempt::start(store, InsertRun { node: Some(node), ..owned() }).await;
    expire(database, node).await;
    (node, attempt)
}

async fn expire(database: &Database, node: NodeId) {
    let sql = format!("UPDATE greenroom.nodes SET lease_until = now() - interval '1 ms' WHERE node_id = '{node}'");
    client(database).await.batch_execute(&sql).await.unwrap();
}

fn sweep(store: &Arc<dyn RunStore>) -> JoinHandle<Vec<(RunId, Takeover)>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.sweep(100).await.unwrap() })
}

fn write(store: &Arc<dyn RunStore>, step: Advance) -> JoinHandle<Result<(), Refusal>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { samples::advance(&*store, &step).await })
}

async fn passes(conn: &mut Connection, step: &Advance) -> bool {
    let mut advances = AdvanceRuns::default();
    advances.push(step).unwrap();
    let done: Vec<Uuid> = advances.get_results(conn).await.unwrap();
    !done.is_empty()
}

/// Stops each sweep before its last statement, when it has locked and changed its rows.
struct Gate(Client);

impl Gate {
    async fn closed(database: &Database) -> Self {
        let gate = client(database).await;
        let close = "CREATE FUNCTION greenroom.pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; \
            END $$; \
            CREATE TRIGGER pass BEFORE DELETE ON greenroom.nodes FOR EACH STATEMENT EXECUTE FUNCTION greenroom.pass(); \
            SELECT pg_advisory_lock(7)";
        gate.batch_execute(close).await.unwrap();
        Self(gate)
    }

    async fn open(self) {
        self.0.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    }
}

#[tokio::test]
async fn a_late_end_that_is_first_stands_and_a_sweep_leaves_it() {
    for (end, left, status) in [("COMMIT", 0, Completed), ("ROLLBACK", 1, Pending)] {
        let (database, store) = fresh().await;
        let mut late = connection(&database, Purpose::Write).await;
        let (_, attempt) = dead_and_its_run(&database, &*store).await;

        sql(&mut late, "BEGIN").await;
        assert!(passes(&mut late, &attempt.next(settle(Completed))).await);
        assert!(store.sweep(100).await.unwrap().is_empty(), "the run is locked");
        sql(&mut late, end).await;

        assert_eq!(store.sweep(100).await.unwrap().len(), left, "{end}");
        assert_eq!(samples::get(&*store, attempt.run_id).await.output.status, status, "{end}");
    }
}

#[tokio::test]
async fn a_late_write_that_waits_for_a_sweep_is_refused() {
    let changes = [Change::Append, Change::HandBack, settle(Completed), settle(Error), settle(Cancelled)];
    for change in changes {
        let (database, store) = fresh().await;
        let (_, attempt) = dead_and_its_run(&database, &*store).await;
        let gate = Gate::closed(&database).await;

        let swept = sweep(&store);
        somebody_waits(&database).await;
        let late = write(&store, attempt.next(change.clone()));
        sessions_wait(&database, 2).await;
        gate.open().await;

        assert_eq!(swept.await.unwrap(), [(attempt.run_id, Takeover::Requeue)]);
        assert_eq!(late.await.unwrap(), Err(Refusal::Fenced), "{change:?}");
        let row = samples::facts(&*store, attempt.run_id).await;
        assert_eq!((row.status, row.node, row.next_seq, row.starts), (Pending, None, 1, 1), "{change:?}");
    }
}

#[tokio::test]
async fn a_late_start_that_waits_for_a_sweep_is_refused() {
    let (database, store) = fresh().await;
    let node = samples::node(&*store).await;
    let attempt = Attempt::submit(&*store, InsertRun { node: Some(node), ..owned() }).await;
    expire(&database, node).await;
    let gate = Gate::closed(&database).await;

    let swept = sweep(&store);
    somebody_waits(&database).await;
    let late = write(&store, attempt.next(Change::Start));
    sessions_wait(&database, 2).await;
    gate.open().await;

    assert_eq!(swept.await.unwrap(), [(attempt.run_id, Takeover::Requeue)]);
    assert_eq!(late.await.unwrap(), Err(Refusal::Fenced));
    assert_eq!(samples::facts(&*store, attempt.run_id).await.starts, 0);
}

/// Three parties: the run was swept, a claim has it and is not committed, and the dead node's write comes in between.
#[tokio::test]
async fn a_late_write_is_refused_before_and_after_the_claim_that_follows_a_sweep() {
    for end in ["COMMIT", "ROLLBACK"] {
        let (database, store) = fresh().await;
        let mut claims = connection(&database, Purpose::Write).await;
        let (_, attempt) = dead_and_its_run(&database, &*store).await;
        assert_eq!(store.sweep(100).await.unwrap().len(), 1);
        let node = samples::node(&*store).await;

        sql(&mut claims, "BEGIN").await;
        let claim = Claim { node, agents: vec![AGENT.to_owned()], limited: Vec::new(), limit: 10 };
        let taken: Vec<RunRow> = ClaimRuns::from(claim).get_results(&mut claims).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(samples::advance(&*store, &attempt.next(settle(Error))).await, Err(Refusal::Fenced), "before");
        sql(&mut claims, end).await;

        assert_eq!(samples::advance(&*store, &attempt.next(settle(Error))).await, Err(Refusal::Fenced), "{end}");
        let row = samples::facts(&*store, attempt.run_id).await;
        let committed = end == "COMMIT";
        assert_eq!((row.status, row.attempt), (Pending, 1 + u32::from(committed)), "{end}");
        assert_eq!(row.node, committed.then_some(node), "{end}");
    }
}

/// The new attempt's start is not committed yet, so the old one's write still finds the log where it left it.
#[tokio::test]
async fn a_late_write_does_not_pass_beside_the_start_of_the_next_attempt() {
    let (database, store) = fresh().await;
    let mut starter = connection(&database, Purpose::Write).await;
    let (_, attempt) = dead_and_its_run(&database, &*store).await;
    store.sweep(100).await.unwrap();
    let again = Attempt::claimed(&*store, attempt.run_id).await;

    sql(&mut starter, "BEGIN").await;
    assert!(passes(&mut starter, &again.next(Change::Start)).await);
    assert!(!passes(&mut connection(&database, Purpose::Write).await, &attempt.next(settle(Error))).await);
    sql(&mut starter, "COMMIT").await;

    assert_eq!(samples::advance(&*store, &attempt.next(settle(Error))).await, Err(Refusal::Fenced));
    let row = samples::facts(&*store, attempt.run_id).await;
    assert_eq!((row.status, row.attempt, row.next_seq), (Running, 2, 2));
}

#[tokio::test]
async fn a_renewal_that_is_not_committed_yet_keeps_the_sweep_away() {
    for (end, swept) in [("COMMIT", 0), ("ROLLBACK", 1)] {
        let (database, store) = fresh().await;
        let mut renews = connection(&database, Purpose::Write).await;
        let (node, attempt) = dead_and_its_run(&database, &*store).await;

        // The renewal comes while the lease holds, and for everybody else it is over by now.
        sql(&mut renews, "BEGIN").await;
        sql(&mut renews, &format!("UPDATE nodes SET lease_until = 'infinity' WHERE node_id = '{node}'")).await;
        assert!(lease::renew(&mut renews, node.as_uuid(), HOUR).await.unwrap(), "the lease holds");
        let (one, two) = tokio::join!(store.sweep(100), store.sweep(100));
        assert!(one.unwrap().is_empty() && two.unwrap().is_empty());
        sql(&mut renews, end).await;

        assert_eq!(store.sweep(100).await.unwrap().len(), swept, "{end}");
        assert_eq!(samples::facts(&*store, attempt.run_id).await.node.is_none(), swept > 0, "{end}");
    }
}

#[tokio::test]
async fn a_renewal_that_comes_while_a_sweep_has_the_node_is_refused() {
    let (database, store) = fresh().await;
    let (node, attempt) = dead_and_its_run(&database, &*store).await;
    let gate = Gate::closed(&database).await;

    let swept = sweep(&store);
    somebody_waits(&database).await;
    assert!(!store.renew_lease(node, HOUR).await.unwrap(), "it has expired, so there is nothing to wait for");
    gate.open().await;

    assert_eq!(swept.await.unwrap(), [(attempt.run_id, Takeover::Requeue)]);
    assert!(!store.renew_lease(node, HOUR).await.unwrap(), "the node is gone");
}

/// Of two sweeps that come together one has the node, and the other passes it over.
#[tokio::test]
async fn two_sweeps_of_one_node_take_its_run_once() {
    let (database, store) = fresh().await;
    let other = super::open(super::PostgresOptions::new(database.url())).await.unwrap();
    let (_, attempt) = dead_and_its_run(&database, &*store).await;
    let gate = Gate::closed(&database).await;

    let first = sweep(&store);
    somebody_waits(&database).await;
    assert!(other.sweep(100).await.unwrap().is_empty());
    gate.open().await;

    assert_eq!(first.await.unwrap(), [(attempt.run_id, Takeover::Requeue)]);
    assert!(other.sweep(100).await.unwrap().is_empty());
}
