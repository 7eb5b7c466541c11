//! A row, and the run that it stands for.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::Queryable;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::run::{Run, RunFailure, RunId, RunOutput, TraceParent};
use crate::store::{NodeId, StoreError, StoreResult, TakenRun};

/// The columns of a whole run: `r` is its row, `i` its input, `o` its output.
pub(super) const RUN_COLUMNS: &str = "r.run_id, r.session_id, r.agent, r.user_id, r.parent_run_id, r.depth, r.idempotency_key, r.status, r.attempt, r.starts, r.max_attempts, \
     r.priority, r.run_at, r.timeout_ms, r.start_by, r.next_seq, r.node_id, r.created_at, r.started_at, r.paused_at, r.settled_at, \
     r.continued_by IS NOT NULL, \
     i.input::text, i.metadata::text, i.fingerprint, i.origin, i.traceparent, \
     o.content::text, o.error_kind, o.error_message, o.metrics::text, o.tools::text, \
     CASE WHEN r.status = 'PAUSED' THEN o.requirements::text END";

/// The types of [`RUN_COLUMNS`].
pub(super) type RunColumns = (
    SqlUuid,
    Text,
    Text,
    Nullable<Text>,
    Nullable<SqlUuid>,
    SmallInt,
    Nullable<Text>,
    Text,
    Integer,
    Integer,
    Integer,
    SmallInt,
    Timestamptz,
    Nullable<BigInt>,
    Nullable<Timestamptz>,
    BigInt,
    Nullable<SqlUuid>,
    Timestamptz,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Bool,
    Text,
    Text,
    Binary,
    Nullable<SqlUuid>,
    Nullable<Text>,
    OutputColumns,
);

/// Those of the output: a tuple of their own, since a tuple has 32 columns at most.
pub(super) type OutputColumns =
    (Nullable<Text>, Nullable<Text>, Nullable<Text>, Nullable<Text>, Nullable<Text>, Nullable<Text>);

/// A row of [`RUN_COLUMNS`].
#[derive(Clone, Queryable)]
pub(super) struct RunRow {
    pub(super) run_id: Uuid,
    session_id: String,
    pub(super) agent: String,
    pub(super) user_id: Option<String>,
    parent_run_id: Option<Uuid>,
    depth: i16,
    pub(super) idempotency_key: Option<String>,
    status: String,
    attempt: i32,
    starts: i32,
    max_attempts: i32,
    priority: i16,
    run_at: DateTime<Utc>,
    timeout_ms: Option<i64>,
    start_by: Option<DateTime<Utc>>,
    next_seq: i64,
    node_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    paused_at: Option<DateTime<Utc>>,
    settled_at: Option<DateTime<Utc>>,
    was_continued: bool,
    input: String,
    metadata: String,
    pub(super) fingerprint: Vec<u8>,
    origin: Option<Uuid>,
    traceparent: Option<String>,
    output: OutputRow,
}

/// The columns of an output; all of them are null where there is none.
#[derive(Clone, Queryable)]
pub(super) struct OutputRow {
    content: Option<String>,
    error_kind: Option<String>,
    error_message: Option<String>,
    metrics: Option<String>,
    tools: Option<String>,
    requirements: Option<String>,
}

impl RunRow {
    pub(super) fn node(&self) -> Option<NodeId> {
        self.node_id.map(NodeId::from)
    }

    pub(super) fn into_taken(self) -> StoreResult<TakenRun> {
        let next_seq = unsigned(self.next_seq, "next_seq")?;
        let was_continued = self.was_continued;
        Ok(TakenRun { run: Arc::new(self.into_run()?), next_seq, was_continued })
    }

    pub(super) fn into_run(self) -> StoreResult<Run> {
        let OutputRow { content, error_kind, error_message, metrics, tools, requirements } = self.output;
        let error = match error_kind {
            Some(kind) => {
                Some(RunFailure { kind: word(&kind, "error_kind")?, message: error_message.unwrap_or_default() })
            }
            None => None,
        };
        let output = RunOutput {
            run_id: self.run_id.into(),
            session_id: self.session_id.into(),
            agent: self.agent,
            user_id: self.user_id.map(Into::into),
            parent_run_id: self.parent_run_id.map(Into::into),
            status: self.status.parse().map_err(|error| corrupt("status", &error))?,
            content: content.as_deref().map(|content| json(content, "content")).transpose()?,
            error,
            tools: tools.as_deref().map(|tools| json(tools, "tools")).transpose()?.unwrap_or_default(),
            requirements: requirements
                .as_deref()
                .map(|text| json(text, "requirements"))
                .transpose()?
                .unwrap_or_default(),
            metrics: metrics.as_deref().map(|metrics| json(metrics, "metrics")).transpose()?.unwrap_or_default(),
            created_at: self.created_at,
            started_at: self.started_at,
            paused_at: self.paused_at,
            settled_at: self.settled_at,
        };
        Ok(Run {
            output,
            input: json(&self.input, "input")?,
            metadata: json(&self.metadata, "metadata")?,
            origin: self.origin.map(RunId::from),
            traceparent: self.traceparent.as_deref().and_then(TraceParent::parse),
            idempotency_key: self.idempotency_key,
            depth: unsigned(self.depth, "depth")?,
            priority: self.priority,
            run_at: self.run_at,
            timeout: match self.timeout_ms {
                Some(ms) => Some(Duration::from_millis(unsigned(ms, "timeout_ms")?)),
                None => None,
            },
            start_by: self.start_by,
            max_attempts: unsigned(self.max_attempts, "max_attempts")?,
            starts: unsigned(self.starts, "starts")?,
            attempt: unsigned(self.attempt, "attempt")?,
        })
    }
}

pub(super) fn json<T: DeserializeOwned>(text: &str, column: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|error| StoreError::misread(column, &error))
}

/// Reads a word that serde knows as a variant.
fn word<T: DeserializeOwned>(word: &str, column: &str) -> StoreResult<T> {
    serde_json::from_value(word.into()).map_err(|error| corrupt(column, &error))
}

/// A number that the database keeps with a sign.
pub(super) fn unsigned<S, U: TryFrom<S>>(number: S, column: &str) -> StoreResult<U>
where
    U::Error: std::error::Error,
{
    U::try_from(number).map_err(|error| corrupt(column, &error))
}

pub(super) fn corrupt(column: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt(format!("column `{column}`: {error}"))
}

/// A number that the database keeps with a sign, on its way there.
pub(super) fn signed<U, S: TryFrom<U>>(number: U, column: &str) -> StoreResult<S> {
    S::try_from(number).map_err(|_| StoreError::Data(format!("`{column}` is out of range")))
}
