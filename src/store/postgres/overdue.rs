//! Settles runs that have waited for too long, to be started or for people.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

use super::connection::Connection;
use super::count;
use super::error::from_diesel;
use super::read::{FACTS, Facts, FactsRow};
use super::settle::SettleRuns;
use super::statement::{push, statement};
use crate::run::{RunId, RunStatus};
use crate::store::StoreResult;
use crate::store::protocol::time_out;

/// Settles at most `limit` runs, and says which, and what they were.
pub(super) async fn settle_overdue(conn: &mut Connection, limit: usize) -> StoreResult<Vec<(RunId, RunStatus)>> {
    // Nearly always there are none, and this is asked often.
    if !AnyOverdue.get_result::<bool>(conn).await.map_err(|error| from_diesel(&error))? {
        return Ok(Vec::new());
    }
    let settled = settle_locked(conn, limit).await;
    if settled.is_err() {
        // Where the connection is gone this fails as well, and the next one to ask makes another one.
        conn.batch_execute("ROLLBACK").await.map_err(|error| from_diesel(&error))?;
    }
    settled
}

async fn settle_locked(conn: &mut Connection, limit: usize) -> StoreResult<Vec<(RunId, RunStatus)>> {
    conn.batch_execute("BEGIN").await.map_err(|error| from_diesel(&error))?;
    let rows: Vec<FactsRow> =
        LockOverdue { limit: count(limit) }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    let mut settle = SettleRuns::new()?;
    let mut settled = Vec::new();
    for row in rows {
        let (run_id, facts) = row.into_facts()?;
        if let Some(takeover) = time_out(&facts) {
            settle.push(run_id, takeover)?;
            settled.push((run_id, facts.status));
        }
    }
    if !settle.is_empty() {
        // Their rows are locked, so it is all of them.
        let _settled: Vec<Uuid> = settle.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    }
    conn.batch_execute("COMMIT").await.map_err(|error| from_diesel(&error))?;
    Ok(settled)
}

/// The runs that wait and should have been started or continued, as far as the index tells.
const OVERDUE: &str = "start_by IS NOT NULL AND start_by <= now() AND node_id IS NULL AND settled_at IS NULL AND (starts = 0 OR paused_at IS NOT NULL)";

pub(super) struct AnyOverdue;

statement!(AnyOverdue -> Bool);

impl QueryFragment<Pg> for AnyOverdue {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT EXISTS (SELECT FROM runs WHERE ");
        out.push_sql(OVERDUE);
        out.push_sql(")");
        Ok(())
    }
}

/// What they are like, each locked. What somebody is just taking up, or settling, is passed over.
pub(super) struct LockOverdue {
    pub(super) limit: i64,
}

statement!(LockOverdue -> Facts);

impl QueryFragment<Pg> for LockOverdue {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(FACTS);
        out.push_sql(" FROM runs r WHERE ");
        out.push_sql(OVERDUE);
        push!(out, " ORDER BY start_by LIMIT ", &self.limit => BigInt, " FOR UPDATE OF r SKIP LOCKED");
        Ok(())
    }
}
