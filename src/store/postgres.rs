//! The production store: Postgres 14 or newer, through diesel-async.
//!
//! The store drives its connections on threads of its own, so that nobody's code stands in their way, and so that they do
//! not die with whichever runtime happened to ask first. Each write lane has one connection, made when it is needed and
//! replaced when it breaks; reads share a pool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel_async::RunQueryDsl;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

#[cfg(feature = "metrics")]
use self::backlog::{CountBacklogs, backlog};
use self::connect::Connector;
use self::connection::Connection;
use self::count::{CountRuns, counts};
use self::error::from_diesel;
use self::gather::Gathered;
use self::hints::{Listener, Switchboard};
use self::inserted::KnownRun;
use self::list::ListRuns;
use self::pool::ReadPool;
use self::read::{EventRow, ExchangeRow, GetEvents, GetHistory, GetMarks, GetSteps, GetTails, MarkRow, StepRow};
use self::row::RunRow;
#[cfg(feature = "metrics")]
use super::Backlog;
#[cfg(feature = "webhooks")]
use super::delivery::Outbox;
use super::hints::{Hint, Hints};
use super::protocol::{RowFacts, Takeover, Write, Written};
use super::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};
use super::{
    Claim, CountQuery, History, Mark, NodeId, RunCounts, RunQuery, RunStore, StoreError, StoreLimits, StoreResult,
    TakenRun,
};
use crate::run::{Exchange, Run, RunEvent, RunId, RunStatus, StepRecord};

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

impl RunStore for Postgres {
    fn lanes(&self) -> usize {
        self.inner.lanes.len()
    }

    fn write(&self, lane: usize, batch: Arc<[Write]>) -> BoxFuture<'_, StoreResult<Vec<Written>>> {
        self.run(move |inner| async move {
            let limits = inner.limits;
            let lane = &inner.lanes[lane % inner.lanes.len()];
            inner.with_kept(lane, |conn| Box::pin(async move { write::write(conn, &batch, limits).await })).await
        })
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>> {
        self.run(move |inner| async move {
            inner.with_kept(&inner.claims, |conn| Box::pin(claim::claim(conn, claim))).await
        })
    }

    fn unstarted(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>> {
        self.read(move |conn| Box::pin(claim::unstarted(conn, node)))
    }

    fn count_waiting(&self, limit: usize) -> BoxFuture<'_, StoreResult<usize>> {
        self.read(move |conn| Box::pin(claim::count_waiting(conn, limit)))
    }

