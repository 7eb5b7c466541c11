//! Advances runs, many at a time: starts, more events, ends.

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use self::outputs::WriteOutputs;
pub(super) use self::steps::RememberSteps;
use super::cancel::is_awaited_by_cancel;
use super::children::is_below_cancelled;
use super::row::signed;
use super::statement::{Width, rows, statement};
use crate::run::RunStatus;
use crate::store::protocol::{Advance, Change};
use crate::store::{StoreError, StoreResult};

mod outputs;
mod steps;

/// `UPDATE` of any number of runs, each a slot in every array, with their events, steps and outputs. Answers the runs whose
/// row passed the guard; [`judge`](crate::store::protocol::judge) says why another did not.
#[derive(Default)]
pub(super) struct AdvanceRuns {
    run_ids: Vec<Uuid>,
    attempts: Vec<i32>,
    first_seqs: Vec<i64>,
    event_counts: Vec<i32>,
    changes: Vec<&'static str>,
    delays_ms: Vec<Option<i64>>,
    statuses: Vec<Option<&'static str>>,
    /// From which statuses each change may come, by the one table of transitions; from a terminal one none does.
    from_pending: Vec<bool>,
    from_running: Vec<bool>,
    from_paused: Vec<bool>,
    /// A run is to begin, or to be left to begin later.
    may_begin: bool,
    event_runs: Vec<Uuid>,
    event_seqs: Vec<i64>,
    event_times: Vec<DateTime<Utc>>,
    events: Vec<String>,
    steps: RememberSteps,
    outputs: WriteOutputs,
    /// The runs that are to end as `CANCELLED`: an intent of theirs is spent.
    pub(super) cancelled: Vec<Uuid>,
}

/// The word for a change in the statement.
const fn change_word(change: &Change) -> &'static str {
    match change {
        Change::Start => "start",
        Change::Append => "append",
        Change::Settle(_) => "settle",
        Change::Pause(_) => "pause",
        Change::HandBack => "hand_back",
        Change::Retry { .. } => "retry",
    }
}

impl AdvanceRuns {
    pub(super) fn is_empty(&self) -> bool {
        self.run_ids.is_empty()
    }

    pub(super) fn push(&mut self, advance: &Advance) -> StoreResult<()> {
        let run_id = advance.run_id.as_uuid();
        let attempt = signed(advance.attempt, "attempt")?;
        let first_seq = signed(advance.first_seq, "first_seq")?;
        let event_count = signed(advance.events.len(), "events")?;
        for event in &advance.events {
            self.event_runs.push(run_id);
            self.event_seqs.push(signed(event.seq, "seq")?);
            self.event_times.push(event.created_at);
            self.events.push(to_json(&event.kind)?);
        }
        for step in &advance.steps {
            self.steps.push(advance.run_id, step)?;
        }
        self.run_ids.push(run_id);
        self.attempts.push(attempt);
        self.first_seqs.push(first_seq);
        self.event_counts.push(event_count);
        self.changes.push(change_word(&advance.change));
        self.delays_ms.push(advance.change.delay().map(|delay| signed(delay.as_millis(), "delay")).transpose()?);
        self.statuses.push(advance.change.to().map(RunStatus::as_str));
        self.from_pending.push(advance.change.may_come_from(RunStatus::Pending));
        self.from_running.push(advance.change.may_come_from(RunStatus::Running));
        self.from_paused.push(advance.change.may_come_from(RunStatus::Paused));
        self.may_begin |= matches!(advance.change, Change::Start | Change::Retry { .. } | Change::Pause(_));
        self.outputs.push(run_id, &advance.change)?;
        if advance.change.to() == Some(RunStatus::Cancelled) {
            self.cancelled.push(run_id);
        }
        Ok(())
    }

    /// The texts that Postgres reads as JSON.
    pub(super) fn documents(&self) -> impl Iterator<Item = &String> {
        self.events.iter().chain(self.outputs.documents()).chain(&self.steps.results)
    }
}

pub(super) fn to_json(value: &impl serde::Serialize) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Data(error.to_string()))
}

