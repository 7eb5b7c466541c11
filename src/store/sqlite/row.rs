//! Rows, and what they say.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use serde::de::DeserializeOwned;

use super::error::{misfit, unreadable};
use super::schema::{run_events, run_inputs, run_outputs, run_steps, runs};
use crate::run::{
    Metrics, Run, RunEvent, RunFailure, RunId, RunOutput, RunStatus, StepRecord, ToolExecution, TraceParent, Turn,
};
use crate::store::protocol::{InsertRun, RowFacts};
use crate::store::{NodeId, StoreError, StoreResult, TakenRun, readable};

/// All that makes up a [`Run`].
pub(super) type StoredRun = (RunRow, InputRow, Option<OutputRow>);

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = runs, check_for_backend(Sqlite))]
pub(super) struct RunRow {
    run_id: String,
    session_id: String,
    agent: String,
    user_id: Option<String>,
    parent_run_id: Option<String>,
    depth: i16,
    idempotency_key: Option<String>,
    status: String,
    attempt: i32,
    starts: i32,
    max_attempts: i32,
    node_id: Option<String>,
    on_crash: String,
    session_turn: Option<String>,
    priority: i16,
    run_at: i64,
    timeout_ms: Option<i64>,
    start_by: Option<i64>,
    next_seq: i64,
    has_webhook: bool,
    created_at: i64,
    started_at: Option<i64>,
    paused_at: Option<i64>,
    continued_by: Option<String>,
    settled_at: Option<i64>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = run_inputs, check_for_backend(Sqlite))]
pub(super) struct InputRow {
    input: String,
    metadata: String,
    origin: Option<String>,
    traceparent: Option<String>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = run_outputs, check_for_backend(Sqlite))]
pub(super) struct OutputRow {
    pub(super) run_id: String,
    pub(super) content: Option<String>,
    pub(super) error_kind: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) metrics: String,
    pub(super) tools: Option<String>,
    pub(super) requirements: Option<String>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = run_events, check_for_backend(Sqlite))]
pub(super) struct EventRow {
    run_id: String,
    seq: i64,
    created_at: i64,
    event: String,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = run_steps, check_for_backend(Sqlite))]
pub(super) struct StepRow {
    run_id: String,
    position: i32,
    first_attempt: i32,
    name: String,
    result: String,
    created_at: i64,
}

/// What a write to a run meets, in the order of `facts_of` in `read`.
#[derive(Queryable)]
pub(super) struct FactsRow {
    pub(super) run_id: String,
    pub(super) on_crash: String,
    status: String,
    attempt: i32,
    node_id: Option<String>,
    next_seq: i64,
    starts: i32,
    max_attempts: i32,
    cancel_requested_at: Option<i64>,
    intent: bool,
    parent_is_cancelled: bool,
    late: bool,
}

impl RunRow {
    /// The row of a new run, and the run as the row tells it.
    pub(super) fn new(insert: &InsertRun, now: i64) -> StoreResult<(Self, Run)> {
        let InsertRun { run, delayed, node, on_crash, .. } = insert;
        let RunOutput { run_id, session_id, agent, user_id, .. } = &run.output;
        let timeout_ms = run.timeout.map(|timeout| i64::try_from(timeout.as_millis()).map_err(misfit("timeout")));
        let run_at = if *delayed { run.run_at.timestamp_micros() } else { now };
        let patience =
            insert.queue_timeout.map(|timeout| i64::try_from(timeout.as_micros()).map_err(misfit("queue_timeout")));
        let start_by = patience.transpose()?.map(|patience| run_at.max(now).saturating_add(patience));
        let row = Self {
            run_id: run_id.to_string(),
            session_id: session_id.to_string(),
            agent: agent.clone(),
            user_id: user_id.as_ref().map(ToString::to_string),
            parent_run_id: run.output.parent_run_id.map(|parent| parent.to_string()),
            depth: i16::try_from(run.depth).map_err(misfit("depth"))?,
            idempotency_key: run.idempotency_key.clone(),
            status: RunStatus::Pending.as_str().to_owned(),
            attempt: i32::from(node.is_some()),
            starts: 0,
            max_attempts: i32::try_from(run.max_attempts).map_err(misfit("max_attempts"))?,
            node_id: node.map(|node| node.to_string()),
            on_crash: on_crash.as_str().to_owned(),
            session_turn: insert.sessions.turn().map(|turn| turn.as_str().to_owned()),
            priority: run.priority,
            run_at,
            timeout_ms: timeout_ms.transpose()?,
            start_by,
            next_seq: 0,
            has_webhook: insert.webhook.is_some(),
            created_at: now,
            started_at: None,
            paused_at: None,
            continued_by: None,
            settled_at: None,
        };
        let mut stored = run.clone();
        row.fill(&mut stored)?;
        Ok((row, stored))
    }

