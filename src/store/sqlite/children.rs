//! Finds what a cancel of a run leaves to be done: the runs below it.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

use super::row::written;
use super::schema::runs;
use super::{bound, error::unreadable};
use crate::run::RunId;
use crate::store::StoreResult;

/// Of a row of `runs`: a run above it was cancelled, however those in between have ended.
pub(super) const IS_BELOW_CANCELLED: &str = "(runs.parent_run_id IS NOT NULL AND EXISTS ( \
    WITH RECURSIVE above (parent_run_id, status) AS ( \
        SELECT p.parent_run_id, p.status FROM runs AS p WHERE p.run_id = runs.parent_run_id \
        UNION ALL \
        SELECT p.parent_run_id, p.status FROM above JOIN runs AS p ON p.run_id = above.parent_run_id) \
    SELECT 1 FROM above WHERE status = 'CANCELLED'))";

/// Of a row of `runs`: its parent has settled.
const PARENT_HAS_SETTLED: &str =
    "EXISTS (SELECT 1 FROM runs AS p WHERE p.run_id = runs.parent_run_id AND p.settled_at IS NOT NULL)";

/// At most `limit` unsettled runs below a cancelled one, of these `parents` or of any, whose own parent has settled and that
/// nobody has asked to cancel.
pub(super) fn uncancelled(
    conn: &mut SqliteConnection,
    parents: Option<&[RunId]>,
    limit: usize,
) -> StoreResult<Vec<RunId>> {
    let ids: Vec<String> = match parents {
        Some(parents) => below(conn, parents, limit)?,
        None => runs::table
            .filter(runs::parent_run_id.is_not_null())
            .filter(runs::settled_at.is_null())
            .filter(runs::cancel_requested_at.is_null())
            .filter(sql::<Bool>(PARENT_HAS_SETTLED))
            .filter(sql::<Bool>(IS_BELOW_CANCELLED))
            .select(runs::run_id)
            .limit(bound(limit))
            .load(conn)?,
    };
    ids.iter().map(|id| id.parse().map_err(unreadable("run_id"))).collect()
}

#[derive(QueryableByName)]
struct Below {
    #[diesel(sql_type = Text)]
    run_id: String,
}

/// From the cancelled ones of `parents` down, through what has settled.
fn below(conn: &mut SqliteConnection, parents: &[RunId], limit: usize) -> StoreResult<Vec<String>> {
    let found: Vec<Below> = diesel::sql_query(
        "WITH RECURSIVE settled (run_id) AS ( \
            SELECT run_id FROM runs WHERE run_id IN (SELECT value FROM json_each(?)) AND status = 'CANCELLED' \
            UNION ALL \
            SELECT c.run_id FROM settled JOIN runs AS c ON c.parent_run_id = settled.run_id \
            WHERE c.parent_run_id IS NOT NULL AND c.settled_at IS NOT NULL) \
         SELECT r.run_id AS run_id FROM settled JOIN runs AS r ON r.parent_run_id = settled.run_id \
         WHERE r.parent_run_id IS NOT NULL AND r.settled_at IS NULL AND r.cancel_requested_at IS NULL LIMIT ?",
    )
    .bind::<Text, _>(written(&parents)?)
    .bind::<BigInt, _>(bound(limit))
    .load(conn)?;
    Ok(found.into_iter().map(|below| below.run_id).collect())
}
