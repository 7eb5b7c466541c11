//! Brings the tables up to date, in the schema that is Greenroom's own.

use diesel::connection::TransactionManager;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connect::{Connector, Purpose};
use crate::store::{StoreError, StoreResult};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The key of the advisory lock that lets one process migrate at a time: `greenrm` in ASCII.
const LOCK: i64 = 0x67_72_65_65_6e_72_6d;

/// Runs what is pending; or, when the runtime must not, checks that nothing is.
///
/// All of it is one transaction, which holds the lock: it goes when the connection does, whatever happens, and it needs no
/// session of its own. The schema's name is part of its search path, so the table of migrations lands in it as well.
pub(super) async fn migrate(connector: &Connector, run: bool) -> StoreResult<()> {
    let mut conn = connector.connect_unwrapped(Purpose::Migrate).await?;
    let failed = |error: diesel::result::Error| super::error::from_diesel(&error);
    // By way of diesel, so that the harness makes savepoints in it.
    AnsiTransactionManager::begin_transaction_sql(&mut conn, &connector.begin(Purpose::Migrate))
        .await
        .map_err(failed)?;
    if run {
        lock_and_make_schema(&mut conn, connector.schema()).await.map_err(failed)?;
    } else if !has_migrations(&mut conn, connector.schema()).await.map_err(failed)? {
        // The harness would make the table, or fail for want of a schema or of the privilege.
        return Err(pending());
    }
    // The harness blocks its thread; diesel-async's own wrapper of it would panic on a single-threaded runtime.
    tokio::task::spawn_blocking(move || run_harness(conn.into(), run))
        .await
        .map_err(|error| StoreError::Migration(error.to_string()))?
}

type Blocking = AsyncConnectionWrapper<AsyncPgConnection>;

fn run_harness(mut conn: Blocking, run: bool) -> StoreResult<()> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Migration(error.to_string());
    if run {
        conn.run_pending_migrations(MIGRATIONS).map_err(failed)?;
    } else if conn.has_pending_migration(MIGRATIONS).map_err(failed)? {
        return Err(pending());
    }
    <Blocking as Connection>::TransactionManager::commit_transaction(&mut conn).map_err(|error| failed(error.into()))
}

fn pending() -> StoreError {
    let message = "migrations are pending, and the option `migrate` is off; run them before the runtime starts";
    StoreError::Migration(message.to_owned())
}

/// Whether any migration was ever run in this schema.
async fn has_migrations(conn: &mut AsyncPgConnection, schema: &str) -> QueryResult<bool> {
    let table = "EXISTS (SELECT FROM pg_tables WHERE tablename = '__diesel_schema_migrations' AND schemaname = ";
    diesel::select(diesel::dsl::sql::<Bool>(table).bind::<Text, _>(schema).sql(")")).get_result(conn).await
}

async fn lock_and_make_schema(conn: &mut AsyncPgConnection, schema: &str) -> QueryResult<()> {
    conn.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    // `CREATE SCHEMA IF NOT EXISTS` asks for the privilege to create one even where there is one.
    let exists: bool = diesel::select(
        diesel::dsl::sql::<Bool>("EXISTS (SELECT FROM pg_namespace WHERE nspname = ").bind::<Text, _>(schema).sql(")"),
    )
    .get_result(conn)
    .await?;
    if !exists {
        conn.batch_execute(&format!("CREATE SCHEMA \"{}\"", schema.replace('"', "\"\""))).await?;
    }
    Ok(())
}
