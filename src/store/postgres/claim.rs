//! Takes up runs that wait, and finds again what this node has taken up.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::row::{RUN_COLUMNS, RunColumns};
use super::statement::{push, statement};

/// Takes up waiting runs by priority, then age. Rows that another node is just taking are passed over.
///
/// A node whose lease is over gets nothing. Its row is locked for the time being: a sweep passes it over, so what is taken
/// up here is there when the next one looks; and where a sweep was first, this waits and finds the row marked or gone. A
/// renewal is not held up.
pub(super) struct ClaimRuns {
    pub(super) node: Uuid,
    pub(super) agents: Vec<String>,
    pub(super) limit: i64,
}

statement!(ClaimRuns -> RunColumns);

impl QueryFragment<Pg> for ClaimRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Without MATERIALIZED the planner may run the subquery more than once, and lock more rows than the limit.
        push!(out,
            "WITH lease AS MATERIALIZED ( \
                SELECT FROM nodes WHERE node_id = ", &self.node => SqlUuid, " AND lease_until > clock_timestamp() \
                FOR KEY SHARE), \
             next AS MATERIALIZED ( \
                SELECT run_id FROM runs \
                WHERE EXISTS (SELECT FROM lease) AND settled_at IS NULL AND node_id IS NULL AND status = 'PENDING' AND run_at <= now() \
                  AND agent = ANY(", &self.agents => Array<Text>, ") \
                ORDER BY priority DESC, run_at, run_id LIMIT ", &self.limit => BigInt, " FOR UPDATE SKIP LOCKED), \
             taken AS ( \
                UPDATE runs r SET node_id = ", &self.node => SqlUuid, ", attempt = r.attempt + 1 \
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
             WHERE r.settled_at IS NULL AND r.status = 'PENDING' AND r.node_id = ", &self.node => SqlUuid
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
                SELECT FROM runs WHERE settled_at IS NULL AND node_id IS NULL AND status = 'PENDING' LIMIT ",
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
