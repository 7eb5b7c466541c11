//! Writes a batch: a few multi-row statements in one transaction, then what the guards refused is explained.

use std::collections::{HashMap, HashSet};

use diesel::QueryResult;
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

use super::advance::AdvanceRuns;
use super::cancel;
use super::error::{from_diesel, is_unclear};
use super::insert::{InsertRuns, NewRow};
use super::read::{FactsRow, GetFacts, GetRuns};
use super::row::RunRow;
use crate::run::RunId;
use crate::store::protocol::{Advance, Cancel, InsertRun, Inserted, RowFacts, Verdict, Write, Written, judge};
use crate::store::{StoreError, StoreLimits, StoreResult};

/// How often a write is tried again whose guard refused it and whose row then said that it should have passed: the row
/// changed in between, which needs another process each time.
const RACES: usize = 5;

/// Writes `batch` and says what became of each write, in the same order.
pub(super) async fn write(
    conn: &mut AsyncPgConnection,
    batch: &[Write],
    limits: StoreLimits,
) -> StoreResult<Vec<Written>> {
    let mut sorted = Sorted::of(batch);
    let (new, mut done) = transaction(conn, &sorted.inserts, &sorted.advances).await?;
    let mut answers = HashMap::with_capacity(batch.len());
    answers.extend(explain_inserts(conn, &sorted.inserts, new).await?);
    for _ in 0..RACES {
        let mut open = Vec::new();
        answers.extend(explain_advances(conn, &sorted.advances, &done, &mut open).await?);
        if open.is_empty() {
            break;
        }
        sorted.advances = open;
        (_, done) = transaction(conn, &[], &sorted.advances).await?;
    }
    let cancelled = cancel::cancel(conn, &sorted.cancels, limits).await?;
    let answer = |write: &Write| {
        let busy = || StoreError::Unavailable(format!("run {} keeps changing", write.run_id()));
        match write {
            Write::Cancel(one) => cancelled.get(one).copied().map(Written::Cancel).ok_or_else(busy),
            Write::Insert(_) | Write::Advance(_) => answers.get(&write.run_id()).cloned().ok_or_else(busy),
        }
    };
    batch.iter().map(answer).collect()
}

/// The writes of a batch by kind, each in the order of run ids: two batches that meet the same rows lock them in the same
/// order.
struct Sorted<'a> {
    inserts: Vec<&'a InsertRun>,
    advances: Vec<&'a Advance>,
    cancels: Vec<Cancel>,
}

impl<'a> Sorted<'a> {
    fn of(batch: &'a [Write]) -> Self {
        let mut sorted = Self { inserts: Vec::new(), advances: Vec::new(), cancels: Vec::new() };
        for write in batch {
            match write {
                Write::Insert(insert) => sorted.inserts.push(insert),
                Write::Advance(advance) => sorted.advances.push(advance),
                Write::Cancel(one) => sorted.cancels.push(one.clone()),
            }
        }
        sorted.inserts.sort_unstable_by_key(|insert| insert.run.output.run_id);
        sorted.advances.sort_unstable_by_key(|advance| advance.run_id);
        sorted.cancels.sort_unstable();
        sorted.cancels.dedup();
        sorted
    }
}

/// Inserts and advances, in one transaction: the rows that were new, and the runs that were advanced.
async fn transaction(
    conn: &mut AsyncPgConnection,
    inserts: &[&InsertRun],
    advances: &[&Advance],
) -> StoreResult<(Vec<NewRow>, HashSet<RunId>)> {
    let mut insert = InsertRuns::default();
    inserts.iter().try_for_each(|one| insert.push(one))?;
    let mut advance = AdvanceRuns::default();
    advances.iter().try_for_each(|one| advance.push(one))?;
    let documents = Documents::of(&insert, &advance);
    match execute(conn, insert, advance).await {
        Ok(written) => Ok(written),
        Err(error) => {
            // Where the connection is gone this fails as well, and the lane makes another one.
            conn.batch_execute("ROLLBACK").await.map_err(|error| from_diesel(&error))?;
            if is_unclear(&error) && documents.are_refused(conn).await {
                return Err(StoreError::Data(from_diesel(&error).to_string()));
            }
            Err(from_diesel(&error))
        }
    }
}

async fn execute(
    conn: &mut AsyncPgConnection,
    insert: InsertRuns,
    advance: AdvanceRuns,
) -> QueryResult<(Vec<NewRow>, HashSet<RunId>)> {
    let cancelled = advance.cancelled.clone();
    // A single statement is a transaction of its own, and saves two round trips.
    let several = !cancelled.is_empty() || !insert.is_empty() && !advance.is_empty();
    if several {
        conn.batch_execute("BEGIN").await?;
    }
    let new = if insert.is_empty() { Vec::new() } else { insert.get_results(conn).await? };
    let done: Vec<Uuid> = if advance.is_empty() { Vec::new() } else { advance.get_results(conn).await? };
    if !cancelled.is_empty() {
        diesel::sql_query(
            "DELETE FROM cancel_intents c USING runs r \
             WHERE r.run_id = ANY($1) AND r.status = 'CANCELLED' \
               AND c.run_id = r.run_id AND c.user_id IN ('', r.user_id)",
        )
        .bind::<Array<SqlUuid>, _>(cancelled)
        .execute(conn)
        .await?;
    }
    if several {
        conn.batch_execute("COMMIT").await?;
    }
    Ok((new, done.into_iter().map(RunId::from).collect()))
}

