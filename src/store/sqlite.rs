//! The embedded store: SQLite, a file or in memory, for one runtime of one process.
//!
//! Diesel's connection to SQLite is synchronous, so each connection is owned by a thread of its own, and callers await its
//! answers. A file has two, one that writes and one that reads, so that no read waits for a commit; a database in memory is
//! its connection, so it has one. It does not coordinate processes: a second one is refused the file. So there are no leases
//! to keep and nothing to sweep; the file's lock is the lease, and what a dead process left is taken over when it is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures_util::future::BoxFuture;

use self::lock::Lock;
use self::worker::Worker;
#[cfg(feature = "metrics")]
use super::Backlog;
#[cfg(feature = "webhooks")]
use super::delivery::Outbox;
use super::protocol::{RowFacts, Write, Written};
use super::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};
use super::{
    Claim, CountQuery, History, Mark, NodeId, RunCounts, RunQuery, RunStore, StoreLimits, StoreResult, TakenRun,
};
use crate::run::{Exchange, Run, RunEvent, RunId, RunStatus, StepRecord};

#[cfg(feature = "metrics")]
mod backlog;
mod children;
mod connection;
mod count;
#[cfg(feature = "webhooks")]
mod delivery;
mod error;
mod inherit;
mod intent;
mod lock;
mod prune;
mod read;
mod resume;
mod row;
mod schema;
mod session;
mod takeover;
#[cfg(test)]
mod tests;
mod worker;
mod write;

/// A SQLite database, opened.
pub(super) struct Sqlite {
    writer: Worker,
    reader: Worker,
    limits: StoreLimits,
}

impl Sqlite {
    /// Opens the file at `path`, or a new database in memory, and takes over what a dead process left in it.
    pub(super) async fn open(path: Option<PathBuf>, limits: StoreLimits) -> StoreResult<Self> {
        let Some(path) = path else {
            let (writer, ()) = Worker::start("greenroom-write", || Ok((connection::open_memory()?, ()))).await?;
            return Ok(Self { reader: writer.clone(), writer, limits });
        };
        let open_writer = move || {
            let lock = Arc::new(Lock::take(&path)?);
            let mut conn = connection::open_writer(lock.path())?;
            takeover::take_over_all(&mut conn)?;
            Ok((conn, lock))
        };
        let (writer, lock) = Worker::start("greenroom-write", open_writer).await?;
        // Both threads hold the lock: it is free when both connections are closed.
        let open_reader = move || Ok((connection::open_reader(lock.path())?, lock));
        let (reader, _lock) = Worker::start("greenroom-read", open_reader).await?;
        Ok(Self { writer, reader, limits })
    }
}

impl RunStore for Sqlite {
    fn lanes(&self) -> usize {
        1
    }

    fn write(&self, _lane: usize, batch: Arc<[Write]>) -> BoxFuture<'_, StoreResult<Vec<Written>>> {
        let limits = self.limits;
        Box::pin(self.writer.run(move |conn| write::write(conn, &batch, limits)))
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>> {
        Box::pin(self.writer.run(move |conn| takeover::claim(conn, &claim)))
    }

    fn unstarted(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>> {
        Box::pin(self.reader.run(move |conn| read::unstarted(conn, node)))
    }

    fn count_waiting(&self, limit: usize) -> BoxFuture<'_, StoreResult<usize>> {
        Box::pin(self.reader.run(move |conn| read::count_waiting(conn, limit)))
    }

    #[cfg(feature = "metrics")]
    fn backlogs(&self, agents: Vec<String>, limit: usize) -> BoxFuture<'_, StoreResult<Vec<Backlog>>> {
        Box::pin(self.reader.run(move |conn| {
            let now = now();
            agents.into_iter().map(|agent| backlog::backlog(conn, agent, limit, now)).collect()
        }))
    }

    fn cancel_requests(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<RunId>>> {
        Box::pin(self.reader.run(move |conn| read::cancel_requests(conn, node)))
    }

    fn uncancelled_children(
        &self,
        parents: Option<Vec<RunId>>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RunId>>> {
        Box::pin(self.reader.run(move |conn| children::uncancelled(conn, parents.as_deref(), limit)))
    }

    fn facts(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<RowFacts>>> {
        Box::pin(self.reader.run(move |conn| read::facts(conn, run_id, now())))
    }

    fn knows(&self, run: &Run) -> BoxFuture<'_, StoreResult<bool>> {
        let run = run.clone();
        Box::pin(self.reader.run(move |conn| {
            let by_id = read::facts(conn, run.output.run_id, now())?;
            Ok(by_id.is_some() || read::with_key(conn, &run)?.is_some())
        }))
    }

    fn get(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<Run>>> {
        Box::pin(self.reader.run(move |conn| read::get(conn, run_id)))
    }

    fn list(&self, query: RunQuery) -> BoxFuture<'_, StoreResult<Vec<Run>>> {
        Box::pin(self.reader.run(move |conn| read::list(conn, &query)))
    }

    fn count(&self, query: CountQuery) -> BoxFuture<'_, StoreResult<RunCounts>> {
        Box::pin(self.reader.run(move |conn| count::count(conn, &query)))
    }

    fn events(&self, run_id: RunId, from: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<RunEvent>>> {
        Box::pin(self.reader.run(move |conn| read::events(conn, run_id, from, limit)))
    }

    fn marks(&self, run_ids: Vec<RunId>) -> BoxFuture<'_, StoreResult<Vec<(RunId, Mark)>>> {
        Box::pin(self.reader.run(move |conn| read::marks(conn, &run_ids)))
    }

    fn history(&self, history: History) -> BoxFuture<'_, StoreResult<Vec<Exchange>>> {
        Box::pin(self.reader.run(move |conn| read::history(conn, &history)))
    }

    fn steps(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Vec<StepRecord>>> {
        Box::pin(self.reader.run(move |conn| read::steps(conn, run_id)))
    }

    fn session_state(&self, session: SessionKey, asked: Option<UpdateId>) -> BoxFuture<'_, StoreResult<StoredState>> {
        Box::pin(self.reader.run(move |conn| session::read(conn, &session, asked)))
    }

    fn write_session_state(&self, write: WriteState) -> BoxFuture<'_, StoreResult<StateWritten>> {
        Box::pin(self.writer.run(move |conn| session::write(conn, &write)))
    }

    fn settle_overdue(&self, limit: usize) -> BoxFuture<'_, StoreResult<Vec<(RunId, RunStatus)>>> {
        Box::pin(self.writer.run(move |conn| takeover::settle_overdue(conn, limit)))
    }

    fn forget_expired_intents(&self) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(self.writer.run(|conn| intent::forget_expired(conn, now())))
    }

    fn prune(&self, age: Duration, limit: usize) -> BoxFuture<'_, StoreResult<usize>> {
        Box::pin(self.writer.run(move |conn| prune::prune(conn, age, limit)))
    }

    #[cfg(feature = "webhooks")]
    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The last connection to close writes the WAL back into the file and removes it: it must be able to write.
            self.reader.stop().await;
            self.writer.stop().await;
        })
    }
}

/// Microseconds since 1970. One process has the file, so its clock is the database's.
fn now() -> i64 {
    Utc::now().timestamp_micros()
}

/// A limit as SQL wants it.
fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
