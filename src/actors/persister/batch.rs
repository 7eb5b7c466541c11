//! Writes one batch, whatever it takes, and answers each of its writes.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Caller, WriteRun};
use crate::store::protocol::Write;
use crate::store::{RunStore, StoreError};
use crate::telemetry;

/// How long a write is tried again while the database is away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) limit: Duration,
}

impl Retry {
    /// The pauses between two tries: they double from 50 ms to 1 s, each with up to as much again at random, so that whoever
    /// asks when the database is back is answered within the usual timeout.
    pub(crate) fn pauses(self) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(1))
            .without_max_times()
            .with_jitter()
    }
}

/// What is written together, and who waits for it: the one at the same place.
pub(super) struct Batch {
    writes: Arc<[Write]>,
    callers: Vec<Caller>,
}

impl FromIterator<WriteRun> for Batch {
    fn from_iter<T: IntoIterator<Item = WriteRun>>(batch: T) -> Self {
        let (writes, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.write, one.caller)).unzip();
        Self { writes: writes.into(), callers }
    }
}

/// Writes `batch` and answers each write after its commit, with its own outcome.
pub(super) fn write(store: Arc<dyn RunStore>, lane: usize, mut batch: Batch, retry: Retry) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let begun = Instant::now();
        let mut pauses = retry.pauses().build();
        loop {
            batch = batch.without_expired();
            if batch.callers.is_empty() {
                return;
            }
            let tried = Instant::now();
            let error = match store.write(lane, Arc::clone(&batch.writes)).await {
                Ok(written) => {
                    telemetry::batch_written(batch.callers.len(), tried.elapsed());
                    for (caller, written) in batch.callers.into_iter().zip(written) {
                        caller.answer(Ok(written));
                    }
                    return;
                }
                Err(error) => error,
            };
            telemetry::batch_failed();
            if !error.is_retryable() {
                return isolate(store, lane, batch, retry, error).await;
            }
            if begun.elapsed() >= retry.limit {
                tracing::error!(%error, writes = batch.callers.len(), "gave up writing: the database was away for too long");
                return refuse(batch.callers, &error);
            }
            tracing::warn!(%error, writes = batch.callers.len(), "database is away, the batch will be written again");
            tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
        }
    })
}

impl Batch {
    /// Answers those writes for which nobody waits any more. Where an earlier try may have been committed unheard, the manager
    /// finds the run again, since it knows that it got no answer.
    fn without_expired(self) -> Self {
        let now = Instant::now();
        let waits = |caller: &Caller| caller.deadline.is_none_or(|deadline| now < deadline);
        if self.callers.iter().all(waits) {
            return self;
        }
        let (open, expired): (Vec<_>, Vec<_>) = self.into_writes().partition(|one| waits(&one.caller));
        let expired = expired.into_iter().map(|one| one.caller);
        refuse(expired, &StoreError::Unavailable("the write was not done in time".to_owned()));
        open.into_iter().collect()
    }

    fn into_writes(self) -> impl Iterator<Item = WriteRun> {
        let Self { writes, callers } = self;
        callers.into_iter().enumerate().map(move |(at, caller)| WriteRun { write: writes[at].clone(), caller })
    }
}

/// Finds out which write of the batch is at fault by halving it, so that it hurts only its sender.
async fn isolate(store: Arc<dyn RunStore>, lane: usize, batch: Batch, retry: Retry, error: StoreError) {
    let count = batch.callers.len();
    if count == 1 || matches!(error, StoreError::Closed) {
        tracing::error!(%error, writes = count, "write refused");
        return refuse(batch.callers, &error);
    }
    let mut writes = batch.into_writes();
    let first = writes.by_ref().take(count / 2).collect();
    let second = writes.collect();
    write(Arc::clone(&store), lane, first, retry).await;
    write(store, lane, second, retry).await;
}

fn refuse(callers: impl IntoIterator<Item = Caller>, error: &StoreError) {
    for caller in callers {
        caller.answer(Err(error.clone()));
    }
}
