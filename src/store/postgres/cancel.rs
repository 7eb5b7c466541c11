//! Cancels runs that are not live in this process, and keeps the intents for those that do not exist yet.
//!
//! A cancel and a submit of the same id may happen in two processes at once. Each commits before it looks: the intent is
//! committed before this looks for the run a second time, and the run is committed before its start looks for an intent.
//! So at least one of them sees the other.

use std::collections::HashMap;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::error::from_diesel;
use super::row::corrupt;
use super::statement::{push, statement};
use crate::run::{RunEventKind, RunStatus, UserId};
use crate::store::protocol::{CANCELLED_BY_CALLER, Cancel, CancelWritten};
use crate::store::{NodeId, StoreError, StoreLimits, StoreResult};

/// Whether an intent waits for the run of this row. Seldom is there any intent at all, which is found out once for all rows.
macro_rules! is_awaited_by_cancel {
    ($row:literal) => {
        concat!(
            "((SELECT EXISTS (SELECT FROM cancel_intents WHERE expires_at > now())) AND EXISTS ( \
                SELECT FROM cancel_intents c WHERE c.run_id = ",
            $row,
            ".run_id AND c.user_id IN ('', ",
            $row,
            ".user_id) AND c.expires_at > now()))"
        )
    };
}
pub(super) use is_awaited_by_cancel;

/// Cancels that are told apart by the run's id and by the only user whose run they may hit. One that may hit anybody's has
/// an empty user id, which no user has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cancels {
    run_ids: Vec<Uuid>,
    user_ids: Vec<String>,
}

impl<'a> FromIterator<&'a Cancel> for Cancels {
    fn from_iter<I: IntoIterator<Item = &'a Cancel>>(cancels: I) -> Self {
        let mut all = Self::default();
        for Cancel { run_id, user_id } in cancels {
            all.run_ids.push(run_id.as_uuid());
            all.user_ids.push(user_id.as_ref().map(ToString::to_string).unwrap_or_default());
        }
        all
    }
}

/// What has become of each cancel.
pub(super) type Answers = HashMap<Cancel, CancelWritten>;

fn answered(run_id: Uuid, user_id: String) -> Cancel {
    Cancel { run_id: run_id.into(), user_id: Some(user_id).filter(|user_id| !user_id.is_empty()).map(UserId::from) }
}

/// Does all of `cancels`.
pub(super) async fn cancel(conn: &mut Connection, cancels: &[Cancel], limits: StoreLimits) -> StoreResult<Answers> {
    if cancels.is_empty() {
        return Ok(Answers::new());
    }
    let mut found = look(conn, cancels).await?;
    let unknown: Vec<Cancel> = cancels.iter().filter(|cancel| !found.contains_key(*cancel)).cloned().collect();
    if !unknown.is_empty() {
        let stored = store_intents(conn, &unknown, limits).await?;
        found.extend(unknown.iter().map(|cancel| (cancel.clone(), CancelWritten::TooManyIntents)));
        found.extend(stored.into_iter().map(|cancel| (cancel, CancelWritten::IntentStored)));
        found.extend(look(conn, &unknown).await?);
    }
    Ok(found)
}

/// Stores intents for `cancels`, as far as there is room; which ones were stored.
pub(super) async fn store_intents(
    conn: &mut Connection,
    cancels: &[Cancel],
    limits: StoreLimits,
) -> StoreResult<Vec<Cancel>> {
    let intents = StoreIntents {
        cancels: cancels.iter().collect(),
        ttl_ms: i64::try_from(limits.intent_ttl.as_millis()).unwrap_or(i64::MAX),
        most: i64::try_from(limits.max_intents).unwrap_or(i64::MAX),
    };
    let stored: Vec<(Uuid, String)> = intents.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    Ok(stored.into_iter().map(|(run_id, user_id)| answered(run_id, user_id)).collect())
}

/// Does those of `cancels` that hit a run.
pub(super) async fn look(conn: &mut Connection, cancels: &[Cancel]) -> StoreResult<Answers> {
    let event = RunEventKind::RunCancelled { reason: CANCELLED_BY_CALLER.to_owned() };
    let event = serde_json::to_string(&event).map_err(|error| StoreError::Data(error.to_string()))?;
    let statement = CancelRuns { cancels: cancels.iter().collect(), event };
    let touched: Vec<(Uuid, String, Option<Uuid>, bool)> =
        statement.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    let mut found: Answers = touched
        .into_iter()
        .map(|(run_id, user_id, node, was_started)| {
            let written = match node {
                Some(node) => CancelWritten::Requested(NodeId::from(node)),
                // Only a pause leaves the time of a start on a run that nobody has.
                None if was_started => CancelWritten::CancelledPaused,
                None => CancelWritten::Cancelled,
            };
            (answered(run_id, user_id), written)
        })
        .collect();
    let cancels: Cancels = cancels.iter().filter(|cancel| !found.contains_key(*cancel)).collect();
    if cancels != Cancels::default() {
        let settled: Vec<(Uuid, String, String)> =
            SettledStatuses { cancels }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
        for (run_id, user_id, status) in settled {
            let status: RunStatus = status.parse().map_err(|error| corrupt("status", &error))?;
            found.insert(answered(run_id, user_id), CancelWritten::Settled(status));
        }
    }
    Ok(found)
}

