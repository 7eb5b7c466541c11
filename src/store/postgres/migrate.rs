//! Brings the tables up to date, in the schema that is Greenroom's own.

use diesel::connection::TransactionManager;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Text};
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
    check_settings(&mut conn, connector).await?;
    if !run {
        return check_done(&mut conn, connector.schema()).await;
    }
    lock_and_make_schema(&mut conn, connector.schema()).await.map_err(failed)?;
    // The harness blocks its thread; diesel-async's own wrapper of it would panic on a single-threaded runtime.
    tokio::task::spawn_blocking(move || run_harness(conn.into())).await.map_err(|error| unmigrated(&error))?
}

type Blocking = AsyncConnectionWrapper<AsyncPgConnection>;

fn run_harness(mut conn: Blocking) -> StoreResult<()> {
    conn.run_pending_migrations(MIGRATIONS).map_err(|error| unmigrated(&*error))?;
    <Blocking as Connection>::TransactionManager::commit_transaction(&mut conn).map_err(|error| unmigrated(&error))
}

fn unmigrated(error: &dyn std::error::Error) -> StoreError {
    StoreError::Migration(error.to_string())
}

/// Checks that nothing is pending. The harness would make the table of migrations, or fail for want of the privilege.
async fn check_done(conn: &mut AsyncPgConnection, schema: &str) -> StoreResult<()> {
    let failed = |error: diesel::result::Error| super::error::from_diesel(&error);
    if !has_migrations(conn, schema).await.map_err(failed)? {
        return Err(pending());
    }
    let done = diesel::dsl::sql::<Array<Text>>("ARRAY(SELECT version::text FROM __diesel_schema_migrations)");
    let done: Vec<String> = diesel::select(done).get_result(conn).await.map_err(failed)?;
    let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(|error| unmigrated(&*error))?;
    if known.iter().all(|one| done.contains(&one.name().version().to_string())) { Ok(()) } else { Err(pending()) }
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

/// Checks that the session has the settings that were asked for: without them the tables would be looked for, and made, in
/// another schema, and nothing would ever time out.
async fn check_settings(conn: &mut AsyncPgConnection, connector: &Connector) -> StoreResult<()> {
    let setting = diesel::select(diesel::dsl::sql::<Text>("current_setting('search_path')"));
    let search_path: String = setting.get_result(conn).await.map_err(|error| super::error::from_diesel(&error))?;
    // By `SET`, the quotes go that are not needed.
    if search_path == connector.search_path() || search_path == connector.schema() {
        return Ok(());
    }
    let problem = "leads to something that ignores the settings of a session, as a pooler may; connect to Postgres itself, or \
                   use the option `poll_only`";
    Err(StoreError::Option { option: "url", problem: problem.to_owned() })
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
