//! Reads and changes the states of sessions.

use diesel::dsl::{delete, insert_into, sql, update};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::connection::transact;
use super::error::misfit;
use super::row::{time, unsigned};
use super::schema::{session_updates, sessions};
use super::{bound, now, read as runs};
use crate::run::RunStatus;
use crate::store::StoreResult;
use crate::store::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};

pub(super) fn read(
    conn: &mut SqliteConnection,
    session: &SessionKey,
    asked: Option<UpdateId>,
) -> StoreResult<StoredState> {
    let row: Option<(String, i64, i64)> = sessions::table
        .find((session.session_id.as_str(), session.owner()))
        .select((sessions::state, sessions::version, sessions::updated_at))
        .first(conn)
        .optional()?;
    let state = match row {
        Some((state, version, at)) => Some((state, unsigned("version", version)?, time("updated_at", at)?)),
        None => None,
    };
    let result = match asked {
        Some(asked) => session_updates::table
            .find((asked.run_id.to_string(), asked.update.to_string()))
            .select(session_updates::result)
            .first(conn)
            .optional()?,
        None => None,
    };
    Ok(StoredState { state, result })
}

pub(super) fn write(conn: &mut SqliteConnection, write: &WriteState) -> StoreResult<StateWritten> {
    transact(conn, |conn| {
        let now = now();
        let owned = runs::facts(conn, write.id.run_id, now)?
            .is_some_and(|row| row.attempt == write.attempt && row.status == RunStatus::Running && row.node.is_some());
        if !owned {
            return Ok(StateWritten::Fenced);
        }
        let (session_id, user_id) = (write.session.session_id.as_str(), write.session.owner());
        let version = i64::try_from(write.version).map_err(misfit("version"))?;
        let present = sessions::table.find((session_id, user_id));
        let done = if version == 0 {
            let first = (
                sessions::session_id.eq(session_id),
                sessions::user_id.eq(user_id),
                sessions::state.eq(&write.state),
                sessions::version.eq(1_i64),
                sessions::updated_at.eq(now),
            );
            insert_into(sessions::table).values(first).on_conflict_do_nothing().execute(conn)?
        } else {
            let next = (
                sessions::state.eq(&write.state),
                sessions::version.eq(version.saturating_add(1)),
                sessions::updated_at.eq(now),
            );
            update(present.filter(sessions::version.eq(version))).set(next).execute(conn)?
        };
        if done == 0 {
            return Ok(StateWritten::Stale);
        }
        let noted = (
            session_updates::run_id.eq(write.id.run_id.to_string()),
            session_updates::update_id.eq(write.id.update.to_string()),
            session_updates::result.eq(&write.result),
        );
        insert_into(session_updates::table).values(noted).execute(conn)?;
        Ok(StateWritten::Done)
    })
}

/// Deletes at most `limit` states that have not changed since `before` and whose sessions have no runs any more.
pub(super) fn prune(conn: &mut SqliteConnection, before: i64, limit: usize) -> StoreResult<()> {
    let old: Vec<(String, String)> = sessions::table
        .filter(sessions::updated_at.lt(before))
        .filter(sql::<Bool>(
            "NOT EXISTS (SELECT 1 FROM runs WHERE runs.session_id = sessions.session_id \
             AND COALESCE(runs.user_id, '') = sessions.user_id)",
        ))
        .order(sessions::updated_at)
        .limit(bound(limit))
        .select((sessions::session_id, sessions::user_id))
        .load(conn)?;
    for (session_id, user_id) in old {
        delete(sessions::table.find((session_id, user_id))).execute(conn)?;
    }
    Ok(())
}
