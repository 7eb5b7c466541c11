//! Writes one batch, whatever it takes, and answers each of its writes.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::WriteRun;
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

/// Writes `batch` and answers each write after its commit, with its own outcome.
pub(super) fn write(
    store: Arc<dyn RunStore>,
    lane: usize,
    mut batch: Vec<WriteRun>,
    retry: Retry,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let begun = Instant::now();
        let mut pauses = retry.pauses().build();
        loop {
            batch = without_expired(batch);
            if batch.is_empty() {
                return;
            }
            let tried = Instant::now();
            let writes: Arc<[Write]> = batch.iter().map(|one| one.write.clone()).collect();
            let error = match store.write(lane, writes).await {
                Ok(written) => {
                    telemetry::batch_written(batch.len(), tried.elapsed());
                    for (one, written) in batch.into_iter().zip(written) {
                        // Whoever asked may have gone; the write stands all the same.
                        one.reply.send(Ok(written)).ok();
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
                tracing::error!(%error, writes = batch.len(), "gave up writing: the database was away for too long");
                return refuse(batch, &error);
            }
            tracing::warn!(%error, writes = batch.len(), "database is away, the batch will be written again");
            tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
        }
    })
}

/// Answers those writes for which nobody waits any more. Where an earlier try may have been committed unheard, the manager
/// finds the run again, since it knows that it got no answer.
fn without_expired(batch: Vec<WriteRun>) -> Vec<WriteRun> {
    let now = Instant::now();
    let (open, expired): (Vec<_>, Vec<_>) =
        batch.into_iter().partition(|one| one.deadline.is_none_or(|deadline| now < deadline));
    refuse(expired, &StoreError::Unavailable("the write was not done in time".to_owned()));
    open
}

/// Finds out which write of the batch is at fault by halving it, so that it hurts only its sender.
async fn isolate(store: Arc<dyn RunStore>, lane: usize, mut batch: Vec<WriteRun>, retry: Retry, error: StoreError) {
    if batch.len() == 1 || matches!(error, StoreError::Closed) {
        tracing::error!(%error, writes = batch.len(), "write refused");
        return refuse(batch, &error);
    }
    let second = batch.split_off(batch.len() / 2);
    write(Arc::clone(&store), lane, batch, retry).await;
    write(store, lane, second, retry).await;
}

fn refuse(batch: Vec<WriteRun>, error: &StoreError) {
    for one in batch {
        one.reply.send(Err(error.clone())).ok();
    }
}
