//! What is asked of the tables.

use diesel::dsl::{exists, max, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::children::IS_BELOW_CANCELLED;
use super::row::{self, EventRow, FactsRow, InputRow, OutputRow, RunRow, StepRow, StoredRun};
use super::schema::{cancel_intents, run_events, run_inputs, run_outputs, run_steps, runs};
use super::{bound, error::unreadable};
use crate::run::{Exchange, Run, RunEvent, RunId, RunStatus, StepRecord, Turn, UserId};
use crate::store::protocol::RowFacts;
use crate::store::protocol::pause::PausedRow;
use crate::store::turn::ITS_TURN;
use crate::store::{History, Mark, NodeId, RunQuery, StoreResult, TakenRun};

define_sql_function! {
    #[sql_name = "coalesce"]
    fn coalesce_bool(condition: Nullable<Bool>, instead: Bool) -> Bool;
}

define_sql_function! {
    fn coalesce(text: Nullable<Text>, instead: Text) -> Text;
}

/// The columns of a [`FactsRow`], by the intents that are unexpired `$now`.
macro_rules! facts_of {
    ($now:expr) => {
        (
            runs::run_id,
            runs::on_crash,
            runs::status,
            runs::attempt,
            runs::node_id,
            runs::next_seq,
            runs::starts,
            runs::max_attempts,
            runs::cancel_requested_at,
            exists(
                cancel_intents::table
                    .filter(cancel_intents::run_id.eq(runs::run_id))
                    .filter(cancel_intents::user_id.eq("").or(cancel_intents::user_id.nullable().is(runs::user_id)))
                    .filter(cancel_intents::expires_at.gt($now)),
            ),
            sql::<Bool>(IS_BELOW_CANCELLED),
            coalesce_bool(runs::start_by.le($now), false),
        )
    };
}

/// The tables of a [`StoredRun`].
macro_rules! stored_runs {
    () => {
        runs::table
            .inner_join(run_inputs::table.on(run_inputs::run_id.eq(runs::run_id)))
            .left_join(run_outputs::table.on(run_outputs::run_id.eq(runs::run_id)))
            .select(<(RunRow, InputRow, Option<OutputRow>)>::as_select())
    };
}

pub(super) fn facts(conn: &mut SqliteConnection, run_id: RunId, now: i64) -> StoreResult<Option<RowFacts>> {
    let row: Option<FactsRow> = runs::table.find(run_id.to_string()).select(facts_of!(now)).first(conn).optional()?;
    row.map(|row| row.read()).transpose()
}

/// How far these runs have come. SQLite takes so many ids at a time.
pub(super) fn marks(conn: &mut SqliteConnection, run_ids: &[RunId]) -> StoreResult<Vec<(RunId, Mark)>> {
    let mut marks = Vec::with_capacity(run_ids.len());
    for some in run_ids.chunks(500) {
        let rows: Vec<(String, i64, bool)> = runs::table
            .filter(runs::run_id.eq_any(some.iter().map(ToString::to_string)))
            .select((runs::run_id, runs::next_seq, runs::settled_at.is_not_null()))
            .load(conn)?;
        for (run_id, next_seq, settled) in rows {
            let run_id = run_id.parse().map_err(unreadable("run_id"))?;
            let next_seq = next_seq.try_into().map_err(unreadable("next_seq"))?;
            marks.push((run_id, Mark { next_seq, settled }));
        }
    }
    Ok(marks)
}

/// Whom a run belongs to, if there is such a run.
pub(super) fn owner(conn: &mut SqliteConnection, run_id: RunId) -> StoreResult<Option<Option<UserId>>> {
    let owner: Option<Option<String>> =
        runs::table.find(run_id.to_string()).select(runs::user_id).first(conn).optional()?;
    Ok(owner.map(|owner| owner.map(UserId::from)))
}

/// The status of a run, if there is such a run.
pub(super) fn status(conn: &mut SqliteConnection, run_id: RunId) -> StoreResult<Option<RunStatus>> {
    let status: Option<String> = runs::table.find(run_id.to_string()).select(runs::status).first(conn).optional()?;
    status.map(|status| status.parse().map_err(unreadable("status"))).transpose()
}

/// The unsettled runs that some node has.
pub(super) fn taken_up(conn: &mut SqliteConnection, now: i64) -> StoreResult<Vec<FactsRow>> {
    let rows = runs::table
        .filter(runs::settled_at.is_null())
        .filter(runs::paused_at.is_null())
        .filter(runs::node_id.is_not_null())
        .select(facts_of!(now))
        .load(conn)?;
    Ok(rows)
}

/// The first runs that wait and should have been started or continued by `now`.
pub(super) fn overdue(conn: &mut SqliteConnection, limit: usize, now: i64) -> StoreResult<Vec<FactsRow>> {
    let rows = runs::table
        .filter(runs::start_by.is_not_null())
        .filter(runs::start_by.le(now))
        .filter(runs::node_id.is_null())
        .filter(runs::settled_at.is_null())
        .filter(runs::starts.eq(0).or(runs::paused_at.is_not_null()))
        .select(facts_of!(now))
        .order(runs::start_by)
        .limit(bound(limit))
        .load(conn)?;
    Ok(rows)
}

/// What a continue of a run meets.
pub(super) fn paused(conn: &mut SqliteConnection, run_id: RunId, now: i64) -> StoreResult<Option<PausedRow>> {
    let Some(facts) = facts(conn, run_id, now)? else { return Ok(None) };
    let (owner, continued_by): (Option<String>, Option<String>) =
        runs::table.find(run_id.to_string()).select((runs::user_id, runs::continued_by)).first(conn)?;
    let asked: Option<Option<String>> =
        run_outputs::table.find(run_id.to_string()).select(run_outputs::requirements).first(conn).optional()?;
    let asked = asked.flatten().filter(|_| facts.status == RunStatus::Paused);
    Ok(Some(PausedRow {
        facts,
        owner: owner.map(UserId::from),
        continued_by: continued_by.map(|id| id.parse().map_err(unreadable("continued_by"))).transpose()?,
        requirements: asked.map(|text| row::json("requirements", &text)).transpose()?.unwrap_or_default(),
    }))
}

pub(super) fn get(conn: &mut SqliteConnection, run_id: RunId) -> StoreResult<Option<Run>> {
    Ok(get_owned(conn, run_id)?.map(|(run, _)| run))
}

/// A run, and the node that has it.
pub(super) fn get_owned(conn: &mut SqliteConnection, run_id: RunId) -> StoreResult<Option<(Run, Option<NodeId>)>> {
    let stored: Option<StoredRun> =
        stored_runs!().filter(runs::run_id.eq(run_id.to_string())).first(conn).optional()?;
    let Some(stored) = stored else { return Ok(None) };
    let node = stored.0.node()?;
    Ok(Some((row::run(stored)?, node)))
}

/// The run that has the same idempotency key as `run`, and its fingerprint.
pub(super) fn with_key(conn: &mut SqliteConnection, run: &Run) -> StoreResult<Option<(RunId, Vec<u8>)>> {
    let Some(key) = &run.idempotency_key else { return Ok(None) };
    let found: Option<(String, Vec<u8>)> = runs::table
        .inner_join(run_inputs::table.on(run_inputs::run_id.eq(runs::run_id)))
        .filter(runs::agent.eq(&run.output.agent))
        .filter(coalesce(runs::user_id, "").eq(run.output.user_id.as_ref().map_or("", AsRef::as_ref)))
        .filter(runs::idempotency_key.eq(key))
        .select((runs::run_id, run_inputs::fingerprint))
        .first(conn)
        .optional()?;
    found.map(|(id, fingerprint)| Ok((id.parse().map_err(unreadable("run_id"))?, fingerprint))).transpose()
}

/// The unsettled run that has the session of `run` to itself.
pub(super) fn holder(conn: &mut SqliteConnection, run: &Run) -> StoreResult<Option<RunId>> {
    let found: Option<String> = runs::table
        .filter(runs::agent.eq(&run.output.agent))
        .filter(runs::session_id.eq(run.output.session_id.as_str()))
        .filter(coalesce(runs::user_id, "").eq(run.output.user_id.as_ref().map_or("", AsRef::as_ref)))
        .filter(runs::session_turn.eq(Turn::Holds.as_str()))
        .filter(runs::settled_at.is_null())
        .select(runs::run_id)
        .first(conn)
        .optional()?;
    found.map(|id| id.parse().map_err(unreadable("run_id"))).transpose()
}

pub(super) fn list(conn: &mut SqliteConnection, query: &RunQuery) -> StoreResult<Vec<Run>> {
    let mut found = stored_runs!().into_boxed::<Sqlite>();
    if let Some(session_id) = &query.session_id {
        found = found.filter(runs::session_id.eq(session_id.as_str()));
    }
    if let Some(user_id) = &query.user_id {
        found = found.filter(runs::user_id.eq(user_id.as_str()));
    }
    if let Some(agent) = &query.agent {
        found = found.filter(runs::agent.eq(agent));
    }
    if let Some(parent) = query.parent_run_id {
        found = found.filter(runs::parent_run_id.eq(parent.to_string()));
    }
    if let Some(status) = query.status {
        found = found.filter(runs::status.eq(status.as_str()));
    }
    if let Some(from) = query.created_from {
        found = found.filter(runs::created_at.ge(from.timestamp_micros()));
    }
    if let Some(until) = query.created_until {
        found = found.filter(runs::created_at.lt(until.timestamp_micros()));
    }
    if let Some(after) = query.after {
        let at = after.created_at.timestamp_micros();
        let older = runs::created_at.lt(at).or(runs::run_id.lt(after.run_id.to_string()));
        found = found.filter(runs::created_at.le(at).and(older));
    }
    let stored: Vec<StoredRun> = found
        .order((runs::created_at.desc(), runs::run_id.desc()))
        .limit(bound(query.page_size().saturating_add(1)))
        .load(conn)?;
    stored.into_iter().map(row::run).collect()
}

/// The first runs that wait for a node, of `agents`.
pub(super) fn waiting(
    conn: &mut SqliteConnection,
    agents: &[&str],
    limit: usize,
    now: i64,
) -> StoreResult<Vec<StoredRun>> {
    let stored = stored_runs!()
        .filter(runs::settled_at.is_null())
        .filter(runs::paused_at.is_null())
        .filter(runs::node_id.is_null())
        .filter(runs::status.eq(RunStatus::Pending.as_str()))
        .filter(runs::run_at.le(now))
        .filter(runs::agent.eq_any(agents))
        .filter(sql::<Bool>(ITS_TURN))
        .order((runs::priority.desc(), runs::run_at, runs::run_id))
        .limit(bound(limit))
        .load(conn)?;
    Ok(stored)
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    waiting: i64,
}

pub(super) fn count_waiting(conn: &mut SqliteConnection, limit: usize) -> StoreResult<usize> {
    // Diesel has no `FROM (SELECT …)`, and the limit has to be within it to save the work.
    let count: Count = diesel::sql_query(
        "SELECT count(*) AS waiting FROM (SELECT 1 FROM runs \
         WHERE settled_at IS NULL AND paused_at IS NULL AND node_id IS NULL AND status = 'PENDING' LIMIT ?)",
    )
    .bind::<BigInt, _>(bound(limit))
    .get_result(conn)?;
    usize::try_from(count.waiting).map_err(unreadable("count"))
}

/// The runs of a node that it has not started.
pub(super) fn unstarted(conn: &mut SqliteConnection, node: NodeId) -> StoreResult<Vec<TakenRun>> {
    let stored: Vec<StoredRun> = stored_runs!()
        .filter(runs::settled_at.is_null())
        .filter(runs::paused_at.is_null())
        .filter(runs::node_id.eq(node.to_string()))
        .filter(runs::status.eq(RunStatus::Pending.as_str()))
        .load(conn)?;
    Ok(row::all_taken(stored))
}

pub(super) fn cancel_requests(conn: &mut SqliteConnection, node: NodeId) -> StoreResult<Vec<RunId>> {
    let ids: Vec<String> = runs::table
        .filter(runs::node_id.eq(node.to_string()))
        .filter(runs::settled_at.is_null())
        .filter(runs::paused_at.is_null())
        .filter(runs::cancel_requested_at.is_not_null())
        .select(runs::run_id)
        .load(conn)?;
    ids.iter().map(|id| id.parse().map_err(unreadable("run_id"))).collect()
}

pub(super) fn events(
    conn: &mut SqliteConnection,
    run_id: RunId,
    from: u64,
    limit: usize,
) -> StoreResult<Vec<RunEvent>> {
    // No event can have a seq that the column cannot hold.
    let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
    let rows: Vec<EventRow> = run_events::table
        .filter(run_events::run_id.eq(run_id.to_string()))
        .filter(run_events::seq.ge(from))
        .order(run_events::seq)
        .limit(bound(limit))
        .select(EventRow::as_select())
        .load(conn)?;
    rows.into_iter().map(|row| row.read(run_id)).collect()
}

/// The steps of a run that began last.
pub(super) fn steps(conn: &mut SqliteConnection, run_id: RunId) -> StoreResult<Vec<StepRecord>> {
    let mine = run_steps::run_id.eq(run_id.to_string());
    let latest: Option<i32> = run_steps::table.filter(&mine).select(max(run_steps::first_attempt)).first(conn)?;
    let Some(latest) = latest else { return Ok(Vec::new()) };
    let rows: Vec<StepRow> = run_steps::table
        .filter(mine)
        .filter(run_steps::first_attempt.eq(latest))
        .order(run_steps::position)
        .select(StepRow::as_select())
        .load(conn)?;
    rows.into_iter().map(StepRow::read).collect()
}

pub(super) fn history(conn: &mut SqliteConnection, history: &History) -> StoreResult<Vec<Exchange>> {
    let before = history.before.to_string();
    let asked_at: Option<i64> = runs::table.find(&before).select(runs::created_at).first(conn).optional()?;
    let Some(asked_at) = asked_at else { return Ok(Vec::new()) };
    let user_id = history.user_id.as_ref().map(AsRef::<str>::as_ref);
    let rows: Vec<(String, Option<String>, Option<String>)> = runs::table
        .inner_join(run_inputs::table.on(run_inputs::run_id.eq(runs::run_id)))
        .inner_join(run_outputs::table.on(run_outputs::run_id.eq(runs::run_id)))
        .filter(runs::session_id.eq(history.session_id.as_str()))
        .filter(runs::user_id.is(user_id))
        .filter(runs::parent_run_id.is_null())
        .filter(runs::status.eq(RunStatus::Completed.as_str()))
        .filter(run_outputs::content.is_not_null())
        .filter(runs::created_at.le(asked_at).and(runs::created_at.lt(asked_at).or(runs::run_id.lt(&before))))
        .order((runs::created_at.desc(), runs::run_id.desc()))
        .limit(bound(history.limit))
        .select((run_inputs::input, run_outputs::content, run_outputs::tools))
        .load(conn)?;
    let exchange = |(input, content, tools): &(String, Option<String>, Option<String>)| {
        Ok(Exchange {
            input: row::json("input", input)?,
            content: row::json("content", content.as_deref().unwrap_or("null"))?,
            tools: row::json("tools", tools.as_deref().unwrap_or("[]"))?,
        })
    };
    rows.iter().rev().map(exchange).collect()
}