pub(super) async fn forget_expired(conn: &mut Connection) -> StoreResult<()> {
    let forget = diesel::sql_query("DELETE FROM cancel_intents WHERE expires_at <= now()");
    forget.execute(conn).await.map_err(|error| from_diesel(&error))?;
    Ok(())
}

/// Settles what nobody has, and puts the request on what somebody has. They are locked in the order of their ids, as by whoever
/// else writes to several runs: a scan of the table takes them as they lie.
struct CancelRuns {
    cancels: Cancels,
    event: String,
}

statement!(CancelRuns -> (SqlUuid, Text, Nullable<SqlUuid>, Bool));

impl QueryFragment<Pg> for CancelRuns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Cancels { run_ids, user_ids } = &self.cancels;
        push!(out,
            "WITH asked AS (SELECT * FROM unnest(", run_ids => Array<SqlUuid>, ", ", user_ids => Array<Text>,
            ") AS t (run_id, user_id)), \
             locked AS MATERIALIZED ( \
                SELECT r.run_id FROM runs r WHERE r.run_id = ANY(", run_ids => Array<SqlUuid>, ") AND r.settled_at IS NULL \
                    AND EXISTS (SELECT FROM asked a WHERE a.run_id = r.run_id AND a.user_id IN ('', r.user_id)) \
                ORDER BY r.run_id FOR NO KEY UPDATE), \
             touched AS ( \
                UPDATE runs r SET \
                    cancel_requested_at = CASE WHEN node_id IS NULL THEN cancel_requested_at \
                                               ELSE COALESCE(cancel_requested_at, now()) END, \
                    status = CASE WHEN node_id IS NULL THEN 'CANCELLED' ELSE status END, \
                    settled_at = CASE WHEN node_id IS NULL THEN now() END, \
                    paused_at = NULL, \
                    next_seq = next_seq + CASE WHEN node_id IS NULL THEN 1 ELSE 0 END \
                FROM locked l WHERE r.run_id = l.run_id AND r.settled_at IS NULL \
                RETURNING r.run_id, r.user_id, r.node_id, r.next_seq, r.started_at IS NOT NULL AS was_started), \
             events AS ( \
                INSERT INTO run_events (run_id, seq, created_at, event) \
                SELECT run_id, next_seq - 1, now(), ", &self.event => Text, "::json FROM touched WHERE node_id IS NULL), \
             spent AS ( \
                DELETE FROM cancel_intents c USING touched t \
                WHERE c.run_id = t.run_id AND c.user_id IN ('', t.user_id) AND t.node_id IS NULL) \
             SELECT a.run_id, a.user_id, t.node_id, t.was_started FROM asked a JOIN touched t USING (run_id) \
             WHERE a.user_id IN ('', t.user_id)"
        );
        Ok(())
    }
}

/// The runs that have settled.
struct SettledStatuses {
    cancels: Cancels,
}

statement!(SettledStatuses -> (SqlUuid, Text, Text));

impl QueryFragment<Pg> for SettledStatuses {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Cancels { run_ids, user_ids } = &self.cancels;
        push!(out,
            "SELECT a.run_id, a.user_id, r.status \
             FROM unnest(", run_ids => Array<SqlUuid>, ", ", user_ids => Array<Text>, ") AS a (run_id, user_id) \
             JOIN runs r USING (run_id) WHERE a.user_id IN ('', r.user_id) AND r.settled_at IS NOT NULL"
        );
        Ok(())
    }
}

/// Stores intents up to the bound; one that is there already is always renewed.
struct StoreIntents {
    cancels: Cancels,
    ttl_ms: i64,
    most: i64,
}

statement!(StoreIntents -> (SqlUuid, Text));

impl QueryFragment<Pg> for StoreIntents {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Cancels { run_ids, user_ids } = &self.cancels;
        push!(out,
            "WITH present AS ( \
                SELECT count(*) AS n FROM (SELECT FROM cancel_intents WHERE expires_at > now() LIMIT ",
            &self.most => BigInt, ") AS counted) \
             INSERT INTO cancel_intents (run_id, user_id, expires_at) \
             SELECT t.run_id, t.user_id, now() + ", &self.ttl_ms => BigInt, " * interval '1 millisecond' \
             FROM present, unnest(", run_ids => Array<SqlUuid>, ", ", user_ids => Array<Text>,
            ") WITH ORDINALITY AS t (run_id, user_id, place) \
             WHERE present.n + t.place <= ", &self.most => BigInt,
            " OR EXISTS ( \
                SELECT FROM cancel_intents c \
                WHERE c.run_id = t.run_id AND c.user_id = t.user_id AND c.expires_at > now()) \
             ON CONFLICT (run_id, user_id) DO UPDATE SET expires_at = excluded.expires_at \
             RETURNING run_id, user_id"
        );
        Ok(())
    }
}
