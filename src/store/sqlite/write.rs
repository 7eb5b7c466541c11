//! What a write does to the tables, once the protocol has decided.

use std::sync::Arc;

use diesel::dsl::{insert_into, replace_into, update};
use diesel::prelude::*;

use super::connection::transact;
use super::error::misfit;
use super::row::{EventRow, OutputRow, RunRow, StepRow, written, written_tools};
use super::schema::{run_events, run_inputs, run_outputs, run_steps, runs};
use super::{inherit, intent, now, read, resume};
use crate::run::{Metrics, RunEvent, RunEventKind, RunId, RunStatus, StepRecord, TraceParent};
use crate::store::protocol::insert::{Encounter, Met, encounter, may_have_children};
use crate::store::protocol::{
    Advance, CANCELLED_BY_CALLER, Cancel, CancelVerdict, CancelWritten, Change, InsertRun, Inserted, Refusal, RowFacts,
    Settlement, Verdict, Write, Written, judge, judge_cancel,
};
use crate::store::{StoreError, StoreLimits, StoreResult};

/// Writes all of `batch` or, after an error, nothing of it.
pub(super) fn write(conn: &mut SqliteConnection, batch: &[Write], limits: StoreLimits) -> StoreResult<Vec<Written>> {
    transact(conn, |conn| {
        let now = now();
        let one = |write: &Write| match write {
            Write::Insert(run) => insert(conn, run, now).map(Written::Insert),
            Write::Advance(step) => advance(conn, step, now).map(Written::Advance),
            Write::Cancel(one) => cancel(conn, one, limits, now).map(Written::Cancel),
            Write::Continue(one) => resume::resume(conn, one, now).map(Written::Continue),
        };
        batch.iter().map(one).collect()
    })
}

fn insert(conn: &mut SqliteConnection, insert: &InsertRun, now: i64) -> StoreResult<Inserted> {
    let run_id = insert.run.output.run_id;
    let (row, run) = RunRow::new(insert, now)?;
    let by_id: Option<Vec<u8>> =
        run_inputs::table.find(row.run_id()).select(run_inputs::fingerprint).first(conn).optional()?;
    let by_key = read::with_key(conn, &insert.run)?;
    let resumed = match insert.resumes {
        Some(failed) => read::status(conn, failed)?,
        None => None,
    };
    let met = Met {
        by_id: by_id.as_deref(),
        by_key: by_key.as_ref().map(|(run_id, asked)| (*run_id, &**asked)),
        holder: read::holder(conn, &insert.run)?,
        resumed,
        parent_is_over: parent_is_over(conn, insert, now)?,
    };
    match encounter(insert, &met) {
        Encounter::New => {}
        Encounter::Same(run_id) => {
            let missing = || StoreError::Corrupt(format!("run {run_id} has an input and no row"));
            let (run, node) = read::get_owned(conn, run_id)?.ok_or_else(missing)?;
            return Ok(Inserted::Existing { run: Arc::new(run), node });
        }
        Encounter::IdTaken => return Ok(Inserted::Conflict),
        Encounter::KeyTaken(run_id) => return Ok(Inserted::KeyConflict(run_id)),
        Encounter::SessionBusy(run_id) => return Ok(Inserted::SessionBusy(run_id)),
        Encounter::NotFailed(run_id) => return Ok(Inserted::NotFailed(run_id, resumed)),
        Encounter::ParentOver => return Ok(Inserted::ParentOver),
    }
    insert_into(runs::table).values(&row).execute(conn)?;
    let input = (
        run_inputs::run_id.eq(row.run_id()),
        run_inputs::input.eq(written(&run.input)?),
        run_inputs::metadata.eq(written(&run.metadata)?),
        run_inputs::fingerprint.eq(&insert.fingerprint[..]),
        run_inputs::webhook.eq(insert.webhook.as_ref().map(crate::run::WebhookUrl::as_str)),
        run_inputs::origin.eq(run.origin.map(|origin| origin.to_string())),
        run_inputs::traceparent.eq(run.traceparent.as_ref().map(TraceParent::as_str)),
    );
    insert_into(run_inputs::table).values(input).execute(conn)?;
    if let Some(failed) = insert.resumes {
        inherit::inherit(conn, failed, run_id, now)?;
    }
    let cancel_wanted = intent::is_there(conn, run_id, run.output.user_id.as_ref(), now)?;
    Ok(Inserted::New { run: Arc::new(run), cancel_wanted })
}

