//! Cancels runs that are not live in this process, and keeps the intents for those that do not exist yet.
//!
//! A cancel and a submit of the same id may happen in two processes at once. Each commits before it looks: the intent is
//! committed before this looks for the run a second time, and the run is committed before its start looks for an intent.
//! So at least one of them sees the other.

use std::collections::HashMap;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::error::from_diesel;
use super::row::corrupt;
use super::statement::{push, statement};
use crate::run::{RunEventKind, RunId, RunStatus};
use crate::store::protocol::{CANCELLED_BY_CALLER, CancelWritten};
use crate::store::{NodeId, StoreError, StoreLimits, StoreResult};

/// Cancels each of `run_ids`; the answers are in the same order.
pub(super) async fn cancel(
    conn: &mut Connection,
    run_ids: &[RunId],
    limits: StoreLimits,
) -> StoreResult<Vec<CancelWritten>> {
    let mut found = look(conn, run_ids.iter().map(|run_id| run_id.as_uuid()).collect()).await?;
    let unknown: Vec<Uuid> =
        run_ids.iter().map(|run_id| run_id.as_uuid()).filter(|run_id| !found.contains_key(run_id)).collect();
    if !unknown.is_empty() {
        let stored = store_intents(conn, unknown.clone(), limits).await?;
        found.extend(unknown.iter().map(|&run_id| (run_id, CancelWritten::TooManyIntents)));
        found.extend(stored.iter().map(|&run_id| (run_id, CancelWritten::IntentStored)));
        found.extend(look(conn, unknown).await?);
    }
    let answer = |run_id: &RunId| {
        found.get(&run_id.as_uuid()).copied().ok_or_else(|| StoreError::Corrupt(format!("run {run_id} has no answer")))
    };
    run_ids.iter().map(answer).collect()
}

/// Stores intents for `run_ids`, as far as there is room; which ones were stored.
pub(super) async fn store_intents(
    conn: &mut Connection,
    run_ids: Vec<Uuid>,
    limits: StoreLimits,
) -> StoreResult<Vec<Uuid>> {
    let intents = StoreIntents {
        run_ids,
        ttl_ms: i64::try_from(limits.intent_ttl.as_millis()).unwrap_or(i64::MAX),
        most: i64::try_from(limits.max_intents).unwrap_or(i64::MAX),
    };
    intents.get_results(conn).await.map_err(|error| from_diesel(&error))
}

/// Cancels those of `run_ids` that exist.
pub(super) async fn look(conn: &mut Connection, run_ids: Vec<Uuid>) -> StoreResult<HashMap<Uuid, CancelWritten>> {
    let event = RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() };
    let event = serde_json::to_string(&event).map_err(|error| StoreError::Data(error.to_string()))?;
    let cancels = CancelRuns { run_ids: run_ids.clone(), event };
    let touched: Vec<(Uuid, Option<Uuid>)> = cancels.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    let mut found: HashMap<Uuid, CancelWritten> = touched
        .into_iter()
        .map(|(run_id, node)| {
            (run_id, node.map_or(CancelWritten::Cancelled, |node| CancelWritten::Requested(NodeId::from(node))))
        })
        .collect();
    let run_ids: Vec<Uuid> = run_ids.into_iter().filter(|run_id| !found.contains_key(run_id)).collect();
    if !run_ids.is_empty() {
        let settled = SettledStatuses { run_ids };
        let settled: Vec<(Uuid, String)> = settled.get_results(conn).await.map_err(|error| from_diesel(&error))?;
        for (run_id, status) in settled {
            let status: RunStatus = status.parse().map_err(|error| corrupt("status", &error))?;
            found.insert(run_id, CancelWritten::Settled(status));
        }
    }
    Ok(found)
}

/// Settles what nobody has, and puts the request on what somebody has.
struct CancelRuns {
    run_ids: Vec<Uuid>,
    event: String,
}

statement!(CancelRuns -> (SqlUuid, Nullable<SqlUuid>));

impl QueryFragment<Pg> for CancelRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH touched AS ( \
                UPDATE runs SET \
                    cancel_requested_at = CASE WHEN node_id IS NULL THEN cancel_requested_at \
                                               ELSE COALESCE(cancel_requested_at, now()) END, \
                    status = CASE WHEN node_id IS NULL THEN 'CANCELLED' ELSE status END, \
                    settled_at = CASE WHEN node_id IS NULL THEN now() END, \
                    next_seq = next_seq + CASE WHEN node_id IS NULL THEN 1 ELSE 0 END \
                WHERE run_id = ANY(", &self.run_ids => Array<SqlUuid>, ") AND settled_at IS NULL \
                RETURNING run_id, node_id, next_seq), \
             events AS ( \
                INSERT INTO run_events (run_id, seq, created_at, event) \
                SELECT run_id, next_seq - 1, now(), ", &self.event => Text, "::json FROM touched WHERE node_id IS NULL), \
             spent AS ( \
                DELETE FROM cancel_intents c USING touched t WHERE c.run_id = t.run_id AND t.node_id IS NULL) \
             SELECT run_id, node_id FROM touched"
        );
        Ok(())
    }
}

/// The runs that have settled.
struct SettledStatuses {
    run_ids: Vec<Uuid>,
}

statement!(SettledStatuses -> (SqlUuid, Text));

impl QueryFragment<Pg> for SettledStatuses {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT run_id, status FROM runs WHERE run_id = ANY(", &self.run_ids => Array<SqlUuid>,
            ") AND settled_at IS NOT NULL"
        );
        Ok(())
    }
}

/// Stores intents up to the bound; one that is there already is always renewed.
struct StoreIntents {
    run_ids: Vec<Uuid>,
    ttl_ms: i64,
    most: i64,
}

statement!(StoreIntents -> SqlUuid);

impl QueryFragment<Pg> for StoreIntents {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH present AS ( \
                SELECT count(*) AS n FROM (SELECT FROM cancel_intents WHERE expires_at > now() LIMIT ",
            &self.most => BigInt, ") AS counted) \
             INSERT INTO cancel_intents (run_id, expires_at) \
             SELECT t.run_id, now() + ", &self.ttl_ms => BigInt, " * interval '1 millisecond' \
             FROM present, unnest(", &self.run_ids => Array<SqlUuid>, ") WITH ORDINALITY AS t (run_id, place) \
             WHERE present.n + t.place <= ", &self.most => BigInt,
            " OR EXISTS (SELECT FROM cancel_intents c WHERE c.run_id = t.run_id AND c.expires_at > now()) \
             ON CONFLICT (run_id) DO UPDATE SET expires_at = excluded.expires_at \
             RETURNING run_id"
        );
        Ok(())
    }
}
