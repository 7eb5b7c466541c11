//! Forgets runs that settled long ago.

use std::time::Duration;

use diesel::dsl::{delete, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::connection::transact;
use super::schema::{run_events, run_inputs, run_outputs, run_steps, runs, session_updates, webhook_deliveries};
use super::{bound, now, session};
use crate::store::StoreResult;

/// Deletes at most `limit` runs that settled longer ago than `age`, with all that belongs to them, and says how many.
pub(super) fn prune(conn: &mut SqliteConnection, age: Duration, limit: usize) -> StoreResult<usize> {
    let before = now().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    transact(conn, |conn| {
        // By the time of creation, which has an index, as on Postgres.
        let old: Vec<String> = runs::table
            .filter(runs::created_at.lt(before))
            .filter(runs::settled_at.lt(before))
            // Its parent may still ask what has come of it.
            .filter(sql::<Bool>(
                "NOT EXISTS (SELECT 1 FROM runs AS p WHERE p.run_id = runs.parent_run_id AND p.settled_at IS NULL)",
            ))
            .order((runs::created_at, runs::run_id))
            .limit(bound(limit))
            .select(runs::run_id)
            .load(conn)?;
        delete(run_events::table.filter(run_events::run_id.eq_any(&old))).execute(conn)?;
        delete(session_updates::table.filter(session_updates::run_id.eq_any(&old))).execute(conn)?;
        delete(run_steps::table.filter(run_steps::run_id.eq_any(&old))).execute(conn)?;
        delete(webhook_deliveries::table.filter(webhook_deliveries::run_id.eq_any(&old))).execute(conn)?;
        delete(run_inputs::table.filter(run_inputs::run_id.eq_any(&old))).execute(conn)?;
        delete(run_outputs::table.filter(run_outputs::run_id.eq_any(&old))).execute(conn)?;
        let pruned = delete(runs::table.filter(runs::run_id.eq_any(&old))).execute(conn)?;
        session::prune(conn, before, limit)?;
        Ok(pruned)
    })
}
