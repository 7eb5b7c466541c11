//! Cancels of runs that do not exist yet.
//!
//! An intent is told apart by the run's id and by the only user whose run it may hit. One that may hit anybody's has an
//! empty user id, which no user has.

use diesel::dsl::{delete, exists, insert_into, select};
use diesel::prelude::*;

use super::bound;
use super::schema::cancel_intents;
use crate::run::{RunId, UserId};
use crate::store::protocol::{Cancel, CancelWritten};
use crate::store::{StoreLimits, StoreResult};

/// The user ids of the intents that hit a run of `owner`.
fn hitting(owner: Option<&UserId>) -> [&str; 2] {
    ["", owner.map_or("", UserId::as_str)]
}

/// Whether an unexpired intent waits for the run.
pub(super) fn is_there(
    conn: &mut SqliteConnection,
    run_id: RunId,
    owner: Option<&UserId>,
    now: i64,
) -> StoreResult<bool> {
    let its = cancel_intents::table
        .filter(cancel_intents::run_id.eq(run_id.to_string()))
        .filter(cancel_intents::user_id.eq_any(hitting(owner)))
        .filter(cancel_intents::expires_at.gt(now));
    Ok(select(exists(its)).get_result(conn)?)
}

/// Stores an intent, or lets one that is there already live longer.
pub(super) fn store(
    conn: &mut SqliteConnection,
    cancel: &Cancel,
    limits: StoreLimits,
    now: i64,
) -> StoreResult<CancelWritten> {
    let key = (cancel.run_id.to_string(), cancel.user_id.as_ref().map_or("", UserId::as_str));
    let same = cancel_intents::table.find(key.clone()).filter(cancel_intents::expires_at.gt(now));
    if !select(exists(same)).get_result::<bool>(conn)? {
        let count: i64 = cancel_intents::table.filter(cancel_intents::expires_at.gt(now)).count().get_result(conn)?;
        if count >= bound(limits.max_intents) {
            return Ok(CancelWritten::TooManyIntents);
        }
    }
    let ttl = i64::try_from(limits.intent_ttl.as_micros()).unwrap_or(i64::MAX);
    let expires_at = cancel_intents::expires_at.eq(now.saturating_add(ttl));
    insert_into(cancel_intents::table)
        .values((cancel_intents::run_id.eq(key.0), cancel_intents::user_id.eq(key.1), expires_at))
        .on_conflict((cancel_intents::run_id, cancel_intents::user_id))
        .do_update()
        .set(expires_at)
        .execute(conn)?;
    Ok(CancelWritten::IntentStored)
}

/// Forgets the intents that a cancelled run of `owner` has met.
pub(super) fn forget(conn: &mut SqliteConnection, run_id: RunId, owner: Option<&UserId>) -> StoreResult<()> {
    let met = cancel_intents::table
        .filter(cancel_intents::run_id.eq(run_id.to_string()))
        .filter(cancel_intents::user_id.eq_any(hitting(owner)));
    delete(met).execute(conn)?;
    Ok(())
}

pub(super) fn forget_expired(conn: &mut SqliteConnection, now: i64) -> StoreResult<()> {
    delete(cancel_intents::table.filter(cancel_intents::expires_at.le(now))).execute(conn)?;
    Ok(())
}
