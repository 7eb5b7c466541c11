//! That statements go by index when tables are large, and that hot updates are hot.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::{client, connection, fresh, inserts, sql};
use crate::run::RunStatus;
use crate::store::conformance::samples::{self, AGENT, id, owned, settle, step, unowned, with};
use crate::store::postgres::batch::WriteBatch;
use crate::store::postgres::children::{AnyChildren, ChildrenOf};
use crate::store::postgres::claim::{CancelRequests, ClaimRuns, CountWaiting, UnstartedRuns};
use crate::store::postgres::connect::Purpose;
use crate::store::postgres::connection::Connection;
use crate::store::postgres::inherit::HandOver;
use crate::store::postgres::list::ListRuns;
use crate::store::postgres::overdue::{AnyOverdue, LockOverdue};
use crate::store::postgres::read::{GetEvents, GetFacts, GetHistory, GetRuns};
use crate::store::postgres::resume::LockPaused;
use crate::store::postgres::row::RunRow;
use crate::store::protocol::{Change, InsertRun, Write};
use crate::store::{AgentRoom, Claim, History, NodeId, RunQuery, RunStore};

struct Explain<Q>(Q);

impl<Q> QueryId for Explain<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q> Query for Explain<Q> {
    type SqlType = Text;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Explain<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("EXPLAIN ");
        self.0.walk_ast(out)
    }
}

async fn plan<Q: QueryFragment<Pg> + Send + Sync>(conn: &mut Connection, query: Q) -> String {
    let lines: Vec<String> = Explain(query).get_results(conn).await.unwrap();
    lines.join("\n")
}

pub(super) async fn assert_goes_by_index<Q: QueryFragment<Pg> + Send + Sync>(
    what: &str,
    conn: &mut Connection,
    query: Q,
) {
    let plan = plan(conn, query).await;
    assert!(plan.contains("Index") && !plan.contains("Seq Scan on run"), "{what}:\n{plan}");
}

fn advances(steps: impl IntoIterator<Item = crate::store::protocol::Advance>) -> Vec<Write> {
    steps.into_iter().map(|step| Write::Advance(Box::new(step))).collect()
}

/// Some thousand runs of a hundred sessions, most of them settled.
async fn fill(store: &dyn RunStore, node: NodeId) -> Vec<InsertRun> {
    let mut all = Vec::new();
    for batch in 0..10 {
        let runs: Vec<InsertRun> = (0..500)
            .map(|place| {
                let base = if batch == 9 && place % 2 == 0 {
                    unowned()
                } else {
                    if batch == 9 { InsertRun { node: Some(node), ..owned() } } else { owned() }
                };
                with(base, |run| run.output.session_id = format!("session {}", place % 100).as_str().into())
            })
            .collect();
        samples::write_all(store, inserts(&runs)).await;
        let own = || runs.iter().filter(|run| run.node.is_some());
        if batch < 9 {
            samples::write_all(store, advances(own().map(|run| step(id(run), 1, 0, Change::Start)))).await;
            let end = || settle(RunStatus::Completed);
            samples::write_all(store, advances(own().map(|run| step(id(run), 1, 1, end())))).await;
        }
        all.extend(runs);
    }
    all
}

#[tokio::test]
async fn every_statement_goes_by_index() {
    let (database, store) = fresh().await;
    let node = NodeId::new();
    let runs = fill(&*store, node).await;
    let (some, uuid) = (id(&runs[4711]), node.as_uuid());
    for purpose in [Purpose::Write, Purpose::Read] {
        let conn = &mut connection(&database, purpose).await;
        sql(conn, "ANALYZE").await;

        let get = GetRuns { run_ids: vec![some.as_uuid()] };
        assert_goes_by_index("get", conn, get).await;
        assert_goes_by_index("facts", conn, GetFacts { run_ids: vec![some.as_uuid()] }).await;
        assert_goes_by_index("events", conn, GetEvents { run_id: some.as_uuid(), from: 0, limit: 100 }).await;
        for (agents, limited) in [(vec![AGENT], vec![]), (vec![], vec![AGENT]), (vec![AGENT], vec!["a", "b"])] {
            let room =
                |agent: &str| AgentRoom { agent: agent.to_owned(), runs: 3, everywhere: (agent == "b").then_some(5) };
            let (agents, limited) =
                (agents.into_iter().map(str::to_owned).collect(), limited.into_iter().map(room).collect());
            let claim = ClaimRuns::from(Claim { node, agents, limited, limit: 10 });
            assert_goes_by_index("claim", conn, claim).await;
        }
        assert_goes_by_index("any overdue", conn, AnyOverdue).await;
        assert_goes_by_index("overdue", conn, LockOverdue { limit: 10 }).await;
        assert_goes_by_index("unstarted", conn, UnstartedRuns { node: uuid }).await;
        assert_goes_by_index("cancel requests", conn, CancelRequests { node: uuid }).await;
        #[cfg(feature = "metrics")]
        {
            use crate::store::postgres::backlog::CountBacklogs;
            let agents = vec![AGENT.to_owned(), "another".to_owned()];
            assert_goes_by_index("backlogs", conn, CountBacklogs { agents, limit: 100 }).await;
        }
        assert_goes_by_index("count", conn, CountWaiting { limit: 100 }).await;
        let query = RunQuery::new().session_id("session 7").limit(20);
        assert_goes_by_index("list by session", conn, ListRuns(query)).await;
        assert_goes_by_index("list", conn, ListRuns(RunQuery::new().limit(20))).await;
        let paused = RunQuery::new().status(RunStatus::Paused).limit(20);
        assert_goes_by_index("list paused", conn, ListRuns(paused)).await;
        let children = RunQuery::new().parent_run_id(some).limit(20);
        assert_goes_by_index("list children", conn, ListRuns(children)).await;
        assert_goes_by_index("children", conn, ChildrenOf { parents: vec![some.as_uuid()], limit: 10 }).await;
        assert_goes_by_index("any children", conn, AnyChildren { limit: 10 }).await;
        let hand_over = HandOver { heirs: vec![uuid], failed: vec![some.as_uuid()] };
        assert_goes_by_index("hand over", conn, hand_over).await;
        assert_goes_by_index("continue", conn, LockPaused { run_ids: vec![some.as_uuid()] }).await;
        let history = History { before: some, session_id: "session 11".into(), user_id: None, limit: 5 };
        assert_goes_by_index("history", conn, GetHistory::from(history)).await;
        for many in [1, 500] {
            let mut batch = WriteBatch::default();
            for run in runs.iter().take(many) {
                batch.insert.push(run).unwrap();
                batch.advance.push(&step(id(run), 1, 0, Change::Start)).unwrap();
            }
            if purpose == Purpose::Write {
                assert_goes_by_index("advance", conn, &batch.advance).await;
                assert_goes_by_index("insert and advance", conn, &batch).await;
            }
        }
    }
}

