//! What a run gets from the failed one that it resumes.

use diesel::dsl::{insert_into, update};
use diesel::prelude::*;

use super::read;
use super::schema::{run_inputs, runs, session_updates};
use super::write::insert_steps;
use crate::run::{RunId, StepRecord};
use crate::store::StoreResult;
use crate::store::protocol::INHERITED;

/// Gives the new run `heir` the steps, the children and the notes of changed states of `failed`, and whom that one was to
/// tell.
pub(super) fn inherit(conn: &mut SqliteConnection, failed: RunId, heir: RunId, now: i64) -> StoreResult<()> {
    let steps = read::steps(conn, failed)?.into_iter();
    let steps: Vec<StepRecord> = steps.map(|step| StepRecord { first_attempt: INHERITED, ..step }).collect();
    insert_steps(conn, heir, &steps, now)?;
    let children = runs::table.filter(runs::parent_run_id.eq(failed.to_string()));
    update(children).set(runs::parent_run_id.eq(heir.to_string())).execute(conn)?;
    inherit_updates(conn, failed, heir)?;
    let webhook: Option<String> =
        run_inputs::table.find(failed.to_string()).select(run_inputs::webhook).first(conn).optional()?.flatten();
    if let Some(webhook) = webhook {
        update(run_inputs::table.find(heir.to_string())).set(run_inputs::webhook.eq(webhook)).execute(conn)?;
        update(runs::table.find(heir.to_string())).set(runs::has_webhook.eq(true)).execute(conn)?;
    }
    Ok(())
}

fn inherit_updates(conn: &mut SqliteConnection, failed: RunId, heir: RunId) -> StoreResult<()> {
    let updates: Vec<(String, String)> = session_updates::table
        .filter(session_updates::run_id.eq(failed.to_string()))
        .select((session_updates::update_id, session_updates::result))
        .load(conn)?;
    for (update_id, result) in updates {
        let noted = (
            session_updates::run_id.eq(heir.to_string()),
            session_updates::update_id.eq(update_id),
            session_updates::result.eq(result),
        );
        insert_into(session_updates::table).values(noted).execute(conn)?;
    }
    Ok(())
}
