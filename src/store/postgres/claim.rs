//! Takes up runs that wait, and finds again what this node has taken up.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::count;
use super::error::from_diesel;
use super::row::{RUN_COLUMNS, RunColumns, RunRow, unsigned};
use super::statement::{push, statement};
use crate::run::RunId;
use crate::store::turn::ITS_TURN;
use crate::store::{Claim, NodeId, StoreError, StoreResult, TakenRun, readable};

/// Takes up waiting runs by priority, then age. Rows that another node is just taking are passed over.
///
/// A node whose lease is over gets nothing. Its row is locked for the time being: a sweep passes it over, so what is taken
/// up here is there when the next one looks; and where a sweep was first, this waits and finds the row marked or gone. A
/// renewal is not held up.
///
/// Agents with a limit of their own are looked up one by one, so that what waits for one of them is in nobody's way.
#[derive(Clone)]
pub(super) struct ClaimRuns {
    node: Uuid,
    agents: Vec<String>,
    limited: Vec<String>,
    rooms: Vec<i64>,
    everywhere: Vec<Option<i64>>,
    limit: i64,
}

/// How often a claim is tried again that took up a run of a session in the same moment as somebody else did. Nothing is taken
/// up by a claim that fails, and the next one sees the other's run.
const RACES: usize = 5;

pub(super) async fn claim(conn: &mut Connection, claim: Claim) -> StoreResult<Vec<TakenRun>> {
    let statement = ClaimRuns::from(claim);
    let mut races = 0;
    let rows: Vec<RunRow> = loop {
        match take_up(conn, statement.clone()).await {
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) if races < RACES => races += 1,
            // The violation is none of the data: the next claim may well pass.
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, information)) => {
                return Err(StoreError::Unavailable(information.message().to_owned()));
            }
            other => break other.map_err(|error| from_diesel(&error))?,
        }
    };
    Ok(taken(rows))
}

fn taken(rows: Vec<RunRow>) -> Vec<TakenRun> {
    readable(rows.into_iter().map(|row| (row.run_id.to_string(), row.into_taken())))
}

async fn take_up(conn: &mut Connection, claim: ClaimRuns) -> QueryResult<Vec<RunRow>> {
    let names = claim.limited.iter().zip(&claim.everywhere).filter(|(_, most)| most.is_some());
    let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return claim.get_results(conn).await;
    }
    conn.begin().await?;
    match take_up_counted(conn, names, claim).await {
        Ok(taken) => conn.commit().await.map(|()| taken),
        Err(error) => {
            // Where the connection is gone this fails as well, which says more than that a statement failed.
            conn.roll_back().await?;
            Err(error)
        }
    }
}

/// Claims one after the other with all nodes that claim runs of these agents: the statement that counts what they have begins
/// when the last of them has committed.
pub(super) async fn take_up_counted(
    conn: &mut Connection,
    names: Vec<String>,
    claim: ClaimRuns,
) -> QueryResult<Vec<RunRow>> {
    // In one order, so that two nodes do not wait for each other. The schema's table is part of the key, so that Greenrooms
    // in other schemas are in nobody's way.
    diesel::sql_query(
        "SELECT pg_advisory_xact_lock(key) FROM ( \
            SELECT hashtextextended(name, 'runs'::regclass::oid::bigint) AS key FROM unnest($1) AS a (name) ORDER BY key) AS k",
    )
    .bind::<Array<Text>, _>(names)
    .execute(conn)
    .await?;
    claim.get_results(conn).await
}

impl From<Claim> for ClaimRuns {
    fn from(claim: Claim) -> Self {
        Self {
            node: claim.node.as_uuid(),
            agents: claim.agents,
            rooms: claim.limited.iter().map(|room| count(room.runs.min(claim.limit))).collect(),
            everywhere: claim.limited.iter().map(|room| room.everywhere.map(count)).collect(),
            limited: claim.limited.into_iter().map(|room| room.agent).collect(),
            limit: count(claim.limit),
        }
    }
}

/// Runs that anybody may take up now.
const WAITS: &str = "EXISTS (SELECT FROM lease) AND settled_at IS NULL AND paused_at IS NULL AND node_id IS NULL AND status = 'PENDING' \
     AND run_at <= now() AND ";

statement!(ClaimRuns -> RunColumns);