    /// Sets in `run` what the store says and the caller cannot know.
    fn fill(&self, run: &mut Run) -> StoreResult<()> {
        run.output.status = self.status.parse().map_err(unreadable("status"))?;
        run.output.created_at = time("created_at", self.created_at)?;
        run.output.started_at = self.started_at.map(|at| time("started_at", at)).transpose()?;
        run.output.paused_at = self.paused_at.map(|at| time("paused_at", at)).transpose()?;
        run.output.settled_at = self.settled_at.map(|at| time("settled_at", at)).transpose()?;
        run.run_at = time("run_at", self.run_at)?;
        run.timeout = self.timeout_ms.map(|ms| unsigned("timeout_ms", ms).map(Duration::from_millis)).transpose()?;
        run.start_by = self.start_by.map(|at| time("start_by", at)).transpose()?;
        run.starts = unsigned("starts", self.starts)?;
        run.attempt = unsigned("attempt", self.attempt)?;
        Ok(())
    }

    /// Notes that `node` has taken the run up.
    pub(super) fn take_up(&mut self, node: &str) {
        self.node_id = Some(node.to_owned());
        self.attempt = self.attempt.saturating_add(1);
    }

    /// A run that must be alone in its session holds it from when it is taken up.
    pub(super) fn turn_when_taken(&self) -> Option<&'static str> {
        self.session_turn.as_ref().map(|_| Turn::Holds.as_str())
    }

    /// Its place among the runs that wait.
    pub(super) fn place(&self) -> (std::cmp::Reverse<i16>, i64, &str) {
        (std::cmp::Reverse(self.priority), self.run_at, &self.run_id)
    }

    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    pub(super) fn node(&self) -> StoreResult<Option<NodeId>> {
        self.node_id.as_deref().map(node).transpose()
    }
}

/// The runs that `stored` tells of, as a node has them.
pub(super) fn all_taken(stored: Vec<StoredRun>) -> Vec<TakenRun> {
    readable(stored.into_iter().map(|stored| (stored.0.run_id().to_owned(), taken(stored))))
}

fn taken(stored: StoredRun) -> StoreResult<TakenRun> {
    let next_seq = unsigned("next_seq", stored.0.next_seq)?;
    let was_continued = stored.0.continued_by.is_some();
    Ok(TakenRun { run: Arc::new(run(stored)?), next_seq, was_continued })
}

/// The run that `stored` tells of.
pub(super) fn run((row, input, output): StoredRun) -> StoreResult<Run> {
    let asked = output.as_ref().and_then(|output| output.requirements.as_deref()).filter(|_| row.paused_at.is_some());
    let requirements = asked.map(|text| json("requirements", text)).transpose()?.unwrap_or_default();
    let tools = output.as_ref().and_then(|output| output.tools.as_deref()).map(|text| json("tools", text));
    let tools = tools.transpose()?.unwrap_or_default();
    let (content, error, metrics) = output.map(OutputRow::read).transpose()?.unwrap_or_default();
    let mut run = Run {
        output: RunOutput {
            run_id: row.run_id.parse().map_err(unreadable("run_id"))?,
            session_id: row.session_id.as_str().into(),
            agent: row.agent.clone(),
            user_id: row.user_id.as_deref().map(Into::into),
            parent_run_id: row
                .parent_run_id
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(unreadable("parent_run_id"))?,
            status: RunStatus::Pending,
            content,
            error,
            tools,
            requirements,
            metrics,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            paused_at: None,
            settled_at: None,
        },
        input: json("input", &input.input)?,
        metadata: json("metadata", &input.metadata)?,
        origin: input.origin.map(|id| id.parse().map_err(unreadable("origin"))).transpose()?,
        traceparent: input.traceparent.as_deref().and_then(TraceParent::parse),
        idempotency_key: row.idempotency_key.clone(),
        depth: unsigned("depth", row.depth)?,
        priority: row.priority,
        run_at: DateTime::UNIX_EPOCH,
        timeout: None,
        start_by: None,
        max_attempts: unsigned("max_attempts", row.max_attempts)?,
        starts: 0,
        attempt: 0,
    };
    row.fill(&mut run)?;
    Ok(run)
}