/// Whether `insert` is that of a child whose parent may have no more children by it.
fn parent_is_over(conn: &mut SqliteConnection, insert: &InsertRun, now: i64) -> StoreResult<bool> {
    let Some((parent, attempt)) = insert.run.output.parent_run_id.zip(insert.parent_attempt) else { return Ok(false) };
    Ok(!may_have_children(read::facts(conn, parent, now)?.as_ref(), attempt))
}

fn advance(conn: &mut SqliteConnection, advance: &Advance, now: i64) -> StoreResult<Result<(), Refusal>> {
    let facts = read::facts(conn, advance.run_id, now)?;
    let row = match (judge(advance, facts.as_ref()), facts) {
        (Verdict::Apply, Some(row)) => row,
        (Verdict::Applied, _) => return Ok(Ok(())),
        (Verdict::Refuse(refusal), _) => return Ok(Err(refusal)),
        (Verdict::Apply, None) => return Ok(Err(Refusal::Missing)),
    };
    let next_seq = i64::try_from(advance.next_seq()).map_err(misfit("seq"))?;
    let target = runs::table.find(advance.run_id.to_string());
    match &advance.change {
        Change::Start => {
            let to = (
                runs::status.eq(RunStatus::Running.as_str()),
                runs::starts.eq(runs::starts + 1),
                runs::started_at.eq(now),
                runs::next_seq.eq(next_seq),
            );
            update(target).set(to).execute(conn)?;
        }
        Change::Append => {
            update(target).set(runs::next_seq.eq(next_seq)).execute(conn)?;
        }
        Change::Pause(pause) => resume::pause(conn, advance.run_id, pause, next_seq, now)?,
        Change::HandBack => hand_back(conn, advance.run_id, &row, next_seq)?,
        Change::Retry { after } => {
            let delay = i64::try_from(after.as_micros()).map_err(misfit("delay"))?;
            let to = (
                runs::status.eq(RunStatus::Pending.as_str()),
                runs::node_id.eq(None::<String>),
                runs::run_at.eq(now.saturating_add(delay)),
                runs::started_at.eq(None::<i64>),
                runs::next_seq.eq(next_seq),
            );
            update(target).set(to).execute(conn)?;
            never_late_again(conn, advance.run_id)?;
        }
        Change::Settle(settlement) => settle(conn, advance.run_id, settlement, next_seq, now)?,
    }
    insert_events(conn, &advance.events)?;
    insert_steps(conn, advance.run_id, &advance.steps, now)?;
    Ok(Ok(()))
}

fn hand_back(conn: &mut SqliteConnection, run_id: RunId, row: &RowFacts, next_seq: i64) -> StoreResult<()> {
    let counted = u32::from(row.status == RunStatus::Running);
    let starts = i32::try_from(row.starts.saturating_sub(counted)).map_err(misfit("starts"))?;
    let to = (
        runs::status.eq(RunStatus::Pending.as_str()),
        runs::node_id.eq(None::<String>),
        runs::starts.eq(starts),
        runs::started_at.eq(None::<i64>),
        runs::next_seq.eq(next_seq),
    );
    update(runs::table.find(run_id.to_string())).set(to).execute(conn)?;
    if row.status == RunStatus::Running { never_late_again(conn, run_id) } else { Ok(()) }
}

/// A run that was started once may wait for as long as it has to.
pub(super) fn never_late_again(conn: &mut SqliteConnection, run_id: RunId) -> StoreResult<()> {
    update(runs::table.find(run_id.to_string())).set(runs::start_by.eq(None::<i64>)).execute(conn)?;
    Ok(())
}

