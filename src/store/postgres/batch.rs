//! A batch of inserts and advances as one statement: a transaction of its own, in one round trip.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Bool, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::advance::AdvanceRuns;
use super::connection::Connection;
use super::insert::{InsertRuns, NewRow, SELECT_NEW};
use super::statement::{Width, statement};
use crate::run::RunId;

/// Either part may be empty.
#[derive(Default)]
pub(super) struct WriteBatch {
    pub(super) insert: InsertRuns,
    pub(super) advance: AdvanceRuns,
}

/// What became of a batch: the rows that were new, and the runs that were advanced.
#[derive(Default)]
pub(super) struct BatchWritten {
    pub(super) new: Vec<NewRow>,
    pub(super) done: HashSet<RunId>,
}

impl WriteBatch {
    /// Writes what there is: a part that is empty is no part of the statement.
    pub(super) async fn write(&self, conn: &mut Connection) -> QueryResult<BatchWritten> {
        let mut written = BatchWritten::default();
        if self.advance.is_empty() {
            written.new = self.insert(conn).await?;
        } else if self.insert.is_empty() {
            written.done = self.advance(conn).await?;
        } else {
            let rows: Vec<Row> = self.get_results(conn).await?;
            for row in rows {
                if let Some((created_at, run_at)) = row.created_at.zip(row.run_at) {
                    written.new.push((row.run_id, created_at, run_at, row.start_by, row.cancel_wanted));
                } else {
                    written.done.insert(row.run_id.into());
                }
            }
        }
        Ok(written)
    }

    /// Writes the inserts alone.
    pub(super) async fn insert(&self, conn: &mut Connection) -> QueryResult<Vec<NewRow>> {
        if self.insert.is_empty() { Ok(Vec::new()) } else { (&self.insert).get_results(conn).await }
    }

    /// Writes the advances alone.
    pub(super) async fn advance(&self, conn: &mut Connection) -> QueryResult<HashSet<RunId>> {
        if self.advance.is_empty() {
            return Ok(HashSet::new());
        }
        let done: Vec<Uuid> = (&self.advance).get_results(conn).await?;
        Ok(done.into_iter().map(RunId::from).collect())
    }
}

/// A new run; or one that was advanced, which has no times.
#[derive(Queryable)]
struct Row {
    run_id: Uuid,
    created_at: Option<DateTime<Utc>>,
    run_at: Option<DateTime<Utc>>,
    start_by: Option<DateTime<Utc>>,
    cancel_wanted: bool,
}

statement!(of_parts WriteBatch -> (SqlUuid, Nullable<Timestamptz>, Nullable<Timestamptz>, Nullable<Timestamptz>, Bool));

impl QueryFragment<Pg> for WriteBatch {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH ");
        self.insert.walk_parts(Width::Any, out.reborrow())?;
        out.push_sql(", ");
        self.advance.walk_parts(Width::Any, out.reborrow())?;
        out.push_sql(" ");
        out.push_sql(SELECT_NEW);
        out.push_sql(" UNION ALL SELECT run_id, NULL, NULL, NULL, false FROM done");
        Ok(())
    }
}
