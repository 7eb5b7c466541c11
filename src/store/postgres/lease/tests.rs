//! Leases and takeovers, step by step on several connections.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::run::RunStatus::{Cancelled, Completed, Error, Pending, Running};
use crate::run::{CrashPolicy, FailureKind, RunEventKind, RunFailure, RunId, RunStatus};
use crate::store::conformance::samples::{
    AGENT, Attempt, advance, cancel, events, facts, get, node, owned, settle, settled, step, submit, unowned, with,
};
use crate::store::postgres::{Postgres, PostgresOptions};
use crate::store::protocol::{CANCELLED_BY_CALLER, Change, InsertRun, Refusal, Takeover, takeover_message};
use crate::store::{Claim, NodeId, RunStore, StoreLimits};
use crate::test_postgres::{Database, fresh_database};

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
        let claim = Claim { node, agents: vec![AGENT.to_owned()], limit: 100 };
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
async fn a_sweep_does_to_each_run_what_its_policy_and_state_ask_for() {
    use CrashPolicy::{Fail, Restart};
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let alive = node(store).await;
    let unstarted = Attempt::submit(store, run_of(dead, Fail)).await.run_id;
    let started = Attempt::start(store, run_of(dead, Restart)).await.run_id;
    let fails = Attempt::start(store, run_of(dead, Fail)).await.run_id;
    let last = Attempt::start(store, with(run_of(dead, Restart), |run| run.max_attempts = 1)).await.run_id;
    let cancelled = Attempt::start(store, run_of(dead, Fail)).await.run_id;
    cancel(store, cancelled).await;
    let done = settled(store, run_of(dead, Restart), Completed).await;
    let waiting = submit(store, &unowned()).await.output.run_id;
    let others = Attempt::start(store, run_of(alive, Restart)).await.run_id;
    let untouched = [done, waiting, others];
    let mut before = Vec::new();
    for run_id in untouched {
        before.push((get(store, run_id).await, facts(store, run_id).await, events(store, run_id).await));
    }
    assert!(place.sweep().await.is_empty(), "the lease holds");

    place.expire(dead).await;
    let mut swept = place.sweep().await;
    swept.sort_unstable_by_key(|(run_id, _)| *run_id);
    let mut expected = vec![
        (unstarted, Takeover::Requeue),
        (started, Takeover::Requeue),
        (fails, Takeover::Fail(FailureKind::ProcessDied)),
        (last, Takeover::Fail(FailureKind::AttemptsExhausted)),
        (cancelled, Takeover::Cancel),
    ];
    expected.sort_unstable_by_key(|(run_id, _)| *run_id);
    assert_eq!(swept, expected);
    assert!(!place.has_row(dead).await);
    assert!(place.sweep().await.is_empty());

    for (run_id, starts, next_seq) in [(unstarted, 0, 0), (started, 1, 1)] {
        let row = facts(store, run_id).await;
        assert_eq!((row.status, row.node, row.attempt, row.starts, row.next_seq), (Pending, None, 1, starts, next_seq));
        assert_eq!(get(store, run_id).await.output.started_at, None);
    }
    for (run_id, kind) in [(fails, FailureKind::ProcessDied), (last, FailureKind::AttemptsExhausted)] {
        let output = get(store, run_id).await.output;
        let message = takeover_message(kind);
        assert_eq!((output.status, output.error), (Error, Some(RunFailure::new(kind, message))));
        assert!(output.settled_at.is_some());
        let event = RunEventKind::RunError { error_type: kind, content: message.to_owned() };
        assert_last(store, run_id, 1, event).await;
    }
    let output = get(store, cancelled).await.output;
    assert_eq!((output.status, output.error), (Cancelled, None));
    assert_last(store, cancelled, 1, RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() }).await;
    for (run_id, before) in untouched.into_iter().zip(before) {
        assert_eq!((get(store, run_id).await, facts(store, run_id).await, events(store, run_id).await), before);
    }
}

/// The last event of the log is this one, at `seq`.
async fn assert_last(store: &Postgres, run_id: RunId, seq: u64, kind: RunEventKind) {
    let log = events(store, run_id).await;
    let last = log.last().unwrap();
    assert_eq!((log.len() as u64, last.seq, &last.kind), (seq + 1, seq, &kind));
    assert_eq!(facts(store, run_id).await.next_seq, seq + 1);
}

#[tokio::test]
async fn a_run_that_is_paused_is_nobodys_to_take_over() {
    let place = Place::new().await;
    let node = node(&place.store).await;
    let run_id = Attempt::start(&place.store, restartable(node)).await.run_id;
    place.sql(&format!("UPDATE runs SET status = 'PAUSED', node_id = NULL WHERE run_id = '{run_id}'")).await;
    place.expire(node).await;
    assert!(place.sweep().await.is_empty());
    assert_eq!(facts(&place.store, run_id).await.status, RunStatus::Paused);
}

