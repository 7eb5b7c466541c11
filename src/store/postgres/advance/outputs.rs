//! What runs have come to, which a statement writes along with its own work.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::to_json;
use crate::store::StoreResult;
use crate::store::postgres::statement::{Width, rows};
use crate::store::protocol::{Change, Pause, Settlement};

/// A part of a `WITH`, named `outputs`: writes the outputs of those runs that are in `done`. Apart from the rows that are
/// updated, so that those stay narrow: they are copied several times on their way.
#[derive(Default)]
pub(super) struct WriteOutputs {
    run_ids: Vec<Uuid>,
    contents: Vec<Option<String>>,
    error_kinds: Vec<Option<String>>,
    error_messages: Vec<Option<String>>,
    metrics: Vec<String>,
    tools: Vec<Option<String>>,
    requirements: Vec<Option<String>>,
}

impl WriteOutputs {
    pub(super) fn is_empty(&self) -> bool {
        self.run_ids.is_empty()
    }

    /// Takes in what a change leaves of the run, if it leaves anything.
    pub(super) fn push(&mut self, run_id: Uuid, change: &Change) -> StoreResult<()> {
        let (content, error, metrics, tools, requirements) = match change {
            Change::Settle(Settlement { content, error, metrics, tools, .. }) => {
                (content, error.as_ref(), metrics, tools, None)
            }
            Change::Pause(Pause { content, metrics, tools, requirements, .. }) => {
                (content, None, metrics, tools, Some(requirements))
            }
            Change::Start | Change::Append | Change::HandBack | Change::Retry { .. } => return Ok(()),
        };
        self.run_ids.push(run_id);
        self.contents.push(content.as_ref().map(|content| content.as_json().to_string()));
        self.error_kinds.push(error.map(|error| error.kind.to_string()));
        self.error_messages.push(error.map(|error| error.message.clone()));
        self.metrics.push(to_json(metrics)?);
        self.tools.push((!tools.is_empty()).then(|| to_json(tools)).transpose()?);
        self.requirements.push(requirements.map(to_json).transpose()?);
        Ok(())
    }

    /// The texts that Postgres reads as JSON.
    pub(super) fn documents(&self) -> impl Iterator<Item = &String> {
        self.contents.iter().chain(&self.tools).chain(&self.requirements).flatten()
    }

    pub(super) fn walk_ast<'b>(&'b self, width: Width, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // `IS TRUE` keeps the planner from making a join of it, which would compare each row with each.
        out.push_sql(
            "outputs AS ( \
                INSERT INTO run_outputs (run_id, content, error_kind, error_message, metrics, tools, requirements) \
                SELECT o.run_id, o.content::json, o.error_kind, o.error_message, o.metrics::json, o.tools::json, \
                       o.requirements::json \
                FROM (",
        );
        rows!(out, width,
            run_id: &self.run_ids => SqlUuid,
            content: &self.contents => Nullable<Text>,
            error_kind: &self.error_kinds => Nullable<Text>,
            error_message: &self.error_messages => Nullable<Text>,
            metrics: &self.metrics => Text,
            tools: &self.tools => Nullable<Text>,
            requirements: &self.requirements => Nullable<Text>,
        );
        out.push_sql(") AS o WHERE (o.run_id IN (SELECT run_id FROM done)) IS TRUE)");
        Ok(())
    }
}
