//! Lists runs, page by page.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Text, Timestamptz, Uuid as SqlUuid};

use super::read::RUNS;
use super::row::{RUN_COLUMNS, RunColumns};
use super::statement::push;
use crate::run::RunStatus;
use crate::store::RunQuery;

/// One page of runs, and one more run to tell whether there is another page.
///
/// Its text depends on which conditions there are and on how many runs are asked for, so that each gets a plan of its own.
pub(super) struct ListRuns(pub(super) RunQuery);

impl QueryId for ListRuns {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListRuns {
    type SqlType = RunColumns;
}

impl ListRuns {
    fn limit(&self) -> i64 {
        i64::try_from(self.0.page_size() + 1).unwrap_or(i64::MAX)
    }

    /// The table whose indexes lead to the runs: that of the rows that change knows the unsettled ones and children, the other
    /// one all runs. Both have all that is asked for.
    fn source(&self) -> &'static str {
        let is_unsettled = self.0.status.is_some_and(|status| !status.is_terminal());
        if is_unsettled || self.0.parent_run_id.is_some() { "r" } else { "i" }
    }
}

impl QueryFragment<Pg> for ListRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // There are more texts than could be kept prepared: each takes the server about 140 KB for as long as its connection lasts.
        out.unsafe_to_cache_prepared();
        let (query, from) = (&self.0, self.source());
        out.push_sql("SELECT ");
        out.push_sql(RUN_COLUMNS);
        out.push_sql(RUNS);
        out.push_sql("WHERE true");
        let and = |out: &mut AstPass<'_, 'b, Pg>, condition: &str| out.push_sql(&format!(" AND {from}.{condition} "));
        if let Some(session_id) = &query.session_id {
            and(&mut out, "session_id =");
            push!(out, session_id.as_str() => Text);
        }
        if let Some(user_id) = &query.user_id {
            and(&mut out, "user_id =");
            push!(out, user_id.as_str() => Text);
        }
        if let Some(agent) = &query.agent {
            and(&mut out, "agent =");
            push!(out, agent => Text);
        }
        if let Some(parent) = &query.parent_run_id {
            push!(out, " AND r.parent_run_id = ", parent.as_uuid_ref() => SqlUuid);
        }
        if let Some(status) = query.status {
            // The word is one of six of our own; saying what it implies opens the indexes of unsettled and of paused runs.
            let implied = match status {
                RunStatus::Pending | RunStatus::Running => "r.settled_at IS NULL AND r.paused_at IS NULL",
                RunStatus::Paused => "r.settled_at IS NULL AND r.paused_at IS NOT NULL",
                RunStatus::Completed | RunStatus::Cancelled | RunStatus::Error => "r.settled_at IS NOT NULL",
            };
            out.push_sql(&format!(" AND r.status = '{status}' AND {implied}"));
        }
        if let Some(first) = &query.created_from {
            and(&mut out, "created_at >=");
            push!(out, first => Timestamptz);
        }
        if let Some(until) = &query.created_until {
            and(&mut out, "created_at <");
            push!(out, until => Timestamptz);
        }
        if let Some(after) = &query.after {
            out.push_sql(&format!(" AND ({from}.created_at, {from}.run_id) < ("));
            push!(out, &after.created_at => Timestamptz, ", ", after.run_id.as_uuid_ref() => SqlUuid, ")");
        }
        let limit = self.limit();
        out.push_sql(&format!(" ORDER BY {from}.created_at DESC, {from}.run_id DESC LIMIT {limit}"));
        Ok(())
    }
}