#[tokio::test]
async fn sweeps_at_the_same_time_take_no_run_twice() {
    let place = Place::new().await;
    let stores = [open(&place.database).await, open(&place.database).await, open(&place.database).await];
    let mut all = Vec::new();
    for _ in 0..4 {
        let node = node(&place.store).await;
        for _ in 0..25 {
            all.push(Attempt::submit(&place.store, restartable(node)).await.run_id);
        }
        place.expire(node).await;
    }
    let mut swept = Vec::new();
    for round in 0.. {
        let [one, two, three] = &stores;
        let rounds = tokio::join!(one.sweep(7), two.sweep(7), three.sweep(7));
        let new = [rounds.0.unwrap(), rounds.1.unwrap(), rounds.2.unwrap()].concat();
        if new.is_empty() {
            break;
        }
        assert!(round < 100);
        swept.extend(new.into_iter().map(|(run_id, _)| run_id));
    }
    swept.sort_unstable();
    all.sort_unstable();
    assert_eq!(swept, all);
}

#[tokio::test]
async fn a_renewal_that_is_first_keeps_its_runs() {
    let place = Place::new().await;
    let node = NodeId::new();
    place.store.begin_lease(node, Duration::from_millis(300)).await.unwrap();
    let run_id = Attempt::start(&place.store, restartable(node)).await.run_id;
    let renewal = place.session().await;
    let renew = format!(
        "UPDATE nodes SET lease_until = clock_timestamp() + interval '1 hour' \
         WHERE node_id = '{node}' AND lease_until > clock_timestamp()"
    );
    renewal.batch_execute("BEGIN").await.unwrap();
    assert_eq!(renewal.execute(&renew, &[]).await.unwrap(), 1);
    // For everybody else the old lease is over now.
    place.sql("SELECT pg_sleep(0.35)").await;

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
    place.expire(node).await;
    let sweep = place.session().await;
    sweep.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.unwrap();
    // The statement takes its snapshot, then waits for this lock before it looks at any row.
    let gate = place.session().await;
    gate.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
    let look = "WITH gate AS MATERIALIZED (SELECT pg_advisory_lock_shared(7)) \
                SELECT node_id::text FROM nodes, gate WHERE lease_until <= now() FOR UPDATE OF nodes SKIP LOCKED";
    let looking = tokio::spawn(async move { sweep.query(look, &[]).await.unwrap().len() });
    place.waits(1).await;

    place.sql(&format!("UPDATE nodes SET lease_until = now() + interval '1 hour' WHERE node_id = '{node}'")).await;
    gate.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();

    assert_eq!(looking.await.unwrap(), 0);
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

#[tokio::test]
async fn what_a_dead_node_inserts_is_swept() {
    let place = Place::new().await;
    let store = &place.store;
    let expired = node(store).await;
    place.expire(expired).await;
    let late = Attempt::submit(store, restartable(expired)).await.run_id;
    assert_eq!(place.sweep().await, [(late, Takeover::Requeue)]);
    assert!(!place.has_row(expired).await);

    let mut later = Vec::new();
    for _ in 0..3 {
        later.push(Attempt::start(store, restartable(expired)).await.run_id);
    }
    let mut swept: Vec<RunId> = place.sweep().await.into_iter().map(|(run_id, _)| run_id).collect();
    swept.sort_unstable();
    assert_eq!(swept, later);
}

#[tokio::test]
async fn a_zombie_can_write_nothing_any_more() {
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let unstarted = Attempt::submit(store, restartable(dead)).await;
    let started = Attempt::start(store, restartable(dead)).await;
    place.expire(dead).await;
    assert_eq!(place.sweep().await.len(), 2);
    let changes = || [Change::Start, Change::Append, settle(Completed), settle(Error), settle(Cancelled)];

    for zombie in [&unstarted, &started] {
        for change in changes() {
            assert_eq!(advance(store, &zombie.next(change)).await, Err(Refusal::Fenced), "nobody has it");
        }
    }
    let mut again = Attempt::claimed(store, started.run_id).await;
    assert_eq!((again.attempt, again.next_seq), (2, 1));
    for zombie in [&unstarted, &started] {
        for change in changes().into_iter().chain([Change::HandBack]) {
            assert_eq!(advance(store, &zombie.next(change)).await, Err(Refusal::Fenced), "another attempt has it");
        }
    }
    again.write(Change::Start).await;
    assert_eq!(advance(store, &step(started.run_id, 1, 2, Change::Append)).await, Err(Refusal::Fenced));
    again.write(settle(Completed)).await;
}

/// The end that a takeover has written looks like what the zombie wants to write, and is not its own.
#[tokio::test]
async fn a_zombie_does_not_take_the_end_by_a_takeover_for_its_own() {
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let zombie = Attempt::start(store, run_of(dead, CrashPolicy::Fail)).await;
    place.expire(dead).await;
    place.sweep().await;
    assert_eq!(advance(store, &zombie.next(settle(Error))).await, Err(Refusal::Settled(Error)));
}

#[tokio::test]
async fn a_run_that_a_late_write_has_locked_is_left_for_the_next_sweep() {
    let place = Place::new().await;
    let store = &place.store;
    let dead = node(store).await;
    let locked = Attempt::start(store, restartable(dead)).await.run_id;
    let free = Attempt::start(store, restartable(dead)).await.run_id;
    place.expire(dead).await;
    let write = place.session().await;
    let lock = format!("BEGIN; SELECT FROM runs WHERE run_id = '{locked}' FOR UPDATE");
    write.batch_execute(&lock).await.unwrap();

    assert_eq!(place.sweep().await, [(free, Takeover::Requeue)]);
    assert!(place.has_row(dead).await);
    write.batch_execute("COMMIT").await.unwrap();
    assert_eq!(place.sweep().await, [(locked, Takeover::Requeue)]);
    assert!(!place.has_row(dead).await);
}
