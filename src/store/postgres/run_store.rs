//! What the store does for those who know it as one only.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use diesel_async::RunQueryDsl;
use futures_util::future::BoxFuture;

#[cfg(feature = "metrics")]
use super::backlog::{CountBacklogs, backlog};
use super::count::{CountRuns, counts};
use super::error::from_diesel;
use super::inserted::KnownRun;
use super::list::ListRuns;
use super::read::{EventRow, ExchangeRow, GetEvents, GetHistory, GetMarks, GetSteps, GetTails, MarkRow, StepRow};
use super::row::RunRow;
use super::{Kept, Postgres, cancel, children, claim, count, lease, overdue, prune, session, sweep, write};
use crate::run::{Exchange, Run, RunEvent, RunId, RunStatus, StepRecord};
#[cfg(feature = "metrics")]
use crate::store::Backlog;
#[cfg(feature = "webhooks")]
use crate::store::delivery::Outbox;
use crate::store::hints::{Hint, Hints};
use crate::store::protocol::{RowFacts, Takeover, Write, Written};
use crate::store::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};
use crate::store::{
    Claim, CountQuery, History, Mark, NodeId, RunCounts, RunQuery, RunStore, StoreError, StoreResult, TakenRun,
};

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