impl QueryFragment<Pg> for ClaimRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Without MATERIALIZED the planner may run the subquery more than once, and lock more rows than the limit.
        push!(out,
            "WITH lease AS MATERIALIZED ( \
                SELECT FROM nodes WHERE node_id = ", &self.node => SqlUuid, " AND lease_until > clock_timestamp() \
                FOR KEY SHARE), \
             unlimited AS MATERIALIZED ( \
                SELECT priority, run_at, run_id FROM runs WHERE ");
        out.push_sql(WAITS);
        out.push_sql(ITS_TURN);
        push!(out, " AND agent = ANY(", &self.agents => Array<Text>, ") \
                ORDER BY priority DESC, run_at, run_id LIMIT ", &self.limit => BigInt, " FOR UPDATE SKIP LOCKED), \
             limited AS MATERIALIZED ( \
                SELECT w.* FROM unnest(", &self.limited => Array<Text>, ", ", &self.rooms => Array<BigInt>, ", ",
            &self.everywhere => Array<Nullable<BigInt>>, ") AS a (name, room, everywhere), \
                LATERAL (SELECT priority, run_at, run_id FROM runs WHERE ");
        out.push_sql(WAITS);
        out.push_sql(ITS_TURN);
        push!(out, " AND agent = a.name \
                         ORDER BY priority DESC, run_at, run_id LIMIT CASE WHEN a.everywhere IS NULL THEN a.room ELSE LEAST(a.room, GREATEST(0, a.everywhere - ( \
                            SELECT COALESCE(sum(live), 0) FROM nodes n, LATERAL ( \
                               SELECT count(*) AS live FROM runs o \
                               WHERE o.node_id = n.node_id AND o.settled_at IS NULL AND o.paused_at IS NULL AND o.agent = a.name) l))) END \
                         FOR UPDATE SKIP LOCKED) w), \
             next AS MATERIALIZED ( \
                SELECT * FROM unlimited UNION ALL SELECT * FROM limited \
                ORDER BY priority DESC, run_at, run_id LIMIT ", &self.limit => BigInt, "), \
             taken AS ( \
                UPDATE runs r SET node_id = ", &self.node => SqlUuid, ", attempt = r.attempt + 1, \
                    session_turn = CASE WHEN r.session_turn IS NOT NULL THEN 'holds' END \
                FROM next WHERE r.run_id = next.run_id RETURNING r.*) \
             SELECT ");
        out.push_sql(RUN_COLUMNS);
        push!(
            out,
            " FROM taken r JOIN run_inputs i USING (run_id) LEFT JOIN run_outputs o USING (run_id) \
             ORDER BY r.priority DESC, r.run_at, r.run_id"
        );
        Ok(())
    }
}

/// The runs of a node that it has not started.
pub(super) struct UnstartedRuns {
    pub(super) node: Uuid,
}

statement!(UnstartedRuns -> RunColumns);

impl QueryFragment<Pg> for UnstartedRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(RUN_COLUMNS);
        push!(out,
            " FROM runs r JOIN run_inputs i USING (run_id) LEFT JOIN run_outputs o USING (run_id) \
             WHERE r.settled_at IS NULL AND r.paused_at IS NULL AND r.status = 'PENDING' AND r.node_id = ", &self.node => SqlUuid
        );
        Ok(())
    }
}

pub(super) async fn unstarted(conn: &mut Connection, node: NodeId) -> StoreResult<Vec<TakenRun>> {
    let rows: QueryResult<Vec<RunRow>> = UnstartedRuns { node: node.as_uuid() }.get_results(conn).await;
    Ok(taken(rows.map_err(|error| from_diesel(&error))?))
}

pub(super) async fn count_waiting(conn: &mut Connection, limit: usize) -> StoreResult<usize> {
    let waiting: QueryResult<i64> = CountWaiting { limit: count(limit) }.get_result(conn).await;
    unsigned(waiting.map_err(|error| from_diesel(&error))?, "count")
}

/// Counts the waiting runs, up to a limit.
pub(super) struct CountWaiting {
    pub(super) limit: i64,
}

statement!(CountWaiting -> BigInt);

impl QueryFragment<Pg> for CountWaiting {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT count(*) FROM ( \
                SELECT FROM runs WHERE settled_at IS NULL AND paused_at IS NULL AND node_id IS NULL AND status = 'PENDING' LIMIT ",
            &self.limit => BigInt, ") AS waiting"
        );
        Ok(())
    }
}

pub(super) async fn cancel_requests(conn: &mut Connection, node: NodeId) -> StoreResult<Vec<RunId>> {
    let run_ids: QueryResult<Vec<Uuid>> = CancelRequests { node: node.as_uuid() }.get_results(conn).await;
    Ok(run_ids.map_err(|error| from_diesel(&error))?.into_iter().map(RunId::from).collect())
}

/// The unsettled runs of a node that somebody wants cancelled.
pub(super) struct CancelRequests {
    pub(super) node: Uuid,
}

statement!(CancelRequests -> SqlUuid);

impl QueryFragment<Pg> for CancelRequests {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT run_id FROM runs \
             WHERE cancel_requested_at IS NOT NULL AND settled_at IS NULL AND node_id = ", &self.node => SqlUuid
        );
        Ok(())
    }
}