/// What else must be so of a run `r` for a change that has user code begin, or that leaves it to begin later.
const MAY_BEGIN: &str = concat!(
    " AND (a.change NOT IN ('start', 'retry') OR r.starts < r.max_attempts) \
      AND (a.change NOT IN ('start', 'retry', 'pause') OR (r.cancel_requested_at IS NULL AND NOT ",
    is_awaited_by_cancel!("r"),
    " AND NOT ",
    is_below_cancelled!(),
    ")) AND (a.change <> 'start' OR r.start_by IS NULL OR r.start_by > now() OR r.starts > 0 OR r.status <> 'PENDING')"
);

statement!(of_parts AdvanceRuns -> SqlUuid);

impl QueryFragment<Pg> for AdvanceRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH ");
        self.walk_parts(Width::of(self.run_ids.len()), out.reborrow())?;
        out.push_sql(" SELECT run_id FROM done");
        Ok(())
    }
}

impl AdvanceRuns {
    /// The parts of a `WITH` that do the work; `done` has the runs that were advanced.
    pub(super) fn walk_parts<'b>(&'b self, width: Width, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // `IS TRUE` keeps the planner from making joins, which would compare each row with each.
        out.push_sql("changes AS (");
        rows!(out, width,
            run_id: &self.run_ids => SqlUuid,
            attempt: &self.attempts => Integer,
            first_seq: &self.first_seqs => BigInt,
            event_count: &self.event_counts => Integer,
            change: &self.changes => Text,
            delay_ms: &self.delays_ms => Nullable<BigInt>,
            status: &self.statuses => Nullable<Text>,
            from_pending: &self.from_pending => Bool,
            from_running: &self.from_running => Bool,
            from_paused: &self.from_paused => Bool,
        );
        out.push_sql(
            "), \
            done AS ( \
                UPDATE runs r SET \
                    status = COALESCE(a.status, r.status), \
                    next_seq = r.next_seq + a.event_count, \
                    starts = r.starts + CASE WHEN a.change = 'start' THEN 1 \
                                             WHEN a.change IN ('hand_back', 'pause') AND r.status = 'RUNNING' THEN -1 ELSE 0 END, \
                    node_id = CASE WHEN a.change IN ('hand_back', 'retry', 'pause') THEN NULL ELSE r.node_id END, \
                    run_at = CASE WHEN a.change = 'retry' THEN now() + a.delay_ms * interval '1 millisecond' ELSE r.run_at END, \
                    start_by = CASE WHEN a.change = 'pause' THEN now() + a.delay_ms * interval '1 millisecond' \
                                    WHEN a.change IN ('hand_back', 'retry') AND r.status = 'RUNNING' THEN NULL \
                                    ELSE r.start_by END, \
                    started_at = CASE a.change WHEN 'start' THEN now() WHEN 'hand_back' THEN NULL WHEN 'retry' THEN NULL \
                                               ELSE r.started_at END, \
                    paused_at = CASE WHEN a.change = 'pause' THEN now() END, \
                    settled_at = CASE WHEN a.change = 'settle' THEN now() END \
                FROM changes a \
                WHERE r.run_id = a.run_id AND r.attempt = a.attempt AND r.next_seq = a.first_seq \
                  AND r.node_id IS NOT NULL \
                  AND CASE r.status WHEN 'PENDING' THEN a.from_pending WHEN 'RUNNING' THEN a.from_running \
                                    WHEN 'PAUSED' THEN a.from_paused ELSE false END",
        );
        if self.may_begin {
            out.push_sql(MAY_BEGIN);
        }
        out.push_sql(
            " RETURNING r.run_id), \
             events AS ( \
                INSERT INTO run_events (run_id, seq, created_at, event) \
                SELECT e.run_id, e.seq, e.created_at, e.event::json FROM (",
        );
        rows!(out, width,
            run_id: &self.event_runs => SqlUuid,
            seq: &self.event_seqs => BigInt,
            created_at: &self.event_times => Timestamptz,
            event: &self.events => Text,
        );
        out.push_sql(") AS e WHERE (e.run_id IN (SELECT run_id FROM done)) IS TRUE)");
        if !self.steps.is_empty() {
            out.push_sql(", ");
            self.steps.walk_ast(width, out.reborrow())?;
        }
        if !self.outputs.is_empty() {
            out.push_sql(", ");
            self.outputs.walk_ast(width, out)?;
        }
        Ok(())
    }
}
