//! The persister: every change of a run passes through it into the store, in batches.
//!
//! Batches form by themselves: whatever arrives while the last one is being written is the next one. There is no timer.
//! Writes are spread over the store's lanes by run id, so the order of each run's writes is kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::batch::Retry;
use crate::run::RunId;
use crate::store::protocol::pause::{Continue, ContinueRefusal};
use crate::store::protocol::{Advance, Cancel, CancelWritten, InsertRun, Inserted, Refusal, Write, Written};
use crate::store::{Claim, RunStore, StoreError, StoreResult, TakenRun};

mod batch;
#[cfg(test)]
mod tests;

/// The most writes in one batch. Measured: throughput has stopped growing by then, and a batch takes some 20 ms.
const MAX_BATCH: usize = 1000;

/// A batch that weighs more than this, in bytes, takes no further write: it has to fit into a message of the database.
const MAX_WEIGHT: usize = 8 * 1024 * 1024;

pub(crate) struct Persister {
    store: Arc<dyn RunStore>,
    lanes: Vec<Lane>,
    retry: Retry,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<WriteRun>,
    /// A batch is being written, or is about to be put together.
    busy: bool,
}

/// Asks for one write.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WriteRun {
    write: Write,
    caller: Caller,
}

/// Who waits for a write.
struct Caller {
    /// When nobody waits for the answer any more; a write that was not tried by then is not tried at all.
    deadline: Option<Instant>,
    reply: oneshot::Sender<StoreResult<Written>>,
}

impl Caller {
    /// Whoever asked may have gone; the write stands all the same.
    fn answer(self, written: StoreResult<Written>) {
        self.reply.send(written).ok();
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Flush(usize);

impl Persister {
    pub(crate) fn new(store: Arc<dyn RunStore>, retry: Retry) -> Self {
        let lanes = (0..store.lanes()).map(|_| Lane::default()).collect();
        Self { store, lanes, retry }
    }

    fn lane_of(&self, run_id: RunId) -> usize {
        let mut hasher = DefaultHasher::new();
        run_id.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.lanes.len() as u64).unwrap_or_default()
    }
}

impl Lane {
    /// Takes the next batch: what is queued, but of each run only the first write, or its first cancels.
    fn next_batch(&mut self) -> Vec<WriteRun> {
        // Which runs are in the batch, and whether another cancel of theirs may join it.
        let mut runs: HashMap<RunId, bool> = HashMap::new();
        let mut batch = Vec::new();
        let mut later = Vec::new();
        let mut weight = 0;
        while batch.len() < MAX_BATCH
            && weight < MAX_WEIGHT
            && let Some(write) = self.queue.pop_front()
        {
            let cancels = matches!(write.write, Write::Cancel(_));
            let joins = match runs.entry(write.write.run_id()) {
                Entry::Vacant(entry) => {
                    entry.insert(cancels);
                    true
                }
                Entry::Occupied(mut entry) => {
                    let joins = *entry.get() && cancels;
                    // What comes after a write that has to wait waits as well.
                    entry.insert(joins);
                    joins
                }
            };
            if joins {
                weight += write.write.weight();
                batch.push(write);
            } else {
                later.push(write);
            }
        }
        // Put back, so that the queue keeps the room that it has.
        for write in later.into_iter().rev() {
            self.queue.push_front(write);
        }
        batch
    }
}

impl Actor for Persister {
    type Context = Context<Self>;
}

impl Handler<WriteRun> for Persister {
    type Result = ();

    fn handle(&mut self, message: WriteRun, ctx: &mut Self::Context) {
        let number = self.lane_of(message.write.run_id());
        let lane = &mut self.lanes[number];
        lane.queue.push_back(message);
        if !lane.busy {
            lane.busy = true;
            // By way of the mailbox, so that what is already in it joins the batch.
            ctx.notify(Flush(number));
        }
    }
}

impl Handler<Flush> for Persister {
    type Result = ();

