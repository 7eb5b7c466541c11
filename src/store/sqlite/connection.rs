//! Connections: how they are opened, and how a transaction of theirs ends.

use std::path::Path;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::lock::wrong;
use crate::store::{StoreError, StoreResult};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// With a batch per transaction, `FULL` costs no throughput and makes a commit survive a power failure. A busy file is one
/// that a tool such as a backup has open; the thread waits for it, no caller's thread does.
const SET_UP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA journal_size_limit = 67108864;";

/// The connection that writes, its tables up to date.
pub(super) fn open_writer(path: &Path) -> StoreResult<SqliteConnection> {
    let mut conn = open(path)?;
    migrate(&mut conn)?;
    Ok(conn)
}

/// A connection that only reads, and is not held up by the one that writes.
pub(super) fn open_reader(path: &Path) -> StoreResult<SqliteConnection> {
    let mut conn = open(path)?;
    conn.batch_execute("PRAGMA query_only = ON")?;
    Ok(conn)
}

/// A database that nobody else sees and that ends with its connection.
pub(super) fn open_memory() -> StoreResult<SqliteConnection> {
    let mut conn = SqliteConnection::establish(":memory:")?;
    migrate(&mut conn)?;
    Ok(conn)
}

fn open(path: &Path) -> StoreResult<SqliteConnection> {
    let url = path.to_str().ok_or_else(|| wrong(path, "is not UTF-8"))?;
    let mut conn = SqliteConnection::establish(url).map_err(|error| wrong(path, error))?;
    match conn.batch_execute(SET_UP).map_err(StoreError::from) {
        Ok(()) => Ok(conn),
        Err(StoreError::Corrupt(problem)) => Err(wrong(path, format_args!("is no SQLite database: {problem}"))),
        Err(error) => Err(error),
    }
}

fn migrate(conn: &mut SqliteConnection) -> StoreResult<()> {
    match conn.run_pending_migrations(MIGRATIONS) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Migration(error.to_string())),
    }
}

/// Runs `body` in one transaction that no other process can come into, and rolls it back when `body` fails.
pub(super) fn transact<T>(
    conn: &mut SqliteConnection,
    body: impl FnOnce(&mut SqliteConnection) -> StoreResult<T>,
) -> StoreResult<T> {
    let mut cause = None;
    let done = conn.immediate_transaction(|conn| {
        body(conn).map_err(|error| {
            cause = Some(error);
            diesel::result::Error::RollbackTransaction
        })
    });
    // A full disk makes SQLite roll back by itself; the rollback then fails, and its error must not hide the cause.
    done.map_err(|error| {
        roll_back(conn);
        cause.unwrap_or_else(|| error.into())
    })
}

/// Makes sure that no transaction is left open, whatever state the connection is in.
pub(super) fn roll_back(conn: &mut SqliteConnection) {
    // Both usually fail, as there is nothing to roll back; the second one also tells diesel so.
    let tracked = AnsiTransactionManager::rollback_transaction(conn);
    let real = conn.batch_execute("ROLLBACK");
    tracing::trace!(?tracked, ?real, "made sure that no transaction is open");
}
