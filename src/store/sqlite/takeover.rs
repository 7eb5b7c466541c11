//! What changes hands: runs that a node takes up, and runs that a dead process left.

use diesel::dsl::update;
use diesel::prelude::*;

use super::connection::transact;
use super::error::unreadable;
use super::row::StoredRun;
use super::schema::runs;
use super::write::{cancel_unowned, never_late_again, settle_unowned};
use super::{now, read, row};
use crate::run::{CrashPolicy, FailureKind, Metrics, RunEventKind, RunFailure, RunId, RunStatus};
use crate::store::protocol::{RowFacts, Settlement, Takeover, take_over, takeover_message, time_out};
use crate::store::{Claim, StoreResult, TakenRun};
use crate::telemetry;

/// Takes up runs that wait, in the order in which they are to start.
pub(super) fn claim(conn: &mut SqliteConnection, claim: &Claim) -> StoreResult<Vec<TakenRun>> {
    transact(conn, |conn| {
        let node = claim.node.to_string();
        let mut taken = Vec::new();
        for mut stored in next(conn, claim)? {
            stored.0.take_up(&node);
            update(runs::table.find(stored.0.run_id()))
                .set((
                    runs::node_id.eq(&node),
                    runs::attempt.eq(runs::attempt + 1),
                    runs::session_turn.eq(stored.0.turn_when_taken()),
                ))
                .execute(conn)?;
            taken.push(stored);
        }
        Ok(row::all_taken(taken))
    })
}

/// The runs that `claim` takes up, in the order in which they are to start.
fn next(conn: &mut SqliteConnection, claim: &Claim) -> StoreResult<Vec<StoredRun>> {
    let now = now();
    let agents: Vec<&str> = claim.agents.iter().map(String::as_str).collect();
    let mut waiting = read::waiting(conn, &agents, claim.limit, now)?;
    for room in &claim.limited {
        waiting.extend(read::waiting(conn, &[&room.agent], room.runs.min(claim.limit), now)?);
    }
    waiting.sort_by(|(one, ..), (other, ..)| one.place().cmp(&other.place()));
    waiting.truncate(claim.limit);
    Ok(waiting)
}

/// Decides about every run that was taken up: this process has just opened the file, so whoever had them is dead.
pub(super) fn take_over_all(conn: &mut SqliteConnection) -> StoreResult<()> {
    transact(conn, |conn| {
        let now = now();
        for row in read::taken_up(conn, now)? {
            let run_id: RunId = row.run_id.parse().map_err(unreadable("run_id"))?;
            let facts = row.read()?;
            let takeover = take_over(&facts, CrashPolicy::from_word(&row.on_crash));
            telemetry::run_rescued(takeover.word());
            match takeover {
                Takeover::Requeue => requeue(conn, run_id, &facts)?,
                Takeover::Fail(kind) => fail(conn, run_id, &facts, kind, now)?,
                Takeover::Cancel => cancel_unowned(conn, run_id, &facts, now)?,
            }
        }
        Ok(())
    })
}

/// Settles runs that have waited for too long, and says which, and what they were.
pub(super) fn settle_overdue(conn: &mut SqliteConnection, limit: usize) -> StoreResult<Vec<(RunId, RunStatus)>> {
    transact(conn, |conn| {
        let now = now();
        let mut settled = Vec::new();
        for row in read::overdue(conn, limit, now)? {
            let run_id: RunId = row.run_id.parse().map_err(unreadable("run_id"))?;
            let facts = row.read()?;
            match time_out(&facts) {
                None | Some(Takeover::Requeue) => continue,
                Some(Takeover::Fail(kind)) => fail(conn, run_id, &facts, kind, now)?,
                Some(Takeover::Cancel) => cancel_unowned(conn, run_id, &facts, now)?,
            }
            settled.push((run_id, facts.status));
        }
        Ok(settled)
    })
}

fn requeue(conn: &mut SqliteConnection, run_id: RunId, row: &RowFacts) -> StoreResult<()> {
    if row.status == RunStatus::Running {
        never_late_again(conn, run_id)?;
    }
    let to = (
        runs::status.eq(RunStatus::Pending.as_str()),
        runs::node_id.eq(None::<String>),
        runs::started_at.eq(None::<i64>),
    );
    update(runs::table.find(run_id.to_string())).set(to).execute(conn)?;
    Ok(())
}

pub(super) fn fail(
    conn: &mut SqliteConnection,
    run_id: RunId,
    facts: &RowFacts,
    kind: FailureKind,
    now: i64,
) -> StoreResult<()> {
    let message = takeover_message(kind);
    let error = Some(RunFailure::new(kind, message));
    let settlement =
        Settlement { status: RunStatus::Error, content: None, error, metrics: Metrics::default(), tools: Vec::new() };
    let last = RunEventKind::RunError { error_type: kind, content: message.to_owned() };
    settle_unowned(conn, run_id, facts, &settlement, last, now)
}
