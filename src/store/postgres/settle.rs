//! Settles runs that no live process has.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::advance::to_json;
use super::statement::{push, statement};
use crate::run::{Metrics, RunEventKind, RunId, RunStatus};
use crate::store::StoreResult;
use crate::store::protocol::{CANCELLED_BY_CALLER, Takeover, takeover_message};

/// Settles runs that are locked, each with its last event.
///
/// What a paused run has said and cost so far stays. They lose their node: that tells their end from one that the dead node's own attempt has written.
pub(super) struct SettleRuns {
    run_ids: Vec<Uuid>,
    statuses: Vec<&'static str>,
    error_kinds: Vec<Option<String>>,
    error_messages: Vec<Option<String>>,
    events: Vec<String>,
    metrics: String,
}

impl SettleRuns {
    pub(super) fn new() -> StoreResult<Self> {
        Ok(Self {
            run_ids: Vec::new(),
            statuses: Vec::new(),
            error_kinds: Vec::new(),
            error_messages: Vec::new(),
            events: Vec::new(),
            metrics: to_json(&Metrics::default())?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.run_ids.is_empty()
    }

    pub(super) fn push(&mut self, run_id: RunId, takeover: Takeover) -> StoreResult<()> {
        let (status, error, event) = match takeover {
            Takeover::Requeue => return Ok(()),
            Takeover::Cancel => {
                (RunStatus::Cancelled, None, RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() })
            }
            Takeover::Fail(kind) => {
                let message = takeover_message(kind).to_owned();
                let event = RunEventKind::RunError { error_type: kind, content: message.clone() };
                (RunStatus::Error, Some((kind.to_string(), message)), event)
            }
        };
        let (kind, message) = error.unzip();
        self.run_ids.push(run_id.as_uuid());
        self.statuses.push(status.as_str());
        self.error_kinds.push(kind);
        self.error_messages.push(message);
        self.events.push(to_json(&event)?);
        Ok(())
    }
}

statement!(SettleRuns -> SqlUuid);

impl QueryFragment<Pg> for SettleRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH asked AS (SELECT * FROM unnest(", &self.run_ids => Array<SqlUuid>,
            ", ", &self.statuses => Array<Text>,
            ", ", &self.error_kinds => Array<Nullable<Text>>,
            ", ", &self.error_messages => Array<Nullable<Text>>,
            ", ", &self.events => Array<Text>,
            ") AS t (run_id, status, error_kind, error_message, event)), \
             done AS ( \
                UPDATE runs r SET status = a.status, settled_at = now(), next_seq = r.next_seq + 1, node_id = NULL, \
                    paused_at = NULL \
                FROM asked a WHERE r.run_id = a.run_id \
                RETURNING r.run_id, r.user_id, r.status, r.next_seq, a.event, a.error_kind, a.error_message), \
             events AS ( \
                INSERT INTO run_events (run_id, seq, created_at, event) \
                SELECT run_id, next_seq - 1, now(), event::json FROM done), \
             outputs AS ( \
                INSERT INTO run_outputs (run_id, error_kind, error_message, metrics) \
                SELECT run_id, error_kind, error_message, ", &self.metrics => Text, "::json FROM done \
                ON CONFLICT (run_id) DO UPDATE SET error_kind = excluded.error_kind, \
                    error_message = excluded.error_message), \
             spent AS ( \
                DELETE FROM cancel_intents c USING done d \
                WHERE c.run_id = d.run_id AND c.user_id IN ('', d.user_id) AND d.status = 'CANCELLED') \
             SELECT run_id FROM done"
        );
        Ok(())
    }
}
