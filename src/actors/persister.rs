//! The persister: every change of a run passes through it into the store, in batches.
//!
//! Batches form by themselves: whatever arrives while the last one is being written is the next one. There is no timer.
//! The store's lanes write one batch each; no run is in two of them, so the order of each run's writes is kept.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::batch::Retry;
use self::lanes::Lanes;
use crate::store::protocol::pause::{Continue, ContinueRefusal};
use crate::store::protocol::{Advance, Cancel, CancelWritten, InsertRun, Inserted, Refusal, Write, Written};
use crate::store::{Claim, RunStore, StoreError, StoreResult, TakenRun};

mod batch;
mod lanes;
#[cfg(test)]
mod tests;

pub(crate) struct Persister {
    store: Arc<dyn RunStore>,
    lanes: Lanes,
    /// The next batches are about to be put together.
    flush_due: bool,
    retry: Retry,
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

/// Puts batches together for the lanes that are free.
#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

impl Persister {
    pub(crate) fn new(store: Arc<dyn RunStore>, retry: Retry) -> Self {
        let lanes = Lanes::new(store.lanes());
        Self { store, lanes, flush_due: false, retry }
    }

    /// By way of the mailbox, so that what is already in it joins the batch.
    fn flush_soon(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.flush_due, true) {
            ctx.notify(Flush);
        }
    }
}

impl Actor for Persister {
    type Context = Context<Self>;
}

impl Handler<WriteRun> for Persister {
    type Result = ();

    fn handle(&mut self, message: WriteRun, ctx: &mut Self::Context) {
        self.lanes.push(message);
        if self.lanes.any_is_free() {
            self.flush_soon(ctx);
        }
    }
}

impl Handler<Flush> for Persister {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) {
        self.flush_due = false;
        while let Some((lane, batch)) = self.lanes.next_batch() {
            let written = batch::write(Arc::clone(&self.store), lane, batch.into_iter().collect(), self.retry);
            ctx.spawn(written.into_actor(self).map(move |(), persister, ctx| {
                persister.lanes.free(lane);
                persister.flush_soon(ctx);
            }));
        }
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
