//! Where runs are kept: what is read and what is written.
//!
//! Both stores, Postgres and SQLite, do the same few things behind one small trait, and one conformance suite holds them to
//! it. What a write may do to a run is decided by the plain functions of [`protocol`], never by an adapter on its own.
//! This layer knows nothing of actors: it is called from any thread, and its work is driven by threads that it owns.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

#[cfg(feature = "webhooks")]
use self::delivery::Outbox;
use self::hints::{Hint, Hints};
use self::protocol::{RowFacts, Takeover, Write, Written};
use self::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};
use crate::run::{Exchange, Run, RunEvent, RunId, RunStatus, SessionId, StepRecord, UserId};

pub use self::config::Store;
pub use self::counts::RunCounts;
pub(crate) use self::counts::{COUNTED, CountQuery};
pub use self::error::StoreError;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresOptions;
pub use self::query::{Cursor, InvalidCursor, Page, RunQuery};

mod config;
#[cfg(test)]
pub(crate) mod conformance;
mod counts;
#[cfg(feature = "webhooks")]
pub(crate) mod delivery;
mod error;
pub(crate) mod hints;
#[cfg(feature = "postgres")]
mod postgres;
pub(crate) mod protocol;
mod query;
pub(crate) mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod turn;

/// The most events that are deleted with a batch of runs, unless a single run has more.
const PRUNED_EVENTS: i64 = 10_000;

pub(crate) type StoreResult<T> = Result<T, StoreError>;

/// Those of the runs that a node has that can be read. Another one, of a later version for example, holds up nobody else.
fn readable(found: impl Iterator<Item = (String, StoreResult<TakenRun>)>) -> Vec<TakenRun> {
    let told = |(run_id, read): (String, StoreResult<TakenRun>)| {
        read.inspect_err(|error| tracing::error!(run.id = run_id, %error, "the run cannot be read, and is not started"))
            .ok()
    };
    found.filter_map(told).collect()
}

/// A database that does not answer in `patience`, which is longer than its own timeouts, is taken for gone.
pub(crate) async fn within<T>(patience: Duration, work: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
    let late = |_| Err(StoreError::Unavailable(format!("no answer within {patience:?}")));
    tokio::time::timeout(patience, work).await.unwrap_or_else(late)
}

/// A run that a node has just taken up, and where its event log goes on.
#[derive(Clone, Debug)]
pub(crate) struct TakenRun {
    pub(crate) run: Arc<Run>,
    pub(crate) next_seq: u64,
    /// Somebody has continued it before.
    pub(crate) was_continued: bool,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The seq of its next event.
    pub(crate) next_seq: u64,
    pub(crate) settled: bool,
}

/// Which runs a node wants to take up.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) node: NodeId,
    /// Only runs of these agents: what a node does not know is left for others.
    pub(crate) agents: Vec<String>,
    /// And of these, each up to a limit of its own.
    pub(crate) limited: Vec<AgentRoom>,
    pub(crate) limit: usize,
}

/// How many runs of an agent a node has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentRoom {
    pub(crate) agent: String,
    pub(crate) runs: usize,
    /// How many may be taken up by all nodes together.
    pub(crate) everywhere: Option<usize>,
}

/// What waits of an agent.
#[cfg(feature = "metrics")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backlog {
    pub(crate) agent: String,
    pub(crate) waiting: usize,
    /// How long the oldest of them has been waiting.
    pub(crate) oldest: Duration,
}

/// Which earlier runs a run gets to see.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The run that asks; only runs created before it count.
    pub(crate) before: RunId,
    pub(crate) session_id: SessionId,
    /// Only runs of the same user, so that a guessed session id shows nothing of anybody else.
    pub(crate) user_id: Option<UserId>,
    pub(crate) limit: usize,
}

/// One boot of one process's runtime: the owner of the runs that it has taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(uuid::Uuid);

impl NodeId {
    pub(crate) fn new() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    #[cfg(feature = "postgres")]
    pub(crate) const fn as_uuid(self) -> uuid::Uuid {
        self.0
    }
}

