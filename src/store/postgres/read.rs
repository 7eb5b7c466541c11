//! Reads runs, their events, their steps and their history.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use uuid::Uuid;

use super::cancel::is_awaited_by_cancel;
use super::children::is_below_cancelled;
use super::row::{RUN_COLUMNS, RunColumns, corrupt, json, unsigned};
use super::statement::{push, statement};
use crate::run::{Exchange, RunEvent, RunId, StepRecord};
use crate::store::protocol::RowFacts;
use crate::store::{History, Mark, NodeId, StoreResult};

/// Where [`RUN_COLUMNS`] are from.
pub(super) const RUNS: &str = " FROM runs r JOIN run_inputs i USING (run_id) LEFT JOIN run_outputs o USING (run_id) ";

/// Whole runs, by their ids.
pub(super) struct GetRuns {
    pub(super) run_ids: Vec<Uuid>,
}

statement!(GetRuns -> RunColumns);

impl QueryFragment<Pg> for GetRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(RUN_COLUMNS);
        out.push_sql(RUNS);
        push!(out, "WHERE run_id = ANY(", &self.run_ids => Array<SqlUuid>, ")");
        Ok(())
    }
}

/// What writes to these runs would meet.
pub(super) struct GetFacts {
    pub(super) run_ids: Vec<Uuid>,
}

/// The columns of a [`FactsRow`], of `r`.
pub(super) const FACTS: &str = concat!(
    "r.run_id, r.status, r.attempt, r.node_id, r.next_seq, r.starts, r.max_attempts, \
     r.cancel_requested_at IS NOT NULL OR ",
    is_awaited_by_cancel!("r"),
    " OR ",
    is_below_cancelled!(),
    ", COALESCE(r.start_by <= now(), false)"
);

/// The types of [`FACTS`].
pub(super) type Facts = (SqlUuid, Text, Integer, Nullable<SqlUuid>, BigInt, Integer, Integer, Bool, Bool);

statement!(GetFacts -> Facts);

#[derive(Queryable)]
pub(super) struct FactsRow {
    run_id: Uuid,
    status: String,
    attempt: i32,
    node_id: Option<Uuid>,
    next_seq: i64,
    starts: i32,
    max_attempts: i32,
    cancel_wanted: bool,
    late: bool,
}

impl FactsRow {
    pub(super) fn into_facts(self) -> StoreResult<(RunId, RowFacts)> {
        let facts = RowFacts {
            status: self.status.parse().map_err(|error| corrupt("status", &error))?,
            attempt: unsigned(self.attempt, "attempt")?,
            node: self.node_id.map(NodeId::from),
            next_seq: unsigned(self.next_seq, "next_seq")?,
            starts: unsigned(self.starts, "starts")?,
            max_attempts: unsigned(self.max_attempts, "max_attempts")?,
            cancel_wanted: self.cancel_wanted,
            late: self.late,
        };
        Ok((self.run_id.into(), facts))
    }
}

impl QueryFragment<Pg> for GetFacts {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(FACTS);
        push!(out, " FROM runs r WHERE r.run_id = ANY(", &self.run_ids => Array<SqlUuid>, ")");
        Ok(())
    }
}

/// The events of a run from a seq on.
pub(super) struct GetEvents {
    pub(super) run_id: Uuid,
    pub(super) from: i64,
    pub(super) limit: i64,
}

statement!(GetEvents -> (SqlUuid, BigInt, Timestamptz, Text));

#[derive(Queryable)]
pub(super) struct EventRow {
    run_id: Uuid,
    seq: i64,
    created_at: DateTime<Utc>,
    event: String,
}

impl EventRow {
    pub(super) fn into_event(self) -> StoreResult<RunEvent> {
        Ok(RunEvent {
            run_id: self.run_id.into(),
            seq: unsigned(self.seq, "seq")?,
            created_at: self.created_at,
            kind: json(&self.event, "event")?,
        })
    }
}

impl QueryFragment<Pg> for GetEvents {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT run_id, seq, created_at, event::text FROM run_events WHERE run_id = ", &self.run_id => SqlUuid,
            " AND seq >= ", &self.from => BigInt, " ORDER BY seq LIMIT ", &self.limit => BigInt
        );
        Ok(())
    }
}

/// The steps of a run that began last.
pub(super) struct GetSteps {
    pub(super) run_id: Uuid,
}

statement!(GetSteps -> (Integer, Integer, Text, Text));

#[derive(Queryable)]
pub(super) struct StepRow {
    position: i32,
    first_attempt: i32,
    name: String,
    result: String,
}

impl StepRow {
    pub(super) fn into_step(self) -> StoreResult<StepRecord> {
        Ok(StepRecord {
            position: unsigned(self.position, "position")?,
            first_attempt: unsigned(self.first_attempt, "first_attempt")?,
            name: self.name,
            result: self.result,
        })
    }
}