fn cancel(conn: &mut SqliteConnection, cancel: &Cancel, limits: StoreLimits, now: i64) -> StoreResult<CancelWritten> {
    let run_id = cancel.run_id;
    let hit = read::owner(conn, run_id)?.is_some_and(|owner| cancel.hits(owner.as_ref()));
    let facts = if hit { read::facts(conn, run_id, now)? } else { None };
    match (judge_cancel(facts.as_ref()), facts) {
        (CancelVerdict::StoreIntent, _) | (CancelVerdict::Settle, None) => intent::store(conn, cancel, limits, now),
        (CancelVerdict::Settled(status), _) => Ok(CancelWritten::Settled(status)),
        (CancelVerdict::Request(node), _) => {
            update(runs::table.find(run_id.to_string()).filter(runs::cancel_requested_at.is_null()))
                .set(runs::cancel_requested_at.eq(now))
                .execute(conn)?;
            Ok(CancelWritten::Requested(node))
        }
        (CancelVerdict::Settle, Some(row)) => {
            cancel_unowned(conn, run_id, &row, now)?;
            let waited_for_people = row.status == RunStatus::Paused;
            Ok(if waited_for_people { CancelWritten::CancelledPaused } else { CancelWritten::Cancelled })
        }
    }
}

/// Settles a run that no process has as `CANCELLED`.
pub(super) fn cancel_unowned(conn: &mut SqliteConnection, run_id: RunId, row: &RowFacts, now: i64) -> StoreResult<()> {
    let settlement = Settlement {
        status: RunStatus::Cancelled,
        content: None,
        error: None,
        metrics: Metrics::default(),
        tools: Vec::new(),
    };
    let last = RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() };
    settle_unowned(conn, run_id, row, &settlement, last, now)
}

/// Settles a run that no live process has, with its last event; the run loses the node that it may have had.
pub(super) fn settle_unowned(
    conn: &mut SqliteConnection,
    run_id: RunId,
    row: &RowFacts,
    settlement: &Settlement,
    last: RunEventKind,
    now: i64,
) -> StoreResult<()> {
    let event = RunEvent::new(run_id, row.next_seq, last);
    let next_seq = i64::try_from(row.next_seq.saturating_add(1)).map_err(misfit("seq"))?;
    settle(conn, run_id, settlement, next_seq, now)?;
    update(runs::table.find(run_id.to_string())).set(runs::node_id.eq(None::<String>)).execute(conn)?;
    insert_events(conn, &[event])
}

fn settle(
    conn: &mut SqliteConnection,
    run_id: RunId,
    settlement: &Settlement,
    next_seq: i64,
    now: i64,
) -> StoreResult<()> {
    let id = run_id.to_string();
    let to = (
        runs::status.eq(settlement.status.as_str()),
        runs::paused_at.eq(None::<i64>),
        runs::settled_at.eq(now),
        runs::next_seq.eq(next_seq),
    );
    update(runs::table.find(&id)).set(to).execute(conn)?;
    let output = OutputRow {
        run_id: id,
        content: settlement.content.as_ref().map(written).transpose()?,
        error_kind: settlement.error.as_ref().map(|error| error.kind.to_string()),
        error_message: settlement.error.as_ref().map(|error| error.message.clone()),
        metrics: written(&settlement.metrics)?,
        tools: written_tools(&settlement.tools)?,
        requirements: None,
    };
    // What a paused run has said and cost so far is there already, and stays.
    let failure =
        (run_outputs::error_kind.eq(&output.error_kind), run_outputs::error_message.eq(&output.error_message));
    insert_into(run_outputs::table)
        .values(&output)
        .on_conflict(run_outputs::run_id)
        .do_update()
        .set(failure)
        .execute(conn)?;
    if settlement.status == RunStatus::Cancelled {
        let owner = read::owner(conn, run_id)?.flatten();
        intent::forget(conn, run_id, owner.as_ref())?;
    }
    Ok(())
}

pub(super) fn insert_steps(
    conn: &mut SqliteConnection,
    run_id: RunId,
    steps: &[StepRecord],
    now: i64,
) -> StoreResult<()> {
    for step in steps {
        replace_into(run_steps::table).values(&StepRow::new(run_id, step, now)?).execute(conn)?;
    }
    Ok(())
}

pub(super) fn insert_events(conn: &mut SqliteConnection, events: &[RunEvent]) -> StoreResult<()> {
    // One by one: unlike an insert of many rows, whose text depends on their number, this statement is prepared once.
    for event in events {
        insert_into(run_events::table).values(&EventRow::new(event)?).execute(conn)?;
    }
    Ok(())
}
