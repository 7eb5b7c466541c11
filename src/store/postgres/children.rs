//! Finds what a cancel of a run leaves to be done: its children.

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

/// At most `limit` unsettled children of cancelled runs, of these `parents` or of any, that nobody has asked to cancel.
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

/// Children of a run `p` that are still to be cancelled.
const UNCANCELLED: &str = "SELECT r.run_id FROM runs r JOIN runs p ON p.run_id = r.parent_run_id \
     WHERE r.parent_run_id IS NOT NULL AND r.settled_at IS NULL AND r.cancel_requested_at IS NULL AND p.status = 'CANCELLED'";

pub(super) struct ChildrenOf {
    pub(super) parents: Vec<Uuid>,
    pub(super) limit: i64,
}

statement!(ChildrenOf -> SqlUuid);

impl QueryFragment<Pg> for ChildrenOf {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(UNCANCELLED);
        push!(out,
            " AND r.parent_run_id = ANY(", &self.parents => Array<SqlUuid>, ") LIMIT ", &self.limit => BigInt
        );
        Ok(())
    }
}

pub(super) struct AnyChildren {
    pub(super) limit: i64,
}

statement!(AnyChildren -> SqlUuid);

impl QueryFragment<Pg> for AnyChildren {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(UNCANCELLED);
        push!(out, " LIMIT ", &self.limit => BigInt);
        Ok(())
    }
}