/// The texts of a batch that Postgres reads as JSON.
///
/// An error that comes without a kind may be about the data or about the server. Diesel passes on no SQLSTATE, so the
/// data is tried by itself: a cast that touches no table fails for nothing but the data.
struct Documents(Vec<String>);

impl Documents {
    fn of(insert: &InsertRuns, advance: &AdvanceRuns) -> Self {
        let contents = advance.contents.iter().flatten();
        Self(insert.inputs.iter().chain(&insert.metadata).chain(&advance.events).chain(contents).cloned().collect())
    }

    async fn are_refused(self, conn: &mut AsyncPgConnection) -> bool {
        let tried = diesel::dsl::sql::<BigInt>("SELECT count(document::json) FROM unnest(")
            .bind::<Array<Text>, _>(self.0)
            .sql(") AS t (document)")
            .get_result::<i64>(conn)
            .await;
        tried.is_err_and(|error| is_unclear(&error))
    }
}

async fn explain_inserts(
    conn: &mut AsyncPgConnection,
    inserts: &[&InsertRun],
    new: Vec<NewRow>,
) -> StoreResult<HashMap<RunId, Written>> {
    let new: HashMap<Uuid, NewRow> = new.into_iter().map(|row| (row.0, row)).collect();
    let id = |insert: &InsertRun| insert.run.output.run_id.as_uuid();
    let old: Vec<Uuid> = inserts.iter().map(|insert| id(insert)).filter(|run_id| !new.contains_key(run_id)).collect();
    let old: HashMap<Uuid, RunRow> = if old.is_empty() {
        HashMap::new()
    } else {
        let rows: Vec<RunRow> =
            GetRuns { run_ids: old }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
        rows.into_iter().map(|row| (row.run_id, row)).collect()
    };
    let mut answers = HashMap::with_capacity(inserts.len());
    let mut old = old;
    for insert in inserts {
        let inserted = match (new.get(&id(insert)), old.remove(&id(insert))) {
            (Some(row), _) => as_inserted(insert, row),
            (None, Some(row)) if row.fingerprint == insert.fingerprint => {
                let node = row.node();
                Inserted::Existing { run: Box::new(row.into_run()?), node }
            }
            (None, Some(_)) => Inserted::Conflict,
            // The run was there when this wanted to insert it and is not any more: it was pruned. Asking again is right.
            (None, None) => return Err(StoreError::Unavailable("the run was deleted meanwhile".to_owned())),
        };
        answers.insert(insert.run.output.run_id, Written::Insert(inserted));
    }
    Ok(answers)
}

fn as_inserted(insert: &InsertRun, &(_, created_at, run_at, cancel_wanted): &NewRow) -> Inserted {
    let mut run = Box::new(insert.run.clone());
    run.output.created_at = created_at;
    run.run_at = run_at;
    run.attempt = u32::from(insert.node.is_some());
    Inserted::New { run, cancel_wanted }
}

/// Answers the advances that are `done` or that their row refuses; those that should pass now go into `open`.
async fn explain_advances<'a>(
    conn: &mut AsyncPgConnection,
    advances: &[&'a Advance],
    done: &HashSet<RunId>,
    open: &mut Vec<&'a Advance>,
) -> StoreResult<HashMap<RunId, Written>> {
    let refused: Vec<Uuid> = advances
        .iter()
        .map(|advance| advance.run_id)
        .filter(|run_id| !done.contains(run_id))
        .map(RunId::as_uuid)
        .collect();
    let facts = if refused.is_empty() { HashMap::new() } else { facts(conn, refused).await? };
    let mut answers = HashMap::with_capacity(advances.len());
    for advance in advances {
        let answer = if done.contains(&advance.run_id) {
            Ok(())
        } else {
            match judge(advance, facts.get(&advance.run_id)) {
                Verdict::Applied => Ok(()),
                Verdict::Refuse(refusal) => Err(refusal),
                Verdict::Apply => {
                    open.push(advance);
                    continue;
                }
            }
        };
        answers.insert(advance.run_id, Written::Advance(answer));
    }
    Ok(answers)
}

pub(super) async fn facts(conn: &mut AsyncPgConnection, run_ids: Vec<Uuid>) -> StoreResult<HashMap<RunId, RowFacts>> {
    let rows: Vec<FactsRow> = GetFacts { run_ids }.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    rows.into_iter().map(FactsRow::into_facts).collect()
}
