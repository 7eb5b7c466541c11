//! Writes a batch: multi-row statements, most often a single one, then what the guards refused is explained.

use std::collections::{HashMap, HashSet};

use diesel::QueryResult;
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::batch::{BatchWritten, WriteBatch};
use super::cancel;
use super::connection::Connection;
use super::error::{from_diesel, is_unclear};
use super::inherit::Heirs;
use super::insert::NewRow;
use super::inserted;
use super::read::{FactsRow, GetFacts};
use super::resume;
use crate::run::{RunId, RunOutput, SessionPolicy, UserId};
use crate::store::protocol::pause::Continue;
use crate::store::protocol::{Advance, Cancel, InsertRun, RowFacts, Verdict, Write, Written, judge};
use crate::store::{StoreError, StoreLimits, StoreResult};

/// How often a write is tried again that was refused and should have passed by what was read then: what it had met changed
/// in between, which needs another process each time.
const RACES: usize = 5;

/// Writes `batch` and says what became of each write, in the same order.
pub(super) async fn write(conn: &mut Connection, batch: &[Write], limits: StoreLimits) -> StoreResult<Vec<Written>> {
    let Sorted { mut inserts, mut advances, cancels, continues } = Sorted::of(batch);
    let mut answers = HashMap::with_capacity(batch.len());
    for _ in 0..=RACES {
        let BatchWritten { new, done } = transaction(conn, &inserts, &advances).await?;
        inserts = inserted::explain(conn, inserts, new, &mut answers).await?;
        advances = explain_advances(conn, advances, &done, &mut answers).await?;
        if inserts.is_empty() && advances.is_empty() {
            break;
        }
    }
    let cancelled = cancel::cancel(conn, &cancels, limits).await?;
    let continued = resume::resume(conn, &continues).await?;
    let mut answer = |write: &Write| {
        let busy = || StoreError::Unavailable(format!("run {} keeps changing", write.run_id()));
        match write {
            Write::Cancel(one) => cancelled.get(one).copied().map(Written::Cancel).ok_or_else(busy),
            Write::Continue(one) => continued.get(&one.run_id).cloned().map(Written::Continue).ok_or_else(busy),
            Write::Insert(_) | Write::Advance(_) => answers.remove(&write.run_id()).ok_or_else(busy),
        }
    };
    batch.iter().map(&mut answer).collect()
}

/// The writes of a batch by kind, each in the order of run ids: two batches that meet the same rows lock them in the same
/// order. Inserts are first in the order of what else only one of them can have, a key or a session: several ids may come with it.
struct Sorted<'a> {
    inserts: Vec<&'a InsertRun>,
    advances: Vec<&'a Advance>,
    cancels: Vec<Cancel>,
    continues: Vec<&'a Continue>,
}

impl<'a> Sorted<'a> {
    fn of(batch: &'a [Write]) -> Self {
        let mut sorted = Self { inserts: Vec::new(), advances: Vec::new(), cancels: Vec::new(), continues: Vec::new() };
        for write in batch {
            match write {
                Write::Insert(insert) => sorted.inserts.push(insert),
                Write::Advance(advance) => sorted.advances.push(advance),
                Write::Cancel(one) => sorted.cancels.push(one.clone()),
                Write::Continue(one) => sorted.continues.push(one),
            }
        }
        sorted.inserts.sort_by(|one, other| {
            let order = |insert: &'a InsertRun| {
                let RunOutput { run_id, session_id, agent, user_id, .. } = &insert.run.output;
                let session = (insert.sessions == SessionPolicy::Refuse).then_some(session_id.as_str());
                (&insert.run.idempotency_key, agent, user_id.as_ref().map(UserId::as_str), session, *run_id)
            };
            order(one).cmp(&order(other))
        });
        sorted.advances.sort_unstable_by_key(|advance| advance.run_id);
        sorted.cancels.sort_unstable();
        sorted.cancels.dedup();
        sorted
    }
}

