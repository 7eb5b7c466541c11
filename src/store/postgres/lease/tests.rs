//! Leases and takeovers, step by step on several connections.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::run::RunStatus::{Pending, Running};
use crate::run::{CrashPolicy, RunId};
use crate::store::conformance::samples::{AGENT, Attempt, facts, node, owned, submit, unowned};
use crate::store::postgres::{Postgres, PostgresOptions};
use crate::store::protocol::{InsertRun, Takeover};
use crate::store::{Claim, NodeId, RunStore, StoreLimits};
use crate::test_postgres::{Database, fresh_database};

mod sweep;

const HOUR: Duration = Duration::from_secs(3600);

struct Place {
    store: Postgres,
    database: Database,
}

async fn open(database: &Database) -> Postgres {
    let limits = StoreLimits { intent_ttl: HOUR, max_intents: 100 };
    Postgres::open(PostgresOptions::new(database.url()), limits).await.unwrap()
}

impl Place {
    async fn new() -> Self {
        let database = fresh_database().await;
        Self { store: open(&database).await, database }
    }

    /// A session of its own, with Greenroom's tables.
    async fn session(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(self.database.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("SET search_path = greenroom").await.unwrap();
        client
    }

    async fn sql(&self, sql: &str) {
        self.session().await.batch_execute(sql).await.unwrap();
    }

    /// Time passes for this node: its lease is over by now.
    async fn expire(&self, node: NodeId) {
        self.sql(&expiry_of(node)).await;
    }

    async fn has_row(&self, node: NodeId) -> bool {
        let sql = format!("SELECT count(*) FROM nodes WHERE node_id = '{node}'");
        self.session().await.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) > 0
    }

    async fn claim(&self, node: NodeId) -> Vec<RunId> {
        let claim = Claim { node, agents: vec![AGENT.to_owned()], limited: Vec::new(), limit: 100 };
        self.store.claim(claim).await.unwrap().iter().map(|taken| taken.run.output.run_id).collect()
    }

    async fn sweep(&self) -> Vec<(RunId, Takeover)> {
        self.store.sweep(100).await.unwrap()
    }

    /// Waits until so many sessions wait for locks.
    async fn waits(&self, sessions: i64) {
        let watcher = self.session().await;
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        tokio::time::timeout(Duration::from_secs(20), async {
            while watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) != sessions {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it waits for the lock");
    }
}

fn expiry_of(node: NodeId) -> String {
    format!("UPDATE nodes SET lease_until = now() - interval '1 ms' WHERE node_id = '{node}'")
}

fn run_of(node: NodeId, on_crash: CrashPolicy) -> InsertRun {
    InsertRun { node: Some(node), on_crash, ..owned() }
}

fn restartable(node: NodeId) -> InsertRun {
    run_of(node, CrashPolicy::Restart)
}

#[tokio::test]
async fn a_lease_is_renewed_until_it_has_expired() {
    let place = Place::new().await;
    let store = &place.store;
    let node = node(store).await;
    assert!(store.renew_lease(node, HOUR).await.unwrap());
    assert!(!store.renew_lease(NodeId::new(), HOUR).await.unwrap(), "there is no such node");

    place.expire(node).await;
    assert!(!store.renew_lease(node, HOUR).await.unwrap(), "nobody has swept it, and it is over all the same");
    assert!(place.has_row(node).await);

    let ended = NodeId::new();
    store.begin_lease(ended, HOUR).await.unwrap();
    store.end_lease(ended).await.unwrap();
    assert!(!place.has_row(ended).await);
    assert!(!store.renew_lease(ended, HOUR).await.unwrap());
}

#[tokio::test]
async fn a_lease_ends_by_the_clock_of_the_database() {
    let place = Place::new().await;
    let node = NodeId::new();
    place.store.begin_lease(node, Duration::from_millis(50)).await.unwrap();
    assert!(place.sweep().await.is_empty());
    place.sql("SELECT pg_sleep(0.06)").await;
    assert!(!place.store.renew_lease(node, HOUR).await.unwrap());
    place.sweep().await;
    assert!(!place.has_row(node).await, "a node that leaves nothing is forgotten");
}

#[tokio::test]
async fn a_renewal_is_a_heap_only_update() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    for _ in 0..50 {
        assert!(place.store.renew_lease(node, HOUR).await.unwrap());
    }
    // The session that renewed tells its counts when it ends.
    place.store.close().await;
    let session = place.session().await;
    let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'nodes'";
    let counted = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let row = session.query_one(sql, &[]).await.unwrap();
            let counted = (row.get::<_, i64>(0), row.get::<_, i64>(1));
            if counted.0 >= 50 {
                return counted;
            }
            session.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        }
    });
    assert_eq!(counted.await.unwrap(), (50, 50));
}

