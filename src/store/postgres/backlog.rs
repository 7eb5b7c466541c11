//! What waits, by agent.

use std::time::Duration;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Double, Text};

use super::row::unsigned;
use super::statement::{push, statement};
use crate::store::{Backlog, StoreResult};

/// Counts what may start and waits, of each agent up to a limit.
pub(super) struct CountBacklogs {
    pub(super) agents: Vec<String>,
    pub(super) limit: i64,
}

statement!(CountBacklogs -> (Text, BigInt, Double));

impl QueryFragment<Pg> for CountBacklogs {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT a.name, counted.waiting, counted.oldest FROM unnest(", &self.agents => Array<Text>, ") AS a (name), \
             LATERAL (SELECT count(*) AS waiting, \
                    coalesce(extract(epoch FROM now() - min(run_at)), 0)::float8 AS oldest \
                FROM (SELECT run_at FROM runs WHERE settled_at IS NULL AND paused_at IS NULL AND node_id IS NULL AND status = 'PENDING' \
                    AND agent = a.name AND run_at <= now() LIMIT ", &self.limit => BigInt, ") AS w) AS counted"
        );
        Ok(())
    }
}

pub(super) fn backlog((agent, waiting, oldest): (String, i64, f64)) -> StoreResult<Backlog> {
    let oldest = Duration::try_from_secs_f64(oldest).unwrap_or_default();
    Ok(Backlog { agent, waiting: unsigned(waiting, "count")?, oldest })
}
