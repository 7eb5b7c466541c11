//! Takes over the runs of nodes whose lease is over.
//!
//! A node's row is locked while its runs change hands, and marked: a renewal that waited for the lock sees that it came too
//! late. A node without a row has no lease either; that is how a node ends in good order, and what it may still have
//! inserted by then is found by its runs.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::error::from_diesel;
use super::read::{FACTS, Facts, FactsRow};
use super::settle::SettleRuns;
use super::statement::{push, statement};
use crate::run::{CrashPolicy, RunId};
use crate::store::StoreResult;
use crate::store::protocol::{Takeover, take_over};

/// Takes over at most `limit` runs; fewer when no more can be taken over just now.
pub(super) async fn sweep(conn: &mut Connection, limit: usize) -> StoreResult<Vec<(RunId, Takeover)>> {
    let mut passed = Vec::new();
    let mut swept = Vec::new();
    while swept.len() < limit {
        match sweep_one(conn, &passed, limit - swept.len()).await {
            Ok(None) => break,
            Ok(Some((owner, runs))) => {
                passed.push(owner);
                swept.extend(runs);
            }
            Err(error) => {
                // Where the connection is gone this fails as well, and the next sweep makes another one.
                conn.roll_back().await.map_err(|error| from_diesel(&error))?;
                if swept.is_empty() {
                    return Err(error);
                }
                tracing::warn!(%error, "not all runs without a node could be taken over");
                break;
            }
        }
    }
    Ok(swept)
}

type Swept = (Uuid, Vec<(RunId, Takeover)>);

/// Takes over runs of one dead node that is not among `passed`, in one transaction; `None` when there is no such node.
async fn sweep_one(conn: &mut Connection, passed: &[Uuid], limit: usize) -> StoreResult<Option<Swept>> {
    conn.begin().await.map_err(|error| from_diesel(&error))?;
    let Some(owner) = dead_node(conn, passed).await.map_err(|error| from_diesel(&error))? else {
        conn.commit().await.map_err(|error| from_diesel(&error))?;
        return Ok(None);
    };
    let rows: Vec<(FactsRow, String)> =
        RunsOf { owner, limit: super::count(limit) }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    let mut decided = Vec::with_capacity(rows.len());
    for (row, on_crash) in rows {
        let (run_id, facts) = row.into_facts()?;
        decided.push((run_id, take_over(&facts, CrashPolicy::from_word(&on_crash))));
    }
    write(conn, owner, &decided).await?;
    Ok(Some((owner, decided)))
}

async fn dead_node(conn: &mut Connection, passed: &[Uuid]) -> QueryResult<Option<Uuid>> {
    let fenced: Vec<Uuid> = FenceExpired { passed: passed.to_vec() }.get_results(conn).await?;
    if !fenced.is_empty() {
        return Ok(fenced.into_iter().next());
    }
    let orphaned: Vec<Uuid> = MissingOwner { passed: passed.to_vec() }.get_results(conn).await?;
    Ok(orphaned.into_iter().next())
}

/// Makes durable what was decided, and forgets the node when it has no more runs.
async fn write(conn: &mut Connection, owner: Uuid, decided: &[(RunId, Takeover)]) -> StoreResult<()> {
    let requeued: Vec<Uuid> =
        decided.iter().filter(|(_, to)| *to == Takeover::Requeue).map(|(run_id, _)| run_id.as_uuid()).collect();
    let mut settle = SettleRuns::new()?;
    for (run_id, takeover) in decided {
        settle.push(*run_id, *takeover)?;
    }
    let written = async {
        if !requeued.is_empty() {
            diesel::sql_query(
                "UPDATE runs SET start_by = CASE WHEN status = 'PENDING' THEN start_by END, \
                    status = 'PENDING', node_id = NULL, started_at = NULL WHERE run_id = ANY($1)",
            )
            .bind::<Array<SqlUuid>, _>(requeued)
            .execute(conn)
            .await?;
        }
        if !settle.is_empty() {
            let _settled: Vec<Uuid> = settle.get_results(conn).await?;
        }
        diesel::sql_query(
            "DELETE FROM nodes WHERE node_id = $1 AND NOT EXISTS ( \
                SELECT FROM runs WHERE runs.node_id = $1 AND settled_at IS NULL AND paused_at IS NULL)",
        )
        .bind::<SqlUuid, _>(owner)
        .execute(conn)
        .await?;
        conn.commit().await
    };
    written.await.map_err(|error| from_diesel(&error))
}

/// Locks one node whose lease has expired, and marks it. The row that was locked is the one that is judged: a renewal that
/// was committed meanwhile keeps it out.
struct FenceExpired {
    passed: Vec<Uuid>,
}

statement!(FenceExpired -> SqlUuid);

impl QueryFragment<Pg> for FenceExpired {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH expired AS MATERIALIZED ( \
                SELECT node_id FROM nodes \
                WHERE lease_until <= now() AND node_id <> ALL(", &self.passed => Array<SqlUuid>, ") \
                ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED) \
             UPDATE nodes n SET lease_until = '-infinity' FROM expired e WHERE n.node_id = e.node_id \
             RETURNING n.node_id"
        );
        Ok(())
    }
}

/// An owner of unsettled runs that is no node any more. Such a node never comes back, since each has an id of its own.
/// Owners are looked up one after the other in the index, so that their runs are not counted through.
struct MissingOwner {
    passed: Vec<Uuid>,
}

statement!(MissingOwner -> SqlUuid);

impl QueryFragment<Pg> for MissingOwner {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH RECURSIVE owners (node_id) AS ( \
                (SELECT node_id FROM runs WHERE settled_at IS NULL AND paused_at IS NULL AND node_id IS NOT NULL ORDER BY node_id LIMIT 1) \
                UNION ALL \
                SELECT (SELECT r.node_id FROM runs r WHERE r.settled_at IS NULL AND r.paused_at IS NULL AND r.node_id > o.node_id \
                        ORDER BY r.node_id LIMIT 1) \
                FROM owners o WHERE o.node_id IS NOT NULL) \
             SELECT o.node_id FROM owners o \
             WHERE o.node_id IS NOT NULL AND o.node_id <> ALL(", &self.passed => Array<SqlUuid>, ") \
               AND NOT EXISTS (SELECT FROM nodes n WHERE n.node_id = o.node_id) LIMIT 1"
        );
        Ok(())
    }
}

/// What the unsettled runs of a node are like, each locked. What a late write of the node has locked waits for the next
/// sweep.
struct RunsOf {
    owner: Uuid,
    limit: i64,
}

statement!(RunsOf -> (Facts, Text));

impl QueryFragment<Pg> for RunsOf {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(FACTS);
        push!(out,
            ", r.on_crash FROM runs r WHERE r.settled_at IS NULL AND r.paused_at IS NULL AND r.node_id = ", &self.owner => SqlUuid,
            " ORDER BY r.priority DESC, r.run_at, r.run_id LIMIT ", &self.limit => BigInt, " FOR UPDATE OF r SKIP LOCKED"
        );
        Ok(())
    }
}
