//! Counts runs by their status.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};

use super::row::{corrupt, unsigned};
use super::statement::push;
use crate::store::{CountQuery, RunCounts, StoreResult};

/// How many runs there are of each status. What is unsettled is few, and has an index of its own; of the rest, no more rows
/// are looked at than the limit says.
///
/// Its text depends on whether there is a user, so that either gets a plan of its own.
pub(super) struct CountRuns(pub(super) CountQuery);

impl QueryId for CountRuns {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for CountRuns {
    type SqlType = (Text, BigInt);
}

impl QueryFragment<Pg> for CountRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let CountQuery { user_id, limit } = &self.0;
        out.push_sql("SELECT status, count(*) FROM (");
        for paused in ["IS NULL", "IS NOT NULL"] {
            out.push_sql(&format!("(SELECT status FROM runs WHERE settled_at IS NULL AND paused_at {paused}"));
            if let Some(user_id) = user_id {
                push!(out, " AND user_id = ", user_id.as_str() => Text);
            }
            out.push_sql(&format!(" LIMIT {limit}) UNION ALL "));
        }
        out.push_sql("(SELECT status FROM (SELECT r.status, r.settled_at FROM run_inputs i JOIN runs r USING (run_id)");
        if let Some(user_id) = user_id {
            push!(out, " WHERE i.user_id = ", user_id.as_str() => Text);
        }
        out.push_sql(&format!(
            " ORDER BY i.created_at DESC, i.run_id DESC LIMIT {limit}) AS newest WHERE settled_at IS NOT NULL)) AS counted \
             GROUP BY status"
        ));
        Ok(())
    }
}

pub(super) fn counts(rows: Vec<(String, i64)>) -> StoreResult<RunCounts> {
    let read = |(status, count): (String, i64)| {
        Ok((status.parse().map_err(|error| corrupt("status", &error))?, unsigned(count, "count")?))
    };
    rows.into_iter().map(read).collect()
}
