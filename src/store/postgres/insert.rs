//! Inserts new runs, many at a time.

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use self::inputs::WriteInputs;
use super::cancel::is_awaited_by_cancel;
use super::row::signed;
use super::statement::{Width, push, rows, statement};
use crate::run::{RunId, RunOutput, Turn};
use crate::store::StoreResult;
use crate::store::protocol::InsertRun;

mod inputs;

/// `INSERT` of any number of runs, each a slot in every array. Answers the rows that were new.
#[derive(Default)]
pub(super) struct InsertRuns {
    asked_by: AskedBy,
    parents: Vec<Option<Uuid>>,
    parent_attempts: Vec<Option<i32>>,
    depths: Vec<i16>,
    keys: Vec<Option<String>>,
    max_attempts: Vec<i32>,
    node_ids: Vec<Option<Uuid>>,
    on_crash: Vec<&'static str>,
    turns: Vec<Option<&'static str>>,
    priorities: Vec<i16>,
    run_at: Vec<Option<DateTime<Utc>>>,
    timeouts_ms: Vec<Option<i64>>,
    queue_timeouts_ms: Vec<Option<i64>>,
    have_webhooks: Vec<bool>,
    /// Runs that are not to be: what they were to resume has not failed.
    pub(super) refused: Vec<Uuid>,
    inputs: WriteInputs,
}

/// Which run is who's: in both tables, since one is for what changes and the other for lists.
#[derive(Default)]
struct AskedBy {
    run_ids: Vec<Uuid>,
    session_ids: Vec<String>,
    agents: Vec<String>,
    user_ids: Vec<Option<String>>,
}

impl AskedBy {
    fn push(&mut self, output: &RunOutput) {
        self.run_ids.push(output.run_id.as_uuid());
        self.session_ids.push(output.session_id.to_string());
        self.agents.push(output.agent.clone());
        self.user_ids.push(output.user_id.as_ref().map(ToString::to_string));
    }
}

/// A run that was new: its id, when it was created, when it may start, by when it must, and whether an intent waits for it.
pub(super) type NewRow = (Uuid, DateTime<Utc>, DateTime<Utc>, Option<DateTime<Utc>>, bool);

impl InsertRuns {
    pub(super) fn is_empty(&self) -> bool {
        self.asked_by.run_ids.is_empty()
    }

    pub(super) fn push(&mut self, insert: &InsertRun) -> StoreResult<()> {
        let run = &insert.run;
        let timeout = run.timeout.map(|timeout| signed(timeout.as_millis(), "timeout")).transpose()?;
        let queue_timeout =
            insert.queue_timeout.map(|timeout| signed(timeout.as_millis(), "queue_timeout")).transpose()?;
        let max_attempts = signed(run.max_attempts, "max_attempts")?;
        let parent_attempt = insert.parent_attempt.map(|attempt| signed(attempt, "parent_attempt")).transpose()?;
        let depth = signed(run.depth, "depth")?;
        self.asked_by.push(&run.output);
        self.parents.push(run.output.parent_run_id.map(RunId::as_uuid));
        self.parent_attempts.push(parent_attempt);
        self.depths.push(depth);
        self.keys.push(run.idempotency_key.clone());
        self.max_attempts.push(max_attempts);
        self.node_ids.push(insert.node.map(crate::store::NodeId::as_uuid));
        self.on_crash.push(insert.on_crash.as_str());
        self.turns.push(insert.sessions.turn().map(Turn::as_str));
        self.priorities.push(run.priority);
        self.run_at.push(insert.delayed.then_some(run.run_at));
        self.timeouts_ms.push(timeout);
        self.queue_timeouts_ms.push(queue_timeout);
        self.have_webhooks.push(insert.webhook.is_some());
        self.inputs.push(insert)
    }

    /// Whether one of them is only to be when another run is as it has to be.
    fn depends_on_others(&self) -> bool {
        !self.refused.is_empty() || self.parent_attempts.iter().any(Option::is_some)
    }

    /// The texts that Postgres reads as JSON.
    pub(super) fn documents(&self) -> impl Iterator<Item = &String> {
        self.inputs.documents()
    }
}

statement!(of_parts InsertRuns -> (SqlUuid, Timestamptz, Timestamptz, Nullable<Timestamptz>, Bool));

impl QueryFragment<Pg> for InsertRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH ");
        self.walk_parts(Width::of(self.asked_by.run_ids.len()), out.reborrow())?;
        out.push_sql(" ");
        out.push_sql(SELECT_NEW);
        Ok(())
    }
}

/// The rows of `new`, each as a [`NewRow`].
pub(super) const SELECT_NEW: &str =
    concat!("SELECT run_id, created_at, run_at, start_by, ", is_awaited_by_cancel!("new"), " FROM new");

impl InsertRuns {
    /// The parts of a `WITH` that do the work; `new` has what came of it.
    pub(super) fn walk_parts<'b>(&'b self, width: Width, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("asked AS (");
        rows!(out, width,
            run_id: &self.asked_by.run_ids => SqlUuid,
            session_id: &self.asked_by.session_ids => Text,
            agent: &self.asked_by.agents => Text,
            user_id: &self.asked_by.user_ids => Nullable<Text>,
            parent_run_id: &self.parents => Nullable<SqlUuid>,
            parent_attempt: &self.parent_attempts => Nullable<Integer>,
            depth: &self.depths => SmallInt,
            idempotency_key: &self.keys => Nullable<Text>,
            max_attempts: &self.max_attempts => Integer,
            node_id: &self.node_ids => Nullable<SqlUuid>,
            on_crash: &self.on_crash => Text,
            session_turn: &self.turns => Nullable<Text>,
            priority: &self.priorities => SmallInt,
            run_at: &self.run_at => Nullable<Timestamptz>,
            timeout_ms: &self.timeouts_ms => Nullable<BigInt>,
            queue_timeout_ms: &self.queue_timeouts_ms => Nullable<BigInt>,
            has_webhook: &self.have_webhooks => Bool,
        );
        out.push_sql(
            "), \
             new AS ( \
                INSERT INTO runs (run_id, session_id, agent, user_id, parent_run_id, depth, idempotency_key, status, attempt, max_attempts, node_id, \
                                  on_crash, session_turn, priority, run_at, timeout_ms, start_by, created_at, has_webhook) \
                SELECT run_id, session_id, agent, user_id, parent_run_id, depth, idempotency_key, 'PENDING', \
                       CASE WHEN node_id IS NULL THEN 0 ELSE 1 END, max_attempts, node_id, on_crash, session_turn, priority, COALESCE(run_at, now()), timeout_ms, \
                       GREATEST(run_at, now()) + queue_timeout_ms * interval '1 millisecond', now(), has_webhook \
                FROM asked a",
        );
        if self.depends_on_others() {
            // The lock of a parent is in nobody's way but that of who resumes it once it has failed, and takes its children over.
            push!(out,
                " WHERE run_id <> ALL (", &self.refused => Array<SqlUuid>, ") AND (parent_attempt IS NULL OR EXISTS ( \
                     SELECT FROM runs p \
                     WHERE p.run_id = a.parent_run_id AND p.attempt = a.parent_attempt AND p.status = 'RUNNING' FOR KEY SHARE))"
            );
        }
        out.push_sql(" ON CONFLICT DO NOTHING RETURNING run_id, user_id, created_at, run_at, start_by), ");
        self.inputs.walk_ast(&self.asked_by, width, out)
    }
}
