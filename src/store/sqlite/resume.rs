//! Pauses runs, and lets them go on when people have decided.

use diesel::dsl::{delete, insert_into, update};
use diesel::prelude::*;

use super::error::misfit;
use super::read;
use super::row::{OutputRow, written, written_tools};
use super::schema::{run_outputs, runs};
use super::takeover::fail;
use super::write::{insert_events, insert_steps};
use crate::run::{FailureKind, RunEvent, RunEventKind, RunId, RunStatus};
use crate::store::StoreResult;
use crate::store::protocol::Pause;
use crate::store::protocol::pause::{Continue, ContinueRefusal, ContinueVerdict, judge_continue};

pub(super) fn pause(
    conn: &mut SqliteConnection,
    run_id: RunId,
    pause: &Pause,
    next_seq: i64,
    now: i64,
) -> StoreResult<()> {
    let timeout = pause.timeout.map(|timeout| i64::try_from(timeout.as_micros()).map_err(misfit("pause_timeout")));
    let to = (
        runs::status.eq(RunStatus::Paused.as_str()),
        runs::node_id.eq(None::<String>),
        runs::starts.eq(runs::starts - 1),
        runs::start_by.eq(timeout.transpose()?.map(|timeout| now.saturating_add(timeout))),
        runs::paused_at.eq(now),
        runs::next_seq.eq(next_seq),
    );
    update(runs::table.find(run_id.to_string())).set(to).execute(conn)?;
    let output = OutputRow {
        run_id: run_id.to_string(),
        content: pause.content.as_ref().map(written).transpose()?,
        error_kind: None,
        error_message: None,
        metrics: written(&pause.metrics)?,
        tools: written_tools(&pause.tools)?,
        requirements: Some(written(&pause.requirements)?),
    };
    insert_into(run_outputs::table).values(&output).execute(conn)?;
    Ok(())
}

pub(super) fn resume(
    conn: &mut SqliteConnection,
    asked: &Continue,
    now: i64,
) -> StoreResult<Result<(), ContinueRefusal>> {
    let row = read::paused(conn, asked.run_id, now)?;
    let (steps, row) = match (judge_continue(asked, row.as_ref()), row) {
        (ContinueVerdict::Apply(steps), Some(row)) => (steps, row.facts),
        (ContinueVerdict::Expire, Some(row)) => {
            fail(conn, asked.run_id, &row.facts, FailureKind::PauseTimeout, now)?;
            return Ok(Err(ContinueRefusal::NotPaused(RunStatus::Error)));
        }
        (ContinueVerdict::Applied, _) => return Ok(Ok(())),
        (ContinueVerdict::Refuse(refusal), _) => return Ok(Err(refusal)),
        (ContinueVerdict::Apply(_) | ContinueVerdict::Expire, None) => return Ok(Err(ContinueRefusal::Missing)),
    };
    let next_seq = i64::try_from(row.next_seq.saturating_add(1)).map_err(misfit("seq"))?;
    let to = (
        runs::status.eq(RunStatus::Pending.as_str()),
        runs::paused_at.eq(None::<i64>),
        runs::start_by.eq(None::<i64>),
        runs::started_at.eq(None::<i64>),
        runs::continued_by.eq(asked.id.to_string()),
        runs::next_seq.eq(next_seq),
    );
    update(runs::table.find(asked.run_id.to_string())).set(to).execute(conn)?;
    delete(run_outputs::table.find(asked.run_id.to_string())).execute(conn)?;
    insert_events(conn, &[RunEvent::new(asked.run_id, row.next_seq, RunEventKind::RunContinued {})])?;
    insert_steps(conn, asked.run_id, &steps, now)?;
    Ok(Ok(()))
}