    fn handle(&mut self, Flush(number): Flush, ctx: &mut Self::Context) {
        let lane = &mut self.lanes[number];
        let batch = lane.next_batch();
        if batch.is_empty() {
            lane.busy = false;
            return;
        }
        let written = batch::write(Arc::clone(&self.store), number, batch.into_iter().collect(), self.retry);
        ctx.spawn(written.into_actor(self).map(move |(), _, ctx| ctx.notify(Flush(number))));
    }
}

/// Takes up waiting runs.
#[derive(Message)]
#[rtype(result = "StoreResult<Vec<TakenRun>>")]
pub(crate) struct ClaimRuns(pub(crate) Claim);

impl Handler<ClaimRuns> for Persister {
    type Result = ResponseFuture<StoreResult<Vec<TakenRun>>>;

    fn handle(&mut self, ClaimRuns(claim): ClaimRuns, _: &mut Self::Context) -> Self::Result {
        let store = Arc::clone(&self.store);
        Box::pin(async move { store.claim(claim).await })
    }
}

/// The persister, as others see it. A write is on its way as soon as it is asked for, so that writes keep their order.
#[derive(Clone)]
pub(crate) struct Writer(Addr<Persister>);

impl Writer {
    pub(crate) const fn new(persister: Addr<Persister>) -> Self {
        Self(persister)
    }

    fn send(
        &self,
        write: Write,
        deadline: Option<Instant>,
    ) -> impl Future<Output = StoreResult<Written>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        // Bounded by those who send: the runtime admits so many calls, and a run has one write under way.
        self.0.do_send(WriteRun { write, caller: Caller { deadline, reply } });
        async move { answer.await.unwrap_or(Err(StoreError::Closed)) }
    }

    pub(crate) fn insert(
        &self,
        insert: InsertRun,
        deadline: Instant,
    ) -> impl Future<Output = StoreResult<Inserted>> + use<> {
        let answer = self.send(Write::Insert(Box::new(insert)), Some(deadline));
        async move {
            match answer.await? {
                Written::Insert(inserted) => Ok(inserted),
                Written::Advance(_) | Written::Cancel(_) | Written::Continue(_) => Err(mismatch()),
            }
        }
    }

    pub(crate) fn advance(
        &self,
        advance: Advance,
    ) -> impl Future<Output = StoreResult<Result<(), Refusal>>> + Send + use<> {
        let answer = self.send(Write::Advance(Box::new(advance)), None);
        async move {
            match answer.await? {
                Written::Advance(advanced) => Ok(advanced),
                Written::Insert(_) | Written::Cancel(_) | Written::Continue(_) => Err(mismatch()),
            }
        }
    }

    pub(crate) fn cancel(
        &self,
        cancel: Cancel,
        deadline: Instant,
    ) -> impl Future<Output = StoreResult<CancelWritten>> + use<> {
        let answer = self.send(Write::Cancel(cancel), Some(deadline));
        async move {
            match answer.await? {
                Written::Cancel(cancelled) => Ok(cancelled),
                Written::Insert(_) | Written::Advance(_) | Written::Continue(_) => Err(mismatch()),
            }
        }
    }

    pub(crate) fn resume(
        &self,
        asked: Continue,
        deadline: Instant,
    ) -> impl Future<Output = StoreResult<Result<(), ContinueRefusal>>> + use<> {
        let answer = self.send(Write::Continue(asked), Some(deadline));
        async move {
            match answer.await? {
                Written::Continue(continued) => Ok(continued),
                Written::Insert(_) | Written::Advance(_) | Written::Cancel(_) => Err(mismatch()),
            }
        }
    }

    pub(crate) async fn claim(&self, claim: Claim) -> StoreResult<Vec<TakenRun>> {
        self.0.send(ClaimRuns(claim)).await.unwrap_or(Err(StoreError::Closed))
    }
}

fn mismatch() -> StoreError {
    StoreError::Corrupt("the store answered another kind of write".to_owned())
}