impl QueryFragment<Pg> for GetSteps {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT position, first_attempt, name, result::text FROM run_steps WHERE run_id = ", &self.run_id => SqlUuid,
            " AND first_attempt = (SELECT max(first_attempt) FROM run_steps WHERE run_id = ", &self.run_id => SqlUuid,
            ") ORDER BY position"
        );
        Ok(())
    }
}

/// The events of several runs, of each from a seq on.
pub(super) struct GetTails {
    run_ids: Vec<Uuid>,
    from: Vec<i64>,
    limit: i64,
}

impl GetTails {
    pub(super) fn new(from: &[(RunId, u64)], limit: usize) -> Self {
        Self {
            run_ids: from.iter().map(|(run_id, _)| run_id.as_uuid()).collect(),
            from: from.iter().map(|&(_, seq)| i64::try_from(seq).unwrap_or(i64::MAX)).collect(),
            limit: super::count(limit),
        }
    }
}

statement!(GetTails -> (SqlUuid, BigInt, Timestamptz, Text));

impl QueryFragment<Pg> for GetTails {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT e.run_id, e.seq, e.created_at, e.event::text \
             FROM unnest(", &self.run_ids => Array<SqlUuid>, ", ", &self.from => Array<BigInt>, ") AS t (run_id, seq), \
                  LATERAL (SELECT * FROM run_events WHERE run_id = t.run_id AND seq >= t.seq ORDER BY seq LIMIT ",
            &self.limit => BigInt, ") AS e ORDER BY e.run_id, e.seq"
        );
        Ok(())
    }
}

/// How far these runs have come.
pub(super) struct GetMarks {
    pub(super) run_ids: Vec<Uuid>,
}

statement!(GetMarks -> (SqlUuid, BigInt, Bool));

#[derive(Queryable)]
pub(super) struct MarkRow {
    run_id: Uuid,
    next_seq: i64,
    settled: bool,
}

impl MarkRow {
    pub(super) fn into_mark(self) -> StoreResult<(RunId, Mark)> {
        Ok((self.run_id.into(), Mark { next_seq: unsigned(self.next_seq, "next_seq")?, settled: self.settled }))
    }
}

impl QueryFragment<Pg> for GetMarks {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT run_id, next_seq, settled_at IS NOT NULL FROM runs WHERE run_id = ANY(",
            &self.run_ids => Array<SqlUuid>, ")"
        );
        Ok(())
    }
}

/// What earlier runs of a session were asked and answered.
pub(super) struct GetHistory {
    before: Uuid,
    session_id: String,
    user_id: Option<String>,
    limit: i64,
}

impl From<History> for GetHistory {
    fn from(history: History) -> Self {
        Self {
            before: history.before.as_uuid(),
            session_id: history.session_id.to_string(),
            user_id: history.user_id.map(|user_id| user_id.to_string()),
            limit: i64::try_from(history.limit).unwrap_or(i64::MAX),
        }
    }
}

statement!(GetHistory -> (Text, Text, Nullable<Text>));

#[derive(Queryable)]
pub(super) struct ExchangeRow {
    input: String,
    content: String,
    tools: Option<String>,
}

impl ExchangeRow {
    pub(super) fn into_exchange(self) -> StoreResult<Exchange> {
        Ok(Exchange {
            input: json(&self.input, "input")?,
            content: json(&self.content, "content")?,
            tools: json(self.tools.as_deref().unwrap_or("[]"), "tools")?,
        })
    }
}

impl QueryFragment<Pg> for GetHistory {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // The order begins with the session, and the session is a range, so that only one index has that order: the planner would
        // take a session with many runs for one that is found among the latest of all. A join with the run itself, or `IS NOT
        // DISTINCT FROM`, which is taken for rare, would have the whole session sorted.
        push!(out,
            "SELECT input, content, tools FROM ( \
                SELECT i.created_at, i.run_id, i.input::text, o.content::text, o.tools::text \
                FROM runs r JOIN run_inputs i USING (run_id) JOIN run_outputs o USING (run_id) \
                WHERE i.session_id >= ", &self.session_id => Text,
            " AND (i.session_id, i.created_at, i.run_id) < (", &self.session_id => Text,
            ", (SELECT created_at FROM run_inputs WHERE run_id = ", &self.before => SqlUuid, "), ", &self.before => SqlUuid,
            ") AND (i.user_id = ", &self.user_id => Nullable<Text>,
            " OR i.user_id IS NULL AND ", &self.user_id => Nullable<Text>,
            " IS NULL) AND r.parent_run_id IS NULL AND r.status = 'COMPLETED' AND o.content IS NOT NULL \
                ORDER BY i.session_id DESC, i.created_at DESC, i.run_id DESC LIMIT ", &self.limit => BigInt,
            ") AS latest ORDER BY created_at, run_id"
        );
        Ok(())
    }
}
