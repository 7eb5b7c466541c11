//! What a run gets from the failed one that it resumes.

use diesel::dsl::update;
use diesel::prelude::*;

use super::read;
use super::schema::{run_inputs, runs};
use super::write::insert_steps;
use crate::run::{RunId, StepRecord};
use crate::store::StoreResult;
use crate::store::protocol::INHERITED;

/// Gives the new run `heir` the steps and the children of `failed`, and whom that one was to tell.
pub(super) fn inherit(conn: &mut SqliteConnection, failed: RunId, heir: RunId, now: i64) -> StoreResult<()> {
    let steps = read::steps(conn, failed)?.into_iter();
    let steps: Vec<StepRecord> = steps.map(|step| StepRecord { first_attempt: INHERITED, ..step }).collect();
    insert_steps(conn, heir, &steps, now)?;
    let children = runs::table.filter(runs::parent_run_id.eq(failed.to_string()));
    update(children).set(runs::parent_run_id.eq(heir.to_string())).execute(conn)?;
    let webhook: Option<String> =
        run_inputs::table.find(failed.to_string()).select(run_inputs::webhook).first(conn).optional()?.flatten();
    if let Some(webhook) = webhook {
        update(run_inputs::table.find(heir.to_string())).set(run_inputs::webhook.eq(webhook)).execute(conn)?;
        update(runs::table.find(heir.to_string())).set(runs::has_webhook.eq(true)).execute(conn)?;
    }
    Ok(())
}
