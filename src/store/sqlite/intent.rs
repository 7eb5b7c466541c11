//! Cancels of runs that do not exist yet.

use diesel::dsl::{delete, exists, insert_into, select};
use diesel::prelude::*;

use super::bound;
use super::schema::cancel_intents;
use crate::run::RunId;
use crate::store::protocol::CancelWritten;
use crate::store::{StoreLimits, StoreResult};

/// Whether an unexpired intent waits for the run.
pub(super) fn is_there(conn: &mut SqliteConnection, run_id: RunId, now: i64) -> StoreResult<bool> {
    let mine = cancel_intents::table.find(run_id.to_string()).filter(cancel_intents::expires_at.gt(now));
    Ok(select(exists(mine)).get_result(conn)?)
}

/// Stores an intent, or lets one that is there already live longer.
pub(super) fn store(
    conn: &mut SqliteConnection,
    run_id: RunId,
    limits: StoreLimits,
    now: i64,
) -> StoreResult<CancelWritten> {
    if !is_there(conn, run_id, now)? {
        let count: i64 = cancel_intents::table.filter(cancel_intents::expires_at.gt(now)).count().get_result(conn)?;
        if count >= bound(limits.max_intents) {
            return Ok(CancelWritten::TooManyIntents);
        }
    }
    let ttl = i64::try_from(limits.intent_ttl.as_micros()).unwrap_or(i64::MAX);
    let expires_at = cancel_intents::expires_at.eq(now.saturating_add(ttl));
    insert_into(cancel_intents::table)
        .values((cancel_intents::run_id.eq(run_id.to_string()), expires_at))
        .on_conflict(cancel_intents::run_id)
        .do_update()
        .set(expires_at)
        .execute(conn)?;
    Ok(CancelWritten::IntentStored)
}

pub(super) fn forget(conn: &mut SqliteConnection, run_id: RunId) -> StoreResult<()> {
    delete(cancel_intents::table.find(run_id.to_string())).execute(conn)?;
    Ok(())
}

pub(super) fn forget_expired(conn: &mut SqliteConnection, now: i64) -> StoreResult<()> {
    delete(cancel_intents::table.filter(cancel_intents::expires_at.le(now))).execute(conn)?;
    Ok(())
}
