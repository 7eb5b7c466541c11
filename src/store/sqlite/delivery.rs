//! The outbox of webhooks. Its rows are written by a trigger, in the transaction that settles or pauses the run.

use std::time::Duration;

use diesel::dsl::{delete, exists, insert_into, sql, update};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::connection::transact;
use super::error::{misfit, unreadable};
use super::row::{time, unsigned};
use super::schema::{webhook_deliveries, webhook_gone};
use super::{Sqlite, bound, now};
use crate::run::WebhookUrl;
use crate::store::StoreResult;
use crate::store::delivery::{Collect, Delivery, GONE_FOR, MOST_GONE, Outbox, Outcome};

impl Outbox for Sqlite {
    fn collect(&self, asked: Collect) -> BoxFuture<'_, StoreResult<Vec<Delivery>>> {
        Box::pin(self.writer.run(move |conn| collect(conn, &asked)))
    }

    fn note_outcome(&self, delivery: Delivery, outcome: Outcome) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.writer.run(move |conn| note(conn, &delivery, outcome)))
    }
}

fn collect(conn: &mut SqliteConnection, asked: &Collect) -> StoreResult<Vec<Delivery>> {
    transact(conn, |conn| {
        let now = now();
        let mut due = webhook_deliveries::table
            .filter(webhook_deliveries::next_at.le(now))
            .into_boxed::<diesel::sqlite::Sqlite>();
        for origin in &asked.busy {
            let is_it = sql::<Bool>("substr(url, 1, 8 + instr(substr(url, 9), '/')) <> ").bind::<Text, _>(origin);
            due = due.filter(is_it);
        }
        let rows: Vec<Row> = due
            .order(webhook_deliveries::next_at)
            .limit(bound(asked.limit))
            .select((
                webhook_deliveries::event_id,
                webhook_deliveries::run_id,
                webhook_deliveries::url,
                webhook_deliveries::attempts,
                webhook_deliveries::created_at,
                exists(
                    webhook_gone::table
                        .filter(webhook_gone::url.eq(webhook_deliveries::url))
                        .filter(webhook_gone::gone_at.gt(now.saturating_sub(microseconds(GONE_FOR)))),
                ),
            ))
            .load(conn)?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            update(webhook_deliveries::table.find(&row.0))
                .set((
                    webhook_deliveries::attempts.eq(webhook_deliveries::attempts + 1),
                    webhook_deliveries::next_at.eq(now.saturating_add(microseconds(asked.hold))),
                ))
                .execute(conn)?;
            taken.push(read(row, now)?);
        }
        Ok(taken)
    })
}

fn note(conn: &mut SqliteConnection, delivery: &Delivery, outcome: Outcome) -> StoreResult<()> {
    let target = webhook_deliveries::table.find(delivery.event_id.simple().to_string());
    transact(conn, |conn| {
        match outcome {
            Outcome::Over => {
                delete(target).execute(conn)?;
            }
            Outcome::Again(after) => {
                // Only by whoever took it last.
                let attempts = i32::try_from(delivery.attempt).map_err(misfit("attempts"))?;
                update(target.filter(webhook_deliveries::attempts.eq(attempts)))
                    .set(webhook_deliveries::next_at.eq(now().saturating_add(microseconds(after))))
                    .execute(conn)?;
            }
            Outcome::Gone => {
                note_gone(conn, &delivery.url)?;
                delete(target).execute(conn)?;
            }
        }
        Ok(())
    })
}

/// Notes the URL, and forgets the oldest of them past so many.
fn note_gone(conn: &mut SqliteConnection, url: &WebhookUrl) -> StoreResult<()> {
    let now = now();
    insert_into(webhook_gone::table)
        .values((webhook_gone::url.eq(url.as_str()), webhook_gone::gone_at.eq(now)))
        .on_conflict(webhook_gone::url)
        .do_update()
        .set(webhook_gone::gone_at.eq(now))
        .execute(conn)?;
    let last_kept: Option<i64> = webhook_gone::table
        .order(webhook_gone::gone_at.desc())
        .offset(bound(MOST_GONE))
        .limit(1)
        .select(webhook_gone::gone_at)
        .first(conn)
        .optional()?;
    if let Some(at) = last_kept {
        delete(webhook_gone::table.filter(webhook_gone::gone_at.le(at))).execute(conn)?;
    }
    Ok(())
}

fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

type Row = (String, String, String, i32, i64, bool);

fn read((event_id, run_id, url, attempts, created_at, gone): Row, now: i64) -> StoreResult<Delivery> {
    Ok(Delivery {
        event_id: Uuid::try_parse(&event_id).map_err(unreadable("event_id"))?,
        run_id: run_id.parse().map_err(unreadable("run_id"))?,
        url: WebhookUrl::stored(url),
        attempt: unsigned("attempts", attempts.saturating_add(1))?,
        created_at: time("created_at", created_at)?,
        taken_at: time("taken_at", now)?,
        gone,
    })
}