/// However long a session has become, the latest runs of it are read, and no others.
#[tokio::test]
async fn the_history_of_a_long_session_is_read_from_its_end() {
    let (database, store) = fresh().await;
    let run = with(owned(), |run| run.output.session_id = "long".into());
    samples::write_all(&*store, inserts(std::slice::from_ref(&run))).await;
    let conn = &mut connection(&database, Purpose::Read).await;
    let earlier = "WITH i AS (SELECT i, lpad(to_hex(i), 32, '0')::uuid AS run_id, now() - i * interval '1 s' AS at \
                               FROM generate_series(1, 5000) AS i), \
         inputs AS (INSERT INTO run_inputs (run_id, session_id, agent, created_at, input, metadata, fingerprint) \
                    SELECT run_id, CASE i % 10 WHEN 0 THEN 'long' ELSE 'short ' || i END, 'agent', at, '1', '{}', '' FROM i), \
         outputs AS (INSERT INTO run_outputs (run_id, content, metrics) SELECT run_id, '1', '{}' FROM i) \
         INSERT INTO runs (run_id, session_id, agent, status, attempt, max_attempts, on_crash, priority, run_at, has_webhook, \
                           created_at, settled_at) \
         SELECT run_id, CASE i % 10 WHEN 0 THEN 'long' ELSE 'short ' || i END, 'agent', 'COMPLETED', 1, 1, 'fail', 0, at, false, at, at FROM i";
    sql(conn, earlier).await;
    sql(conn, "ANALYZE").await;

    let history = History { before: id(&run), session_id: "long".into(), user_id: None, limit: 5 };
    assert_eq!(store.history(history.clone()).await.unwrap().len(), 5);
    let plan = plan(conn, GetHistory::from(history)).await;
    assert!(
        plan.contains("Index Scan Backward using run_inputs_by_session") && plan.matches("Sort Key").count() == 1,
        "{plan}"
    );
}

/// A nested loop over two lists takes a time that grows with the square of the batch.
#[tokio::test]
async fn no_write_compares_each_row_of_a_batch_with_each() {
    let (database, _store) = fresh().await;
    let conn = &mut connection(&database, Purpose::Write).await;
    let mut batch = WriteBatch::default();
    for _ in 0..500 {
        let run = owned();
        batch.insert.push(&run).unwrap();
        batch.advance.push(&step(id(&run), 1, 0, settle(RunStatus::Completed))).unwrap();
    }
    for plan in [plan(conn, &batch.insert).await, plan(conn, &batch.advance).await, plan(conn, &batch).await] {
        assert!(plan.contains("hashed SubPlan") && !plan.contains("Join Filter"), "{plan}");
    }
}

#[tokio::test]
async fn starts_and_appends_are_heap_only_updates() {
    let (database, store) = fresh().await;
    for _ in 0..20 {
        let runs: Vec<InsertRun> = (0..25).map(|_| owned()).collect();
        samples::write_all(&*store, inserts(&runs)).await;
        for (seq, change) in [(0, Change::Start), (1, Change::Append), (2, Change::Append), (3, Change::Append)] {
            let steps = runs.iter().map(|run| step(id(run), 1, seq, change.clone()));
            samples::write_all(&*store, advances(steps)).await;
        }
    }

    // A session reports what it has counted when it ends.
    store.close().await;
    let client = client(&database).await;
    let counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'runs'";
    let (all, hot) = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            let row = client.query_one(counted, &[]).await.unwrap();
            if row.get::<_, i64>(0) >= 20 * 25 * 4 {
                return (row.get::<_, i64>(0), row.get::<_, i64>(1));
            }
        }
    })
    .await
    .unwrap();
    println!("{hot} of {all} updates were heap-only");
    assert!(hot * 10 >= all * 7, "{hot} of {all} updates were heap-only");
}

#[tokio::test]
async fn lists_leave_nothing_prepared_however_many_there_are() {
    let (database, _store) = fresh().await;
    let mut conn = connection(&database, Purpose::Read).await;
    for limit in 1..=20 {
        let runs: Vec<RunRow> =
            ListRuns(RunQuery::new().agent(AGENT).limit(limit)).get_results(&mut conn).await.unwrap();
        assert!(runs.is_empty());
    }
    let prepared = diesel::select(diesel::dsl::sql::<BigInt>(
        "(SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT r.run_id%')",
    ));
    assert_eq!(prepared.get_result::<i64>(&mut conn).await.unwrap(), 0);
}
