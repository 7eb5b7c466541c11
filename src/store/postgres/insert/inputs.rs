//! What new runs are asked, which a statement writes along with its own work.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::AskedBy;
use crate::store::StoreResult;
use crate::store::postgres::advance::to_json;
use crate::store::postgres::statement::{Width, rows};
use crate::store::protocol::InsertRun;

/// A part of a `WITH`, named `inputs`: writes the inputs of those runs that are in `new`. Apart from the rows of the runs,
/// so that those stay narrow: they are copied several times on their way.
#[derive(Default)]
pub(super) struct WriteInputs {
    inputs: Vec<String>,
    metadata: Vec<String>,
    fingerprints: Vec<Vec<u8>>,
    webhooks: Vec<Option<String>>,
    origins: Vec<Option<Uuid>>,
    traceparents: Vec<Option<String>>,
}

impl WriteInputs {
    pub(super) fn push(&mut self, insert: &InsertRun) -> StoreResult<()> {
        let run = &insert.run;
        self.inputs.push(run.input.as_json().to_string());
        self.metadata.push(to_json(&run.metadata)?);
        self.fingerprints.push(insert.fingerprint.to_vec());
        self.webhooks.push(insert.webhook.as_ref().map(|url| url.as_str().to_owned()));
        self.origins.push(run.origin.map(|origin| origin.as_uuid()));
        self.traceparents.push(run.traceparent.as_ref().map(ToString::to_string));
        Ok(())
    }

    /// The texts that Postgres reads as JSON.
    pub(super) fn documents(&self) -> impl Iterator<Item = &String> {
        self.inputs.iter().chain(&self.metadata)
    }

    /// `asked_by` has a slot for each input.
    pub(super) fn walk_ast<'b>(
        &'b self,
        asked_by: &'b AskedBy,
        width: Width,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        // `IS TRUE` keeps the planner from making a join of it, which would compare each row with each.
        out.push_sql(
            "inputs AS ( \
                INSERT INTO run_inputs (run_id, session_id, agent, user_id, created_at, input, metadata, fingerprint, webhook, origin, traceparent) \
                SELECT i.run_id, i.session_id, i.agent, i.user_id, now(), i.input::json, i.metadata::json, i.fingerprint, i.webhook, \
                       i.origin, i.traceparent \
                FROM (",
        );
        rows!(out, width,
            run_id: &asked_by.run_ids => SqlUuid,
            session_id: &asked_by.session_ids => Text,
            agent: &asked_by.agents => Text,
            user_id: &asked_by.user_ids => Nullable<Text>,
            input: &self.inputs => Text,
            metadata: &self.metadata => Text,
            fingerprint: &self.fingerprints => Binary,
            webhook: &self.webhooks => Nullable<Text>,
            origin: &self.origins => Nullable<SqlUuid>,
            traceparent: &self.traceparents => Nullable<Text>,
        );
        out.push_sql(") AS i WHERE (i.run_id IN (SELECT run_id FROM new)) IS TRUE)");
        Ok(())
    }
}
