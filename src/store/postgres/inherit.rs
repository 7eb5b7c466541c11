//! What runs get from the failed ones that they resume.

use std::collections::HashMap;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, Integer, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::insert::NewRow;
use super::row::corrupt;
use super::statement::{push, statement};
use crate::run::{RunId, RunStatus};
use crate::store::StoreResult;
use crate::store::protocol::{INHERITED, InsertRun};

/// Runs and the failed ones that they resume.
pub(super) struct Heirs(Vec<(Uuid, Uuid)>);

impl Heirs {
    pub(super) fn of(inserts: &[&InsertRun]) -> Self {
        let pair = |insert: &&InsertRun| Some((insert.run.output.run_id.as_uuid(), insert.resumes?.as_uuid()));
        Self(inserts.iter().filter_map(pair).collect())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Locks the failed runs, so that they stay as long as the transaction lasts, and says which of their heirs must not be.
    pub(super) async fn refused(&self, conn: &mut Connection) -> QueryResult<Vec<Uuid>> {
        let run_ids = self.0.iter().map(|(_, failed)| *failed).collect();
        let found: Vec<(Uuid, String)> = LockStatuses { run_ids }.get_results(conn).await?;
        let has_failed =
            |failed: &Uuid| found.iter().any(|(id, status)| id == failed && *status == RunStatus::Error.as_str());
        Ok(self.0.iter().filter(|(_, failed)| !has_failed(failed)).map(|(heir, _)| *heir).collect())
    }

    /// Gives the heirs that are `new` the steps, the children and the notes of changed states of what they resume, and whom
    /// that was to tell.
    pub(super) async fn inherit(self, conn: &mut Connection, new: &[NewRow]) -> QueryResult<()> {
        let is_new = |heir: &Uuid| new.iter().any(|row| row.0 == *heir);
        let (heirs, failed): (Vec<_>, Vec<_>) = self.0.into_iter().filter(|(heir, _)| is_new(heir)).unzip();
        if !heirs.is_empty() {
            let _moved: Vec<Uuid> = HandOver { heirs: heirs.clone(), failed: failed.clone() }.get_results(conn).await?;
            let first_attempt = i32::try_from(INHERITED).unwrap_or_default();
            let _told: Vec<Uuid> = Inherit { heirs, failed, first_attempt }.get_results(conn).await?;
        }
        Ok(())
    }
}

/// The statuses of the runs that `inserts` resume.
pub(super) async fn statuses(conn: &mut Connection, inserts: &[&InsertRun]) -> StoreResult<HashMap<RunId, RunStatus>> {
    let run_ids: Vec<Uuid> = inserts.iter().filter_map(|insert| Some(insert.resumes?.as_uuid())).collect();
    if run_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found: Vec<(Uuid, String)> =
        LockStatuses { run_ids }.get_results(conn).await.map_err(|error| super::error::from_diesel(&error))?;
    let read = |(run_id, status): (Uuid, String)| {
        Ok((run_id.into(), status.parse().map_err(|error| corrupt("status", &error))?))
    };
    found.into_iter().map(read).collect()
}

/// The statuses of runs, which stay as long as the transaction lasts. This waits for children of theirs that are just being
/// inserted, and whose insert began before they had settled.
struct LockStatuses {
    run_ids: Vec<Uuid>,
}

statement!(LockStatuses -> (SqlUuid, Text));

impl QueryFragment<Pg> for LockStatuses {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT run_id, status FROM runs WHERE run_id = ANY(", &self.run_ids => Array<SqlUuid>,
            ") ORDER BY run_id FOR UPDATE"
        );
        Ok(())
    }
}

/// Makes the children of failed runs those of their heirs, whatever has become of them.
pub(super) struct HandOver {
    pub(super) heirs: Vec<Uuid>,
    pub(super) failed: Vec<Uuid>,
}

statement!(HandOver -> SqlUuid);

impl QueryFragment<Pg> for HandOver {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Locked in the order of their ids, as by whoever else writes to several of them.
        push!(out,
            "WITH pairs AS (SELECT * FROM unnest(", &self.heirs => Array<SqlUuid>,
            ", ", &self.failed => Array<SqlUuid>,
            ") AS t (heir, failed)), \
             children AS MATERIALIZED ( \
                SELECT c.run_id, p.heir FROM pairs p JOIN runs c ON c.parent_run_id = p.failed \
                ORDER BY c.run_id FOR NO KEY UPDATE OF c) \
             UPDATE runs r SET parent_run_id = c.heir FROM children c WHERE r.run_id = c.run_id RETURNING r.run_id"
        );
        Ok(())
    }
}

struct Inherit {
    heirs: Vec<Uuid>,
    failed: Vec<Uuid>,
    first_attempt: i32,
}

statement!(Inherit -> SqlUuid);

impl QueryFragment<Pg> for Inherit {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH pairs AS (SELECT * FROM unnest(", &self.heirs => Array<SqlUuid>,
            ", ", &self.failed => Array<SqlUuid>,
            ") AS t (heir, failed)), \
             steps AS ( \
                INSERT INTO run_steps (run_id, position, first_attempt, name, result, created_at) \
                SELECT p.heir, s.position, ", &self.first_attempt => Integer, ", s.name, s.result, now() \
                FROM pairs p JOIN run_steps s ON s.run_id = p.failed \
                WHERE s.first_attempt = (SELECT max(m.first_attempt) FROM run_steps m WHERE m.run_id = p.failed)), \
             updates AS ( \
                INSERT INTO session_updates (run_id, update_id, result) \
                SELECT p.heir, u.update_id, u.result FROM pairs p JOIN session_updates u ON u.run_id = p.failed), \
             told AS ( \
                UPDATE run_inputs i SET webhook = f.webhook FROM pairs p JOIN run_inputs f ON f.run_id = p.failed \
                WHERE i.run_id = p.heir AND f.webhook IS NOT NULL RETURNING i.run_id) \
             UPDATE runs r SET has_webhook = true FROM told WHERE r.run_id = told.run_id RETURNING r.run_id"
        );
        Ok(())
    }
}
