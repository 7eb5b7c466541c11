//! Takes up runs that wait, and finds again what this node has taken up.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::count;
use super::error::from_diesel;
use super::row::{RUN_COLUMNS, RunColumns, RunRow};
use super::statement::{push, statement};
use crate::store::turn::ITS_TURN;
use crate::store::{Claim, StoreError, StoreResult, TakenRun};

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
    limit: i64,
}

/// How often a claim is tried again that took up a run of a session in the same moment as somebody else did. Nothing is taken
/// up by a claim that fails, and the next one sees the other's run.
const RACES: usize = 5;

pub(super) async fn claim(conn: &mut Connection, claim: Claim) -> StoreResult<Vec<TakenRun>> {
    let statement = ClaimRuns::from(claim);
    let mut races = 0;
    let rows: Vec<RunRow> = loop {
        match statement.clone().get_results(conn).await {
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) if races < RACES => races += 1,
            // The violation is none of the data: the next claim may well pass.
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, information)) => {
                return Err(StoreError::Unavailable(information.message().to_owned()));
            }
            other => break other.map_err(|error| from_diesel(&error))?,
        }
    };
    rows.into_iter().map(RunRow::into_taken).collect()
}

impl From<Claim> for ClaimRuns {
    fn from(claim: Claim) -> Self {
        Self {
            node: claim.node.as_uuid(),
            agents: claim.agents,
            rooms: claim.limited.iter().map(|room| count(room.runs.min(claim.limit))).collect(),
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
                SELECT w.* FROM unnest(", &self.limited => Array<Text>, ", ", &self.rooms => Array<BigInt>, ") AS a (name, room), \
                LATERAL (SELECT priority, run_at, run_id FROM runs WHERE ");
        out.push_sql(WAITS);
        out.push_sql(ITS_TURN);
        push!(out, " AND agent = a.name \
                         ORDER BY priority DESC, run_at, run_id LIMIT a.room FOR UPDATE SKIP LOCKED) w), \
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
