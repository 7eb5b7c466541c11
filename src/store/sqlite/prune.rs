//! Forgets runs that settled long ago.

use std::time::Duration;

use diesel::dsl::{delete, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::connection::transact;
use super::schema::{run_events, run_inputs, run_outputs, run_steps, runs, session_updates, webhook_deliveries};
use super::{bound, now, session};
use crate::store::{PRUNED_EVENTS, StoreResult};

/// The ids of those that go with one batch, of runs and how many events each has.
fn doomed(old: Vec<(String, i64)>) -> Vec<String> {
    let mut events = 0;
    let has_room = move |(_, own): &(String, i64)| {
        let before = events;
        events += own;
        before <= PRUNED_EVENTS
    };
    old.into_iter().take_while(has_room).map(|(run_id, _)| run_id).collect()
}

/// Deletes at most `limit` runs that settled longer ago than `age`, with all that belongs to them, and says how many.
pub(super) fn prune(conn: &mut SqliteConnection, age: Duration, limit: usize) -> StoreResult<usize> {
    let before = now().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    transact(conn, |conn| {
        // By the time of creation, which has an index, as on Postgres.
        let old: Vec<(String, i64)> = runs::table
            .filter(runs::created_at.lt(before))
            .filter(runs::settled_at.lt(before))
            // Its parent may still ask what has come of it.
            .filter(sql::<Bool>(
                "NOT EXISTS (SELECT 1 FROM runs AS p WHERE p.run_id = runs.parent_run_id AND p.settled_at IS NULL)",
            ))
            .order((runs::created_at, runs::run_id))
            .limit(bound(limit))
            .select((runs::run_id, runs::next_seq))
            .load(conn)?;
        let old = doomed(old);
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

#[cfg(test)]
mod tests {
    use super::doomed;

    #[test]
    fn a_batch_has_only_so_many_events_and_a_run_that_has_more_goes_alone() {
        let cases: [(&[i64], usize); 5] =
            [(&[], 0), (&[1, 2, 3], 3), (&[6000, 6000, 6000], 2), (&[1_000_000, 1], 1), (&[1, 1_000_000, 1], 2)];
        for (events, expected) in cases {
            let old = events.iter().map(|events| (String::new(), *events)).collect();
            assert_eq!(doomed(old).len(), expected, "{events:?}");
        }
    }
}
