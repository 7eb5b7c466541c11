//! Counts runs by their status.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::bound;
use super::error::unreadable;
use crate::store::{CountQuery, RunCounts, StoreResult};

/// Diesel has no `FROM (SELECT …)`, and the limits have to be within it to save the work. Each condition on the user comes in
/// two texts, so that either gets a plan of its own.
const OF_ALL: &str = "SELECT status, count(*) AS runs FROM ( \
     SELECT * FROM (SELECT status FROM runs WHERE settled_at IS NULL AND paused_at IS NULL LIMIT ?2) UNION ALL \
     SELECT * FROM (SELECT status FROM runs WHERE settled_at IS NULL AND paused_at IS NOT NULL LIMIT ?2) UNION ALL \
     SELECT status FROM (SELECT status, settled_at FROM runs ORDER BY created_at DESC, run_id DESC LIMIT ?2) \
     WHERE settled_at IS NOT NULL AND ?1 IS NULL) GROUP BY status";
const OF_A_USER: &str = "SELECT status, count(*) AS runs FROM ( \
     SELECT * FROM (SELECT status FROM runs WHERE user_id = ?1 AND settled_at IS NULL LIMIT ?2) UNION ALL \
     SELECT status FROM (SELECT status, settled_at FROM runs WHERE user_id = ?1 \
         ORDER BY created_at DESC, run_id DESC LIMIT ?2) \
     WHERE settled_at IS NOT NULL) GROUP BY status";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = BigInt)]
    runs: i64,
}

pub(super) fn count(conn: &mut SqliteConnection, query: &CountQuery) -> StoreResult<RunCounts> {
    let user_id = query.user_id.as_ref().map(AsRef::<str>::as_ref);
    let rows: Vec<Count> = diesel::sql_query(if user_id.is_some() { OF_A_USER } else { OF_ALL })
        .bind::<Nullable<Text>, _>(user_id)
        .bind::<BigInt, _>(bound(query.limit))
        .load(conn)?;
    let read = |row: Count| {
        let count = usize::try_from(row.runs).map_err(unreadable("count"))?;
        Ok((row.status.parse().map_err(unreadable("status"))?, count))
    };
    rows.into_iter().map(read).collect()
}
