//! Lets paused runs go on, when people have decided.

use std::collections::HashMap;

use diesel::QueryResult;
use diesel::Queryable;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::advance::{RememberSteps, to_json};
use super::connection::Connection;
use super::error::from_diesel;
use super::read::{FACTS, Facts, FactsRow};
use super::row::json;
use super::settle::SettleRuns;
use super::statement::{Width, push, statement};
use crate::run::{FailureKind, RunEventKind, RunId, RunStatus, StepRecord};
use crate::store::StoreResult;
use crate::store::protocol::Takeover;
use crate::store::protocol::pause::{Continue, ContinueRefusal, ContinueVerdict, PausedRow, judge_continue};

pub(super) type Answers = HashMap<RunId, Result<(), ContinueRefusal>>;

/// Does all of `continues`, each of a run of its own, in one transaction: their rows are locked before they are judged.
pub(super) async fn resume(conn: &mut Connection, continues: &[&Continue]) -> StoreResult<Answers> {
    if continues.is_empty() {
        return Ok(Answers::new());
    }
    conn.begin().await.map_err(|error| from_diesel(&error))?;
    match resume_locked(conn, continues).await {
        Ok(answers) => {
            conn.commit().await.map_err(|error| from_diesel(&error))?;
            Ok(answers)
        }
        Err(error) => {
            // Where the connection is gone this fails as well, and the lane makes another one.
            conn.roll_back().await.map_err(|error| from_diesel(&error))?;
            Err(error)
        }
    }
}

/// The same, in a transaction that has begun.
pub(super) async fn resume_locked(conn: &mut Connection, continues: &[&Continue]) -> StoreResult<Answers> {
    let run_ids = continues.iter().map(|one| one.run_id.as_uuid()).collect();
    let rows: Vec<LockedRow> = LockPaused { run_ids }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    let rows: HashMap<RunId, PausedRow> = rows.into_iter().map(LockedRow::read).collect::<StoreResult<_>>()?;
    let mut answers = Answers::with_capacity(continues.len());
    let mut resume = ResumeRuns::new()?;
    let mut settle = SettleRuns::new()?;
    for one in continues {
        let answer = match judge_continue(one, rows.get(&one.run_id)) {
            ContinueVerdict::Apply(steps) => resume.push(one, &steps)?,
            ContinueVerdict::Applied => Ok(()),
            ContinueVerdict::Expire => {
                settle.push(one.run_id, Takeover::Fail(FailureKind::PauseTimeout))?;
                Err(ContinueRefusal::NotPaused(RunStatus::Error))
            }
            ContinueVerdict::Refuse(refusal) => Err(refusal),
        };
        answers.insert(one.run_id, answer);
    }
    if !resume.run_ids.is_empty() {
        let _resumed: Vec<Uuid> = resume.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    }
    if !settle.is_empty() {
        let _settled: Vec<Uuid> = settle.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    }
    Ok(answers)
}

/// What continues of these runs meet, each locked, in the order of their ids.
pub(super) struct LockPaused {
    pub(super) run_ids: Vec<Uuid>,
}

statement!(LockPaused -> (Facts, Nullable<Text>, Nullable<SqlUuid>, Nullable<Text>));

impl QueryFragment<Pg> for LockPaused {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(FACTS);
        push!(out,
            ", r.user_id, r.continued_by, \
             (SELECT o.requirements::text FROM run_outputs o WHERE o.run_id = r.run_id AND r.status = 'PAUSED') \
             FROM runs r WHERE r.run_id = ANY(", &self.run_ids => Array<SqlUuid>,
            ") ORDER BY r.run_id FOR UPDATE OF r"
        );
        Ok(())
    }
}

#[derive(Queryable)]
struct LockedRow {
    facts: FactsRow,
    user_id: Option<String>,
    continued_by: Option<Uuid>,
    requirements: Option<String>,
}

impl LockedRow {
    fn read(self) -> StoreResult<(RunId, PausedRow)> {
        let (run_id, facts) = self.facts.into_facts()?;
        let requirements = self.requirements.as_deref().map(|text| json(text, "requirements")).transpose()?;
        let row = PausedRow {
            facts,
            owner: self.user_id.map(Into::into),
            continued_by: self.continued_by,
            requirements: requirements.unwrap_or_default(),
        };
        Ok((run_id, row))
    }
}

/// Lets runs that are locked wait for anybody, each with what was decided and with the event that tells of it.
struct ResumeRuns {
    run_ids: Vec<Uuid>,
    continues: Vec<Uuid>,
    event: String,
    steps: RememberSteps,
}

impl ResumeRuns {
    fn new() -> StoreResult<Self> {
        Ok(Self {
            run_ids: Vec::new(),
            continues: Vec::new(),
            event: to_json(&RunEventKind::RunContinued {})?,
            steps: RememberSteps::default(),
        })
    }

    fn push(&mut self, one: &Continue, steps: &[StepRecord]) -> StoreResult<Result<(), ContinueRefusal>> {
        self.run_ids.push(one.run_id.as_uuid());
        self.continues.push(one.id);
        for step in steps {
            self.steps.push(one.run_id, step)?;
        }
        Ok(Ok(()))
    }
}

statement!(ResumeRuns -> SqlUuid);

impl QueryFragment<Pg> for ResumeRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH done AS ( \
                UPDATE runs r SET status = 'PENDING', paused_at = NULL, start_by = NULL, started_at = NULL, \
                    next_seq = r.next_seq + 1, continued_by = a.continued_by \
                FROM unnest(", &self.run_ids => Array<SqlUuid>, ", ", &self.continues => Array<SqlUuid>,
            ") AS a (run_id, continued_by) WHERE r.run_id = a.run_id RETURNING r.run_id, r.next_seq), \
             events AS ( \
                INSERT INTO run_events (run_id, seq, created_at, event) \
                SELECT run_id, next_seq - 1, now(), ", &self.event => Text, "::json FROM done), \
             outputs AS (DELETE FROM run_outputs o USING done d WHERE o.run_id = d.run_id), \
             "
        );
        self.steps.walk_ast(Width::Any, out.reborrow())?;
        out.push_sql(" SELECT run_id FROM done");
        Ok(())
    }
}
