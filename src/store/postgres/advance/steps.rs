//! The steps that a statement remembers along with its own work.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Integer, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::run::{RunId, StepRecord};
use crate::store::StoreResult;
use crate::store::postgres::row::signed;
use crate::store::postgres::statement::{Width, rows};

/// A part of a `WITH`, named `steps`: remembers the steps of those runs that are in `done`. One that an earlier beginning of the
/// run has left at the same place is written over.
#[derive(Default)]
pub(in crate::store::postgres) struct RememberSteps {
    run_ids: Vec<Uuid>,
    positions: Vec<i32>,
    first_attempts: Vec<i32>,
    names: Vec<String>,
    pub(super) results: Vec<String>,
}

impl RememberSteps {
    pub(super) fn is_empty(&self) -> bool {
        self.run_ids.is_empty()
    }

    pub(in crate::store::postgres) fn push(&mut self, run_id: RunId, step: &StepRecord) -> StoreResult<()> {
        self.run_ids.push(run_id.as_uuid());
        self.positions.push(signed(step.position, "position")?);
        self.first_attempts.push(signed(step.first_attempt, "first_attempt")?);
        self.names.push(step.name.clone());
        self.results.push(step.result.clone());
        Ok(())
    }

    pub(in crate::store::postgres) fn walk_ast<'b>(
        &'b self,
        width: Width,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql(
            "steps AS ( \
                INSERT INTO run_steps (run_id, position, first_attempt, name, result, created_at) \
                SELECT s.run_id, s.position, s.first_attempt, s.name, s.result::json, now() FROM (",
        );
        rows!(out, width,
            run_id: &self.run_ids => SqlUuid,
            position: &self.positions => Integer,
            first_attempt: &self.first_attempts => Integer,
            name: &self.names => Text,
            result: &self.results => Text,
        );
        out.push_sql(
            ") AS s \
                WHERE (s.run_id IN (SELECT run_id FROM done)) IS TRUE \
                ON CONFLICT (run_id, position) DO UPDATE SET first_attempt = excluded.first_attempt, \
                    name = excluded.name, result = excluded.result, created_at = excluded.created_at)",
        );
        Ok(())
    }
}