impl From<uuid::Uuid> for NodeId {
    fn from(uuid: uuid::Uuid) -> Self {
        Self(uuid)
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What every store does.
///
/// Each method may be called from any thread and any runtime. A future that is dropped does not stop what it has begun.
pub(crate) trait RunStore: Send + Sync + 'static {
    /// How many batches can be written at the same time, each on a lane of its own.
    fn lanes(&self) -> usize;

    /// Writes a batch, in which no run occurs twice but by cancels, and says what became of each write, in the same order.
    ///
    /// All of the batch is durable when this returns `Ok`. After an error, any part of it may be: writing the same batch
    /// again is always right, and tells for each write what became of it. [`StoreError::Data`] means that at least one
    /// write of the batch can never succeed.
    fn write(&self, lane: usize, batch: Arc<[Write]>) -> BoxFuture<'_, StoreResult<Vec<Written>>>;

    /// Takes up runs that wait and that nobody owns: by priority, then age. A node without a valid lease gets none.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>>;

    /// The runs of `node` that it has not started: what a claim took up whose answer got lost is among them.
    fn unstarted(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<TakenRun>>>;

    /// How many runs wait unowned, those for later included, counted up to `limit`.
    fn count_waiting(&self, limit: usize) -> BoxFuture<'_, StoreResult<usize>>;

    /// Of each of these agents, how many runs may start and wait unowned, counted up to `limit`, and for how long the oldest
    /// of those that were counted. Each of them is answered.
    #[cfg(feature = "metrics")]
    fn backlogs(&self, agents: Vec<String>, limit: usize) -> BoxFuture<'_, StoreResult<Vec<Backlog>>>;

    /// The unsettled runs of `node` that another process wants cancelled.
    fn cancel_requests(&self, node: NodeId) -> BoxFuture<'_, StoreResult<Vec<RunId>>>;

    /// At most `limit` unsettled runs below one that has settled as `CANCELLED`, of `parents` or any, whose own parent has
    /// settled, however it did, and that nobody has asked to cancel. What is below an unsettled run is cancelled after that one.
    fn uncancelled_children(&self, parents: Option<Vec<RunId>>, limit: usize)
    -> BoxFuture<'_, StoreResult<Vec<RunId>>>;

    /// What a write to this run would meet.
    fn facts(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<RowFacts>>>;

    /// Whether there is a run with the id of `run`, or with its idempotency key.
    fn knows(&self, run: &Run) -> BoxFuture<'_, StoreResult<bool>>;

    fn get(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Option<Run>>>;

    /// One page of runs, newest first.
    fn list(&self, query: RunQuery) -> BoxFuture<'_, StoreResult<Vec<Run>>>;

    /// How many runs there are of each status, as far as the query looks.
    fn count(&self, query: CountQuery) -> BoxFuture<'_, StoreResult<RunCounts>>;

    /// At most `limit` events of a run from seq `from` on, in order.
    fn events(&self, run_id: RunId, from: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<RunEvent>>>;

    /// How far those of these runs have come that exist.
    fn marks(&self, run_ids: Vec<RunId>) -> BoxFuture<'_, StoreResult<Vec<(RunId, Mark)>>>;

    /// At most `limit` events of each of these runs, of each from a seq on: run by run, in order.
    fn tails(&self, from: Vec<(RunId, u64)>, limit: usize) -> BoxFuture<'_, StoreResult<Vec<RunEvent>>> {
        Box::pin(async move {
            let mut events = Vec::new();
            for (run_id, seq) in from {
                events.extend(self.events(run_id, seq, limit).await?);
            }
            Ok(events)
        })
    }

    /// The latest completed runs of a session, oldest first.
    fn history(&self, history: History) -> BoxFuture<'_, StoreResult<Vec<Exchange>>>;

    /// The finished steps of a run, in the order of their positions: those that began last, if there are several
    /// beginnings.
    fn steps(&self, run_id: RunId) -> BoxFuture<'_, StoreResult<Vec<StepRecord>>>;

    /// The state of a session as it is now, and what the change that is `asked` about has returned.
    fn session_state(&self, session: SessionKey, asked: Option<UpdateId>) -> BoxFuture<'_, StoreResult<StoredState>>;

    /// Changes the state of a session, together with the note that it was changed. To do so again is right: after an error, or
    /// an answer that got lost, the state and the note tell whether it was done.
    fn write_session_state(&self, write: WriteState) -> BoxFuture<'_, StoreResult<StateWritten>>;

    /// Settles at most `limit` runs that wait and should have been started, or continued, by now, and says which, and what
    /// they were.
    fn settle_overdue(&self, limit: usize) -> BoxFuture<'_, StoreResult<Vec<(RunId, RunStatus)>>>;

    /// Forgets cancel intents that have expired.
    fn forget_expired_intents(&self) -> BoxFuture<'_, StoreResult<()>>;

    /// Deletes at most `limit` runs that settled longer ago than `age`, oldest first, with all that belongs to them, and says
    /// how many. 0 also when somebody else is at it. States of sessions that have no runs any more and have not changed for
    /// so long are deleted as well.
    fn prune(&self, age: Duration, limit: usize) -> BoxFuture<'_, StoreResult<usize>>;

    /// Begins the lease of a node, before it owns anything. Each call is for a node of its own.
    ///
    /// A store that one process has to itself needs no leases: its lock is the lease, and opening it is the sweep. So by
    /// default everything is granted, and there is nothing to sweep. Where there is work to do for a lease, it is driven by
    /// the tokio runtime of the caller, which must not be delayed by anything else.
    fn begin_lease(&self, _node: NodeId, _ttl: Duration) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Renews a lease by the database's clock. `false` when it was refused: the lease has expired, or others have ended it.
    fn renew_lease(&self, _node: NodeId, _ttl: Duration) -> BoxFuture<'_, StoreResult<bool>> {
        Box::pin(async { Ok(true) })
    }

    /// Ends the lease of a node that has nothing running any more. What it still owns is taken over by the next sweep.
    fn end_lease(&self, _node: NodeId) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Takes over at most `limit` runs whose node has no valid lease, and says what became of each.
    fn sweep(&self, _limit: usize) -> BoxFuture<'_, StoreResult<Vec<(RunId, Takeover)>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Tells other processes on this store something, soon, after what it speaks of was committed. Neither waits nor fails: a
    /// hint may be lost. By default there are no other processes.
    fn hint(&self, _hint: Hint) {}

    /// Waits for what other processes tell. After a time in which they could not be heard, anything may have been told.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time. One caller at a time.
    fn hints(&self) -> BoxFuture<'_, Hints> {
        Box::pin(std::future::pending())
    }

    /// What is to be told of runs that have settled.
    #[cfg(feature = "webhooks")]
    fn outbox(&self) -> &dyn Outbox;

    /// Closes every connection; whatever comes later fails.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What holds for whichever store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreLimits {
    /// How long a cancel intent is honoured.
    pub(crate) intent_ttl: Duration,
    /// How many unexpired cancel intents there may be.
    pub(crate) max_intents: usize,
}