/// Inserts and advances: in one transaction, or in two when there are heirs.
async fn transaction(
    conn: &mut Connection,
    inserts: &[&InsertRun],
    advances: &[&Advance],
) -> StoreResult<BatchWritten> {
    let mut batch = WriteBatch::default();
    inserts.iter().try_for_each(|one| batch.insert.push(one))?;
    advances.iter().try_for_each(|one| batch.advance.push(one))?;
    match execute(conn, &mut batch, Heirs::of(inserts)).await {
        Ok(written) => Ok(written),
        Err(error) => {
            // Where the connection is gone this fails as well, and the lane makes another one.
            conn.roll_back().await.map_err(|error| from_diesel(&error))?;
            if is_unclear(&error) && Documents::of(&batch).are_refused(conn).await {
                return Err(StoreError::Data(from_diesel(&error).to_string()));
            }
            Err(from_diesel(&error))
        }
    }
}

/// Inserts heirs with what they inherit, and the other new runs with them, in a transaction before that of what advances: the
/// children that heirs take over and the runs that advance are each locked in the order of their ids, so not together.
async fn insert_heirs(conn: &mut Connection, batch: &mut WriteBatch, heirs: Heirs) -> QueryResult<Vec<NewRow>> {
    conn.begin().await?;
    batch.insert.refused = heirs.refused(conn).await?;
    let new = batch.insert(conn).await?;
    heirs.inherit(conn, &new).await?;
    conn.commit().await?;
    Ok(new)
}

async fn execute(conn: &mut Connection, batch: &mut WriteBatch, heirs: Heirs) -> QueryResult<BatchWritten> {
    let new = if heirs.is_empty() { None } else { Some(insert_heirs(conn, batch, heirs).await?) };
    let cancelled = &batch.advance.cancelled;
    // A batch alone is a transaction of its own, and saves two round trips.
    let alone = cancelled.is_empty();
    if !alone {
        conn.begin().await?;
    }
    let written = match new {
        None => batch.write(conn).await?,
        Some(new) => BatchWritten { new, done: batch.advance(conn).await? },
    };
    if !alone {
        diesel::sql_query(
            "DELETE FROM cancel_intents c USING runs r \
             WHERE r.run_id = ANY($1) AND r.status = 'CANCELLED' \
               AND c.run_id = r.run_id AND c.user_id IN ('', r.user_id)",
        )
        .bind::<Array<SqlUuid>, _>(cancelled)
        .execute(conn)
        .await?;
        conn.commit().await?;
    }
    Ok(written)
}

/// The texts of a batch that Postgres reads as JSON.
///
/// An error that comes without a kind may be about the data or about the server. Diesel passes on no SQLSTATE, so the
/// data is tried by itself: a cast that touches no table fails for nothing but the data.
struct Documents(Vec<String>);

impl Documents {
    fn of(batch: &WriteBatch) -> Self {
        Self(batch.insert.documents().chain(batch.advance.documents()).cloned().collect())
    }

    async fn are_refused(self, conn: &mut Connection) -> bool {
        let tried = diesel::dsl::sql::<BigInt>("SELECT count(document::json) FROM unnest(")
            .bind::<Array<Text>, _>(self.0)
            .sql(") AS t (document)")
            .get_result::<i64>(conn)
            .await;
        tried.is_err_and(|error| is_unclear(&error))
    }
}

/// Puts into `answers` the advances that are `done` and those that their row refuses, and returns those that should pass now.
async fn explain_advances<'a>(
    conn: &mut Connection,
    advances: Vec<&'a Advance>,
    done: &HashSet<RunId>,
    answers: &mut HashMap<RunId, Written>,
) -> StoreResult<Vec<&'a Advance>> {
    let (done, refused): (Vec<_>, Vec<_>) = advances.into_iter().partition(|advance| done.contains(&advance.run_id));
    answers.extend(done.iter().map(|advance| (advance.run_id, Written::Advance(Ok(())))));
    if refused.is_empty() {
        return Ok(refused);
    }
    let facts = facts(conn, refused.iter().map(|advance| advance.run_id.as_uuid()).collect()).await?;
    let mut open = Vec::new();
    for advance in refused {
        let answer = match judge(advance, facts.get(&advance.run_id)) {
            Verdict::Applied => Ok(()),
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Apply => {
                open.push(advance);
                continue;
            }
        };
        answers.insert(advance.run_id, Written::Advance(answer));
    }
    Ok(open)
}

pub(super) async fn facts(conn: &mut Connection, run_ids: Vec<Uuid>) -> StoreResult<HashMap<RunId, RowFacts>> {
    let rows: Vec<FactsRow> = GetFacts { run_ids }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    rows.into_iter().map(FactsRow::into_facts).collect()
}