    #[cfg(feature = "metrics")]
    fn backlogs(&self, agents: Vec<String>, limit: usize) -> BoxFuture<'_, StoreResult<Vec<Backlog>>> {
        self.read(move |conn| {
            let statement = CountBacklogs { agents: agents.clone(), limit: count(limit) };
            Box::pin(async move {
                let rows: Vec<_> = statement.get_results(conn).await.map_err(|error| from_diesel(&error))?;
                rows.into_iter().map(backlog).collect()
            })
        })
    }

    fn cancel_requests(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<RunId>>> {
        self.read(move |conn| Box::pin(claim::cancel_requests(conn, node)))
    }

    fn uncancelled_children(
        &self,
        parents: Option<Vec<RunId>>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RunId>>> {
        let parents: Option<Vec<_>> = parents.map(|all| all.into_iter().map(RunId::as_uuid).collect());
        self.read(move |conn| Box::pin(children::uncancelled(conn, parents.clone(), count(limit))))
    }

    fn facts(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<RowFacts>>> {
        self.read(move |conn| {
            Box::pin(async move { Ok(write::facts(conn, vec![run_id.as_uuid()]).await?.remove(&run_id)) })
        })
    }

    fn knows(&self, run: &Run) -> BoxFuture<'_, StoreResult<bool>> {
        let known = KnownRun::from(run);
        self.read(move |conn| {
            let known = known.clone();
            Box::pin(async move { known.get_result(conn).await.map_err(|error| from_diesel(&error)) })
        })
    }

    fn get(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<Run>>> {
        let (answer, reader) = self.inner.gathered.ask(run_id);
        if let Some(reader) = reader {
            // It goes on by itself, for whoever else asks.
            drop(self.run(|inner| async move {
                reader.read(inner).await;
                Ok(())
            }));
        }
        Box::pin(async move { answer.await.unwrap_or(Err(StoreError::Closed)) })
    }

    fn list(&self, query: RunQuery) -> BoxFuture<'_, StoreResult<Vec<Run>>> {
        self.read(move |conn| {
            let query = query.clone();
            Box::pin(async move {
                let rows: Vec<RunRow> = ListRuns(query).get_results(conn).await.map_err(|error| from_diesel(&error))?;
                rows.into_iter().map(RunRow::into_run).collect()
            })
        })
    }

    fn count(&self, query: CountQuery) -> BoxFuture<'_, StoreResult<RunCounts>> {
        self.read(move |conn| {
            let query = query.clone();
            Box::pin(
                async move { counts(CountRuns(query).get_results(conn).await.map_err(|error| from_diesel(&error))?) },
            )
        })
    }

    fn events(&self, run_id: RunId, from: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<RunEvent>>> {
        self.read(move |conn| {
            Box::pin(async move {
                let statement = GetEvents {
                    run_id: run_id.as_uuid(),
                    from: i64::try_from(from).unwrap_or(i64::MAX),
                    limit: count(limit),
                };
                let rows: Vec<EventRow> = statement.get_results(conn).await.map_err(|error| from_diesel(&error))?;
                rows.into_iter().map(EventRow::into_event).collect()
            })
        })
    }

    fn marks(&self, run_ids: Vec<RunId>) -> BoxFuture<'_, StoreResult<Vec<(RunId, Mark)>>> {
        let run_ids: Vec<uuid::Uuid> = run_ids.into_iter().map(RunId::as_uuid).collect();
        self.read(move |conn| {
            let statement = GetMarks { run_ids: run_ids.clone() };
            Box::pin(async move {
                let rows: Vec<MarkRow> = statement.get_results(conn).await.map_err(|error| from_diesel(&error))?;
                rows.into_iter().map(MarkRow::into_mark).collect()
            })
        })
    }

    fn tails(&self, from: Vec<(RunId, u64)>, limit: usize) -> BoxFuture<'_, StoreResult<Vec<RunEvent>>> {
        self.read(move |conn| {
            let statement = GetTails::new(&from, limit);
            Box::pin(async move {
                let rows: Vec<EventRow> = statement.get_results(conn).await.map_err(|error| from_diesel(&error))?;
                rows.into_iter().map(EventRow::into_event).collect()
            })
        })
    }

    fn history(&self, history: History) -> BoxFuture<'_, StoreResult<Vec<Exchange>>> {
        self.read(move |conn| {
            let history = GetHistory::from(history.clone());
            Box::pin(async move {
                let rows: Vec<ExchangeRow> = history.get_results(conn).await.map_err(|error| from_diesel(&error))?;
                rows.into_iter().map(ExchangeRow::into_exchange).collect()
            })
        })
    }

    fn steps(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Vec<StepRecord>>> {
        self.read(move |conn| {
            Box::pin(async move {
                let statement = GetSteps { run_id: run_id.as_uuid() };
                let rows: Vec<StepRow> = statement.get_results(conn).await.map_err(|error| from_diesel(&error))?;
                rows.into_iter().map(StepRow::into_step).collect()
            })
        })
    }

    fn session_state(&self, session: SessionKey, asked: Option<UpdateId>) -> BoxFuture<'_, StoreResult<StoredState>> {
        self.read(move |conn| {
            let session = session.clone();
            Box::pin(async move { session::read(conn, &session, asked).await })
        })
    }

    fn write_session_state(&self, write: WriteState) -> BoxFuture<'_, StoreResult<StateWritten>> {
        self.read(move |conn| {
            let write = write.clone();
            Box::pin(async move { session::write(conn, &write).await })
        })
    }

    fn forget_expired_intents(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.read(|conn| Box::pin(cancel::forget_expired(conn)))
    }

    fn prune(&self, age: Duration, limit: usize) -> BoxFuture<'_, StoreResult<usize>> {
        self.run(move |inner| async move {
            // Kept by nobody: this is rare, and must not be in the way of anything.
            inner
                .with_kept(&Kept::default(), |conn| {
                    Box::pin(async move { prune::prune(conn, age, limit).await.map_err(|error| from_diesel(&error)) })
                })
                .await
        })
    }

    fn begin_lease(&self, node: NodeId, ttl: Duration) -> BoxFuture<'_, StoreResult<()>> {
        let node = node.as_uuid();
        self.with_lease(move |conn| Box::pin(async move { lease::begin(conn, node, ttl).await.map(|_| ()) }))
    }

    fn renew_lease(&self, node: NodeId, ttl: Duration) -> BoxFuture<'_, StoreResult<bool>> {
        let node = node.as_uuid();
        self.with_lease(move |conn| Box::pin(lease::renew(conn, node, ttl)))
    }

    fn end_lease(&self, node: NodeId) -> BoxFuture<'_, StoreResult<()>> {
        let node = node.as_uuid();
        self.with_lease(move |conn| Box::pin(async move { lease::end(conn, node).await.map(|_| ()) }))
    }

    fn sweep(&self, limit: usize) -> BoxFuture<'_, StoreResult<Vec<(RunId, Takeover)>>> {
        self.run(move |inner| async move {
            inner.with_kept(&inner.claims, |conn| Box::pin(sweep::sweep(conn, limit))).await
        })
    }

    fn settle_overdue(&self, limit: usize) -> BoxFuture<'_, StoreResult<Vec<(RunId, RunStatus)>>> {
        self.run(move |inner| async move {
            inner.with_kept(&inner.claims, |conn| Box::pin(overdue::settle_overdue(conn, limit))).await
        })
    }

    fn hint(&self, hint: Hint) {
        if let Some(hints) = &self.inner.hints {
            hints.hint(hint);
        }
    }

    fn hints(&self) -> BoxFuture<'_, Hints> {
        match &self.inner.hints {
            Some(hints) => Box::pin(hints.next()),
            None => Box::pin(std::future::pending()),
        }
    }

    #[cfg(feature = "webhooks")]
    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.reads.close();
        let closing = self.run(|inner| async move {
            if let Some(hints) = &inner.hints {
                hints.close().await;
            }
            for kept in inner.lanes.iter().chain([&inner.claims, &inner.lease]) {
                drop(kept.lock().await.take());
            }
            Ok(())
        });
        Box::pin(async move {
            closing.await.ok();
            let io = self.io.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(io) = io {
                // Waiting for its threads would block the thread of somebody's runtime.
                io.shutdown_background();
            }
        })
    }
}

/// A runtime must not be dropped where it would have to wait for its threads.
impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(io) = self.io.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            io.shutdown_background();
        }
    }
}
