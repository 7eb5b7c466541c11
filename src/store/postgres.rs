//! The production store: Postgres 14 or newer, through diesel-async.
//!
//! The store drives its connections on threads of its own, so that nobody's code stands in their way, and so that they do
//! not die with whichever runtime happened to ask first. Each write lane has one connection, made when it is needed and
//! replaced when it breaks; reads share a pool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;

use self::connect::Connector;
use self::connection::Connection;
use self::gather::Gathered;
use self::hints::{Listener, Switchboard};
use self::pool::ReadPool;
use super::{StoreError, StoreLimits, StoreResult};

pub use self::options::PostgresOptions;

mod advance;
#[cfg(feature = "metrics")]
mod backlog;
mod batch;
mod cancel;
mod children;
mod claim;
mod connect;
mod connection;
mod count;
#[cfg(feature = "webhooks")]
mod delivery;
mod error;
mod gather;
mod hints;
mod inherit;
mod insert;
mod inserted;
mod lease;
mod list;
mod migrate;
mod options;
mod overdue;
mod pool;
mod prune;
mod read;
mod resume;
mod row;
mod run_store;
mod session;
mod settle;
mod statement;
mod sweep;
#[cfg(test)]
mod tests;
mod tls;
mod work;
mod write;

/// A connection that a lane or a claim keeps to itself; `None` until it is needed, and after it broke.
type Kept = tokio::sync::Mutex<Option<Connection>>;

pub(crate) struct Postgres {
    /// `None` once the store is closed.
    io: Mutex<Option<Runtime>>,
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    lanes: Vec<Kept>,
    /// For claims and sweeps.
    claims: Kept,
    /// For the lease alone, so that nothing is in its way.
    lease: Kept,
    reads: ReadPool,
    gathered: Arc<Gathered>,
    /// How long waiting for a free connection may take.
    connect_timeout: Duration,
    /// `None` where there are no hints.
    hints: Option<Arc<Switchboard>>,
    limits: StoreLimits,
}

impl Postgres {
    pub(super) async fn open(options: PostgresOptions, limits: StoreLimits) -> StoreResult<Self> {
        let connector = Connector::new(&options)?;
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("greenroom-postgres")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no threads for the database: {error}")))?;
        let inner = Arc::new(Inner {
            reads: pool::pool(&connector, &options)?,
            gathered: Arc::default(),
            lanes: (0..options.write_lanes).map(|_| Kept::default()).collect(),
            claims: Kept::default(),
            lease: Kept::default(),
            connect_timeout: options.connect_timeout,
            hints: (!options.poll_only).then(|| Arc::new(Switchboard::new())),
            connector,
            limits,
        });
        let store = Self { io: Mutex::new(Some(io)), inner };
        let run = options.migrate;
        let opened = store.run(move |inner| async move {
            migrate::migrate(&inner.connector, run).await?;
            if let Some(hints) = &inner.hints {
                tokio::spawn(Listener::new(inner.connector.clone(), Arc::clone(hints)).live());
            }
            Ok(())
        });
        opened.await?;
        Ok(store)
    }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A runtime must not be dropped where it would have to wait for its threads.
impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(io) = self.io.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            io.shutdown_background();
        }
    }
}