impl OutputRow {
    fn read(self) -> StoreResult<(Option<crate::run::Content>, Option<RunFailure>, Metrics)> {
        let content = self.content.map(|text| json("content", &text)).transpose()?;
        let error = match self.error_kind {
            Some(kind) => {
                let kind = serde_json::from_value(kind.into()).map_err(unreadable("error_kind"))?;
                Some(RunFailure::new(kind, self.error_message.unwrap_or_default()))
            }
            None => None,
        };
        Ok((content, error, json("metrics", &self.metrics)?))
    }
}

impl EventRow {
    pub(super) fn new(event: &RunEvent) -> StoreResult<Self> {
        Ok(Self {
            run_id: event.run_id.to_string(),
            seq: i64::try_from(event.seq).map_err(misfit("seq"))?,
            created_at: event.created_at.timestamp_micros(),
            event: written(&event.kind)?,
        })
    }

    pub(super) fn read(self, run_id: RunId) -> StoreResult<RunEvent> {
        Ok(RunEvent {
            run_id,
            seq: unsigned("seq", self.seq)?,
            created_at: time("created_at", self.created_at)?,
            kind: json("event", &self.event)?,
        })
    }
}

impl StepRow {
    pub(super) fn new(run_id: RunId, step: &StepRecord, now: i64) -> StoreResult<Self> {
        Ok(Self {
            run_id: run_id.to_string(),
            position: i32::try_from(step.position).map_err(misfit("position"))?,
            first_attempt: i32::try_from(step.first_attempt).map_err(misfit("first_attempt"))?,
            name: step.name.clone(),
            result: step.result.clone(),
            created_at: now,
        })
    }

    pub(super) fn read(self) -> StoreResult<StepRecord> {
        Ok(StepRecord {
            position: unsigned("position", self.position)?,
            first_attempt: unsigned("first_attempt", self.first_attempt)?,
            name: self.name,
            result: self.result,
        })
    }
}

impl FactsRow {
    pub(super) fn read(&self) -> StoreResult<RowFacts> {
        Ok(RowFacts {
            status: self.status.parse().map_err(unreadable("status"))?,
            attempt: unsigned("attempt", self.attempt)?,
            node: self.node_id.as_deref().map(node).transpose()?,
            next_seq: unsigned("next_seq", self.next_seq)?,
            starts: unsigned("starts", self.starts)?,
            max_attempts: unsigned("max_attempts", self.max_attempts)?,
            cancel_wanted: self.cancel_requested_at.is_some() || self.intent || self.parent_is_cancelled,
            late: self.late,
        })
    }
}

/// The tool calls as the JSON text that a column holds, if there are any.
pub(super) fn written_tools(tools: &[ToolExecution]) -> StoreResult<Option<String>> {
    (!tools.is_empty()).then(|| written(&tools)).transpose()
}

/// `value` as the JSON text that a column holds.
pub(super) fn written<T: serde::Serialize>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Data(error.to_string()))
}

pub(super) fn json<T: DeserializeOwned>(column: &'static str, text: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|error| StoreError::misread(column, &error))
}

pub(super) fn time(column: &'static str, micros: i64) -> StoreResult<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| unreadable(column)("no time"))
}

pub(super) fn unsigned<S, U: TryFrom<S>>(column: &'static str, value: S) -> StoreResult<U>
where
    U::Error: std::fmt::Display,
{
    U::try_from(value).map_err(unreadable(column))
}

fn node(text: &str) -> StoreResult<NodeId> {
    uuid::Uuid::parse_str(text).map(NodeId::from).map_err(unreadable("node_id"))
}
