//! The outbox of webhooks. Its rows are written by a trigger, in the transaction that settles or pauses the run.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::result::QueryResult;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::connection::Connection;
use super::error::from_diesel;
use super::row::{signed, unsigned};
use super::statement::{push, statement};
use super::{Postgres, count};
use crate::run::WebhookUrl;
use crate::store::StoreResult;
use crate::store::delivery::{Collect, Delivery, GONE_FOR, MOST_GONE, Outbox, Outcome};

impl Outbox for Postgres {
    fn collect(&self, asked: Collect) -> BoxFuture<'_, StoreResult<Vec<Delivery>>> {
        let asked = Arc::new(asked);
        self.read(move |conn| {
            let asked = Arc::clone(&asked);
            Box::pin(async move { collect(conn, &asked).await })
        })
    }

    fn note_outcome(&self, delivery: Delivery, outcome: Outcome) -> BoxFuture<'_, StoreResult<()>> {
        let delivery = Arc::new(delivery);
        self.read(move |conn| {
            let delivery = Arc::clone(&delivery);
            Box::pin(async move { note(conn, &delivery, outcome).await })
        })
    }
}

async fn collect(conn: &mut Connection, asked: &Collect) -> StoreResult<Vec<Delivery>> {
    let statement = CollectDeliveries {
        busy: asked.busy.clone(),
        limit: count(asked.limit),
        hold_ms: milliseconds(asked.hold),
        gone_for_ms: milliseconds(GONE_FOR),
    };
    let rows: Vec<Row> = statement.get_results(conn).await.map_err(|error| from_diesel(&error))?;
    let mut deliveries = rows.into_iter().map(read).collect::<StoreResult<Vec<Delivery>>>()?;
    deliveries.sort_by_key(|delivery| delivery.created_at);
    Ok(deliveries)
}

async fn note(conn: &mut Connection, delivery: &Delivery, outcome: Outcome) -> StoreResult<()> {
    let noted = match outcome {
        Outcome::Over => ForgetDelivery { event_id: delivery.event_id }.execute(conn).await,
        Outcome::Again(after) => {
            let attempts = signed(delivery.attempt, "attempts")?;
            PutOff { event_id: delivery.event_id, attempts, after_ms: milliseconds(after) }.execute(conn).await
        }
        Outcome::Gone => {
            let url = delivery.url.as_str().to_owned();
            NoteGone { event_id: delivery.event_id, url, most: count(MOST_GONE) }.execute(conn).await
        }
    };
    noted.map(|_| ()).map_err(|error| from_diesel(&error))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

type Row = (Uuid, Uuid, String, i32, DateTime<Utc>, DateTime<Utc>, bool);

fn read((event_id, run_id, url, attempts, created_at, taken_at, gone): Row) -> StoreResult<Delivery> {
    let (run_id, url) = (run_id.into(), WebhookUrl::stored(url));
    let attempt = unsigned(attempts, "attempts")?;
    Ok(Delivery { event_id, run_id, url, attempt, created_at, taken_at, gone })
}

/// Takes what is due and nobody has; on the locked row, both are looked at once more.
struct CollectDeliveries {
    busy: Vec<String>,
    limit: i64,
    hold_ms: i64,
    gone_for_ms: i64,
}

statement!(CollectDeliveries -> (SqlUuid, SqlUuid, Text, Integer, Timestamptz, Timestamptz, Bool));

impl QueryFragment<Pg> for CollectDeliveries {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH due AS MATERIALIZED ( \
                SELECT event_id FROM webhook_deliveries \
                WHERE next_at <= now() \
                  AND left(url, 8 + position('/' in substr(url, 9))) <> ALL(", &self.busy => Array<Text>, ") \
                ORDER BY next_at LIMIT ", &self.limit => BigInt, " FOR UPDATE SKIP LOCKED) \
             UPDATE webhook_deliveries d SET attempts = d.attempts + 1, \
                next_at = now() + ", &self.hold_ms => BigInt, " * interval '1 millisecond' \
             FROM due WHERE d.event_id = due.event_id \
             RETURNING d.event_id, d.run_id, d.url, d.attempts, d.created_at, now(), EXISTS ( \
                SELECT FROM webhook_gone g WHERE g.url = d.url \
                  AND g.gone_at > now() - ", &self.gone_for_ms => BigInt, " * interval '1 millisecond')"
        );
        Ok(())
    }
}

struct ForgetDelivery {
    event_id: Uuid,
}

statement!(ForgetDelivery -> ());

impl QueryFragment<Pg> for ForgetDelivery {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out, "DELETE FROM webhook_deliveries WHERE event_id = ", &self.event_id => SqlUuid);
        Ok(())
    }
}

/// Only by whoever took it last.
struct PutOff {
    event_id: Uuid,
    attempts: i32,
    after_ms: i64,
}

statement!(PutOff -> ());

impl QueryFragment<Pg> for PutOff {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "UPDATE webhook_deliveries SET next_at = now() + ", &self.after_ms => BigInt, " * interval '1 millisecond' \
             WHERE event_id = ", &self.event_id => SqlUuid,
            " AND attempts = ", &self.attempts => Integer
        );
        Ok(())
    }
}

/// Notes the URL, forgets the oldest of them past so many, and ends the delivery.
struct NoteGone {
    event_id: Uuid,
    url: String,
    most: i64,
}

statement!(NoteGone -> ());

impl QueryFragment<Pg> for NoteGone {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH noted AS ( \
                INSERT INTO webhook_gone (url, gone_at) VALUES (", &self.url => Text, ", now()) \
                ON CONFLICT (url) DO UPDATE SET gone_at = EXCLUDED.gone_at), \
             forgotten AS ( \
                DELETE FROM webhook_gone WHERE url IN ( \
                    SELECT url FROM webhook_gone WHERE url <> ", &self.url => Text,
            "       ORDER BY gone_at DESC OFFSET ", &self.most => BigInt, " - 1)) \
             DELETE FROM webhook_deliveries WHERE event_id = ", &self.event_id => SqlUuid
        );
        Ok(())
    }
}
