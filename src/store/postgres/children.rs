//! Finds what a cancel of a run leaves to be done: the runs below it.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::error::from_diesel;
use super::statement::{push, statement};
use crate::run::RunId;
use crate::store::StoreResult;

/// Whether a run above `r` was cancelled, however those in between have ended. Only a child makes it look at another row, and
/// only a grandchild at more than one.
macro_rules! is_below_cancelled {
    () => {
        "(r.parent_run_id IS NOT NULL AND EXISTS (SELECT FROM runs p WHERE p.run_id = r.parent_run_id AND (p.status = 'CANCELLED' OR p.parent_run_id IS NOT NULL AND EXISTS ( \
            WITH RECURSIVE above (parent_run_id, status) AS ( \
                SELECT a.parent_run_id, a.status FROM runs a WHERE a.run_id = p.parent_run_id \
                UNION ALL \
                SELECT a.parent_run_id, a.status FROM above b JOIN runs a ON a.run_id = b.parent_run_id) \
            SELECT FROM above WHERE status = 'CANCELLED'))))"
    };
}
pub(super) use is_below_cancelled;

/// At most `limit` unsettled runs below a cancelled one, of these `parents` or of any, whose own parent has settled and that
/// nobody has asked to cancel.
pub(super) async fn uncancelled(
    conn: &mut Connection,
    parents: Option<Vec<Uuid>>,
    limit: i64,
) -> StoreResult<Vec<RunId>> {
    let children: QueryResult<Vec<Uuid>> = match parents {
        Some(parents) => ChildrenOf { parents, limit }.get_results(conn).await,
        None => AnyChildren { limit }.get_results(conn).await,
    };
    Ok(children.map_err(|error| from_diesel(&error))?.into_iter().map(RunId::from).collect())
}

/// From the cancelled runs down, through what has settled.
pub(super) struct ChildrenOf {
    pub(super) parents: Vec<Uuid>,
    pub(super) limit: i64,
}

statement!(ChildrenOf -> SqlUuid);

impl QueryFragment<Pg> for ChildrenOf {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH RECURSIVE settled (run_id) AS ( \
                SELECT p.run_id FROM runs p WHERE p.run_id = ANY(", &self.parents => Array<SqlUuid>,
            ") AND p.status = 'CANCELLED' \
                UNION ALL \
                SELECT c.run_id FROM settled s JOIN runs c ON c.parent_run_id = s.run_id \
                WHERE c.parent_run_id IS NOT NULL AND c.settled_at IS NOT NULL) \
             SELECT r.run_id FROM settled s JOIN runs r ON r.parent_run_id = s.run_id \
             WHERE r.parent_run_id IS NOT NULL AND r.settled_at IS NULL AND r.cancel_requested_at IS NULL LIMIT ",
            &self.limit => BigInt
        );
        Ok(())
    }
}

/// From the unsettled runs up.
pub(super) struct AnyChildren {
    pub(super) limit: i64,
}

statement!(AnyChildren -> SqlUuid);

impl QueryFragment<Pg> for AnyChildren {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(concat!(
            "SELECT r.run_id FROM runs r \
             WHERE r.parent_run_id IS NOT NULL AND r.settled_at IS NULL AND r.cancel_requested_at IS NULL \
               AND EXISTS (SELECT FROM runs q WHERE q.run_id = r.parent_run_id AND q.settled_at IS NOT NULL) AND ",
            is_below_cancelled!()
        ));
        push!(out, " LIMIT ", &self.limit => BigInt);
        Ok(())
    }
}