#[tokio::test]
async fn a_renewal_that_is_first_keeps_its_runs() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    let run_id = Attempt::start(&place.store, restartable(node)).await.run_id;
    // The renewal has found the lease good, and for everybody else the old one is over by now.
    place.expire(node).await;
    let renewal = place.session().await;
    let renew =
        format!("UPDATE nodes SET lease_until = clock_timestamp() + interval '1 hour' WHERE node_id = '{node}'");
    renewal.batch_execute("BEGIN").await.unwrap();
    assert_eq!(renewal.execute(&renew, &[]).await.unwrap(), 1);

    assert!(place.sweep().await.is_empty());
    renewal.batch_execute("COMMIT").await.unwrap();
    assert!(place.sweep().await.is_empty());
    let row = facts(&place.store, run_id).await;
    assert_eq!((row.status, row.node), (Running, Some(node)));
}

/// A sweep that began before the renewal was committed judges the row that it has locked, not the one that it had seen.
#[tokio::test]
async fn a_sweep_looks_again_at_what_it_has_locked() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    let run_id = Attempt::start(&place.store, restartable(node)).await.run_id;
    place.expire(node).await;
    // It stops the sweep's statement after its snapshot was taken, and before it looks at any row.
    let gate = place.session().await;
    let close = "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
            PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; \
        END $$; \
        CREATE TRIGGER pass BEFORE UPDATE ON nodes FOR EACH STATEMENT EXECUTE FUNCTION pass(); \
        SELECT pg_advisory_lock(7)";
    gate.batch_execute(close).await.unwrap();

    let (swept, ()) = tokio::join!(place.sweep(), async {
        place.waits(1).await;
        let renew = "UPDATE nodes SET lease_until = now() + interval '1 hour'";
        place.sql(&format!("SET session_replication_role = replica; {renew}")).await;
        gate.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    });

    assert!(swept.is_empty());
    assert!(place.store.renew_lease(node, HOUR).await.unwrap());
    assert_eq!(facts(&place.store, run_id).await.node, Some(node));
}

#[tokio::test]
async fn a_renewal_that_waits_for_a_sweep_is_refused() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    let sweep = place.session().await;
    // The renewal finds a lease that is still good, and must not believe that after it has waited.
    let fence = format!("BEGIN; UPDATE nodes SET lease_until = '-infinity' WHERE node_id = '{node}'");
    sweep.batch_execute(&fence).await.unwrap();
    let renewing = place.store.renew_lease(node, HOUR);
    let (renewed, ()) = tokio::join!(renewing, async {
        place.waits(1).await;
        sweep.batch_execute("COMMIT").await.unwrap();
    });
    assert!(!renewed.unwrap());
}

#[tokio::test]
async fn a_claim_that_waits_for_a_sweep_gets_nothing() {
    let place = Place::new().await;
    submit(&place.store, &unowned()).await;
    for end in ["UPDATE nodes SET lease_until = '-infinity'", "DELETE FROM nodes"] {
        let node = node(&place.store).await;
        let sweep = place.session().await;
        let lock =
            format!("BEGIN; SELECT FROM nodes WHERE node_id = '{node}' FOR UPDATE; {end} WHERE node_id = '{node}'");
        sweep.batch_execute(&lock).await.unwrap();
        let (claimed, ()) = tokio::join!(place.claim(node), async {
            place.waits(1).await;
            sweep.batch_execute("COMMIT").await.unwrap();
        });
        assert!(claimed.is_empty(), "{end}");
    }
}

/// A sweep that comes while a claim is under way leaves the node alone, and finds what it took up the next time.
#[tokio::test]
async fn a_sweep_passes_over_a_node_that_is_claiming() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    let run_id = submit(&place.store, &unowned()).await.output.run_id;
    let claim = place.session().await;
    let take = format!(
        "BEGIN; SELECT FROM nodes WHERE node_id = '{node}' AND lease_until > clock_timestamp() FOR KEY SHARE; \
         UPDATE runs SET node_id = '{node}', attempt = attempt + 1"
    );
    claim.batch_execute(&take).await.unwrap();
    assert!(place.store.renew_lease(node, HOUR).await.unwrap(), "a claim holds up no renewal");
    claim.batch_execute("COMMIT; BEGIN").await.unwrap();
    place.expire(node).await;
    claim.batch_execute(&format!("SELECT FROM nodes WHERE node_id = '{node}' FOR KEY SHARE")).await.unwrap();

    assert!(place.sweep().await.is_empty());
    claim.batch_execute("COMMIT").await.unwrap();
    assert_eq!(place.sweep().await, [(run_id, Takeover::Requeue)]);
}

#[tokio::test]
async fn a_node_whose_lease_is_over_claims_nothing() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    let run_id = submit(&place.store, &unowned()).await.output.run_id;
    assert!(place.claim(NodeId::new()).await.is_empty(), "a node without a lease");
    place.expire(node).await;
    assert!(place.claim(node).await.is_empty(), "a node whose lease has expired");
    let row = facts(&place.store, run_id).await;
    assert_eq!((row.status, row.node, row.attempt), (Pending, None, 0));
}
