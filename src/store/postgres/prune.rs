//! Forgets runs that settled long ago.
//!
//! Candidates are found by the time of their creation, for which there is an index: one by the time of settling would have to be
//! written by every run. What was created long ago and has not settled, or not for long, is passed over.

use std::time::Duration;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::session::PruneStates;
use super::statement::{push, statement};
use crate::store::PRUNED_EVENTS;

/// Deletes at most `limit` runs that settled longer ago than `age`, with all that belongs to them, and says how many.
///
/// Nobody else prunes at the same time: whoever comes second finds nothing to do.
pub(super) async fn prune(conn: &mut Connection, age: Duration, limit: usize) -> QueryResult<usize> {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let limit = super::count(limit);
    let pruned: Vec<Uuid> = PruneRuns { age_ms, limit }.get_results(conn).await?;
    PruneStates { age_ms, limit }.execute(conn).await?;
    Ok(pruned.len())
}

pub(super) struct PruneRuns {
    pub(super) age_ms: i64,
    pub(super) limit: i64,
}

statement!(PruneRuns -> SqlUuid);

impl QueryFragment<Pg> for PruneRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // The lock is the transaction's, which is this statement. Its key is the schema's table, so that Greenrooms in other
        // schemas of the database have locks of their own.
        push!(out,
            "WITH alone AS MATERIALIZED ( \
                SELECT pg_try_advisory_xact_lock('runs'::regclass::oid::bigint) AS mine), \
             old AS MATERIALIZED ( \
                SELECT i.run_id, i.created_at, r.next_seq FROM run_inputs i JOIN runs r USING (run_id), alone \
                WHERE alone.mine AND r.settled_at IS NOT NULL \
                  AND i.created_at < now() - ", &self.age_ms => BigInt, " * interval '1 millisecond' \
                  AND NOT EXISTS (SELECT FROM runs p WHERE p.run_id = r.parent_run_id AND p.settled_at IS NULL) \
                  AND r.settled_at < now() - ", &self.age_ms => BigInt, " * interval '1 millisecond' \
                ORDER BY i.created_at, i.run_id LIMIT ", &self.limit => BigInt, " FOR UPDATE OF r SKIP LOCKED), \
             counted AS ( \
                SELECT run_id, sum(next_seq) OVER (ORDER BY created_at, run_id) - next_seq AS events_before FROM old), \
             doomed AS MATERIALIZED (SELECT run_id FROM counted WHERE events_before <= ", &PRUNED_EVENTS => BigInt, "), \
             events AS (DELETE FROM run_events e USING doomed d WHERE e.run_id = d.run_id), \
             webhooks AS (DELETE FROM webhook_deliveries w USING doomed d WHERE w.run_id = d.run_id), \
             updates AS (DELETE FROM session_updates u USING doomed d WHERE u.run_id = d.run_id), \
             steps AS (DELETE FROM run_steps s USING doomed d WHERE s.run_id = d.run_id), \
             inputs AS (DELETE FROM run_inputs i USING doomed d WHERE i.run_id = d.run_id), \
             outputs AS (DELETE FROM run_outputs o USING doomed d WHERE o.run_id = d.run_id) \
             DELETE FROM runs r USING doomed d WHERE r.run_id = d.run_id RETURNING r.run_id"
        );
        Ok(())
    }
}
