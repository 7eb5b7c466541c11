//! The housekeeper: makes the store forget what is not needed any more.
//!
//! Nothing depends on it but room: every process has one, and whichever comes first does the work.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::store::{RunStore, StoreResult};

/// How often there is something to look for, at most.
const INTERVAL: Duration = Duration::from_secs(60);

/// The most runs that are deleted at once.
const BATCH: usize = 500;

/// The pause after each batch, in which others get at the disk.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Housekeeper {
    pub(crate) store: Arc<dyn RunStore>,
    /// How long settled runs are kept; `None` for ever.
    pub(crate) retention: Option<Duration>,
}

impl Actor for Housekeeper {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let store = Arc::clone(&self.store);
        let retention = self.retention;
        // Ends with its arbiter.
        actix::spawn(async move {
            let mut batch = BATCH;
            loop {
                tokio::time::sleep(interval(retention)).await;
                batch = (batch * 2).min(BATCH);
                if let Err(error) = clean(&*store, retention, &mut batch).await {
                    tracing::warn!(%error, "what is not needed any more was not deleted");
                }
            }
        });
    }
}

/// Runs that are to be kept for a short time are looked for accordingly often.
fn interval(retention: Option<Duration>) -> Duration {
    retention.map_or(INTERVAL, |age| (age / 10).clamp(Duration::from_secs(1), INTERVAL))
}

async fn clean(store: &dyn RunStore, retention: Option<Duration>, batch: &mut usize) -> StoreResult<()> {
    store.forget_expired_intents().await?;
    let Some(age) = retention else { return Ok(()) };
    let pruned = prune_all(async |limit| store.prune(age, limit).await, batch).await?;
    if pruned > 0 {
        tracing::info!(pruned, "settled runs were deleted");
    }
    Ok(())
}

/// Deletes batch by batch until there is nothing left. Where the runs are so large that a batch does not come to its end in
/// time, a smaller one may.
async fn prune_all(prune: impl AsyncFn(usize) -> StoreResult<usize>, batch: &mut usize) -> StoreResult<usize> {
    let mut pruned = 0;
    loop {
        match prune(*batch).await {
            Ok(0) => return Ok(pruned),
            Ok(some) => pruned += some,
            Err(error) if error.is_retryable() && *batch > 1 => *batch /= 2,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Duration;

    use actix::prelude::*;

    use super::{BATCH, Housekeeper, interval, prune_all};
    use crate::run::RunStatus;
    use crate::store::conformance::samples::{owned, settled};
    use crate::store::{RunStore, Store, StoreError, StoreLimits};

    async fn store() -> Arc<dyn RunStore> {
        let limits = StoreLimits { intent_ttl: Duration::from_secs(3600), max_intents: 10 };
        Store::sqlite_in_memory().open(limits).await.unwrap()
    }

    #[actix::test]
    async fn settled_runs_are_deleted_when_their_time_has_passed() {
        let store = store().await;
        let run_id = settled(&*store, owned(), RunStatus::Completed).await;
        tokio::time::pause();
        Housekeeper { store: Arc::clone(&store), retention: Some(Duration::ZERO) }.start();
        // Time flies by here while the store's thread works, so that no deadline would mean anything.
        for _ in 0..10_000 {
            if store.get(run_id).await.unwrap().is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("the run is still there");
    }

    #[actix::test]
    async fn without_a_limit_runs_are_kept_for_ever() {
        let store = store().await;
        let run_id = settled(&*store, owned(), RunStatus::Completed).await;
        tokio::time::pause();
        Housekeeper { store: Arc::clone(&store), retention: None }.start();
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!(store.get(run_id).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn runs_that_are_too_large_to_be_deleted_together_are_deleted_all_the_same() {
        for most in [1, 7, 60, BATCH] {
            let (left, mut batch) = (AtomicUsize::new(1000), BATCH);
            let prune = async |limit: usize| {
                if limit > most {
                    return Err(StoreError::Unavailable("canceling statement due to statement timeout".to_owned()));
                }
                let before = left.fetch_update(SeqCst, SeqCst, |left| Some(left.saturating_sub(limit))).unwrap();
                Ok(before.min(limit))
            };
            assert_eq!(prune_all(prune, &mut batch).await.unwrap(), 1000, "at most {most}");
            assert!(batch <= most && batch > most / 2, "{batch}, at most {most}");
        }
        let mut batch = BATCH;
        let away = async |_| Err(StoreError::Unavailable("away".to_owned()));
        assert!(prune_all(away, &mut batch).await.is_err(), "it does not try for ever");
    }

    #[test]
    fn a_short_retention_is_looked_after_often_and_a_long_one_each_minute() {
        for (retention, expected) in [(None, 60), (Some(3600), 60), (Some(100), 10), (Some(1), 1)] {
            assert_eq!(interval(retention.map(Duration::from_secs)), Duration::from_secs(expected));
        }
    }
}
