//! What waits, by agent.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::bound;
use super::error::unreadable;
use crate::store::{Backlog, StoreResult};

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    waiting: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest: Option<i64>,
}

/// Counts what of an agent may start `now` and waits, up to a limit.
pub(super) fn backlog(conn: &mut SqliteConnection, agent: String, limit: usize, now: i64) -> StoreResult<Backlog> {
    // Diesel has no `FROM (SELECT …)`, and the limit has to be within it to save the work.
    let counted: Counted = diesel::sql_query(
        "SELECT count(*) AS waiting, min(run_at) AS oldest FROM (SELECT run_at FROM runs \
         WHERE settled_at IS NULL AND paused_at IS NULL AND node_id IS NULL AND status = 'PENDING' AND agent = ? AND run_at <= ? LIMIT ?)",
    )
    .bind::<Text, _>(&agent)
    .bind::<BigInt, _>(now)
    .bind::<BigInt, _>(bound(limit))
    .get_result(conn)?;
    let waited = counted.oldest.map_or(0, |oldest| now - oldest);
    let waiting = usize::try_from(counted.waiting).map_err(unreadable("count"))?;
    Ok(Backlog { agent, waiting, oldest: Duration::from_micros(waited.try_into().unwrap_or_default()) })
}
