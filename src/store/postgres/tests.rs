//! What only a real Postgres can show: two connections, locks, plans.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection;
use tokio_postgres::NoTls;

use super::PostgresOptions;
use super::connect::{Connector, Purpose};
use super::connection::Connection;
use crate::store::protocol::{InsertRun, Write};
use crate::store::{RunStore, Store, StoreLimits, StoreResult};
use crate::test_postgres::{Database, fresh_database};

mod children;
mod ends;
mod everywhere;
mod gathers;
mod intents;
mod late;
mod pauses;
mod plans;
mod prunes;
mod setups;
mod steps;
mod turns;
mod twos;

const LIMITS: StoreLimits = StoreLimits { intent_ttl: Duration::from_secs(3600), max_intents: 100 };

async fn open(options: PostgresOptions) -> StoreResult<Arc<dyn RunStore>> {
    Store::from(options).open(LIMITS).await
}

/// A store over an empty database.
async fn fresh() -> (Database, Arc<dyn RunStore>) {
    let database = fresh_database().await;
    let store = open(PostgresOptions::new(database.url())).await.unwrap();
    (database, store)
}

/// A connection as the store makes them, for statements that are taken one by one.
async fn connection(database: &Database, purpose: Purpose) -> Connection {
    Connector::new(&PostgresOptions::new(database.url())).unwrap().connect(purpose).await.unwrap()
}

/// A connection of somebody else's.
async fn client(database: &Database) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Returns when another session of this database waits for a lock.
async fn somebody_waits(database: &Database) {
    sessions_wait(database, 1).await;
}

/// Returns when so many sessions of this database wait for locks.
async fn sessions_wait(database: &Database, sessions: i64) {
    let client = client(database).await;
    let waits = "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    tokio::time::timeout(Duration::from_secs(20), async {
        while client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) != sessions {}
    })
    .await
    .expect("they wait for locks");
}

async fn sql(conn: &mut Connection, sql: &str) {
    conn.batch_execute(sql).await.unwrap();
}

fn inserts(runs: &[InsertRun]) -> Vec<Write> {
    runs.iter().map(|run| Write::Insert(Box::new(run.clone()))).collect()
}
