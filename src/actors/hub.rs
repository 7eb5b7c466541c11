//! Tells those in this process who follow a run what has just become durable.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::broadcast;

use crate::run::{RunEvent, RunId};

/// How many batches a follower may be behind before it has to read the store instead.
const BEHIND: usize = 64;

/// Events that have just been committed; empty to say that the store has news.
pub(crate) type Batch = Arc<[RunEvent]>;

/// The followers of runs, and which runs are live in this process. A run that nobody follows costs nothing here but an id.
#[derive(Debug, Default)]
pub(crate) struct Hub(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    live: HashSet<RunId>,
    followed: HashMap<RunId, broadcast::Sender<Batch>>,
}

impl Hub {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, what happens to this run is published here.
    pub(crate) fn enter(&self, run_id: RunId) {
        self.change().live.insert(run_id);
    }

    /// From now on, what happens to this run may happen elsewhere. Its followers look at the store once.
    pub(crate) fn leave(&self, run_id: RunId) {
        self.change().live.remove(&run_id);
        self.publish(run_id, Batch::default());
    }

    pub(crate) fn is_live(&self, run_id: RunId) -> bool {
        self.read().live.contains(&run_id)
    }

    /// Publishes what has been committed.
    pub(crate) fn publish(&self, run_id: RunId, batch: Batch) {
        if let Some(followers) = self.read().followed.get(&run_id) {
            // An error says that the last follower has just gone.
            followers.send(batch).ok();
        }
    }

    /// Follows a run, whether it is live here or not. To miss nothing: follow first, then read the store.
    pub(crate) fn follow(self: &Arc<Self>, run_id: RunId) -> Follower {
        let batches =
            self.change().followed.entry(run_id).or_insert_with(|| broadcast::Sender::new(BEHIND)).subscribe();
        Follower { batches, run_id, hub: Arc::clone(self) }
    }
}

/// One follower of a run.
#[derive(Debug)]
pub(crate) struct Follower {
    batches: broadcast::Receiver<Batch>,
    run_id: RunId,
    hub: Arc<Hub>,
}

impl Follower {
    /// The next batch; an empty one when the follower has to read the store.
    pub(crate) async fn next(&mut self) -> Batch {
        match self.batches.recv().await {
            Ok(batch) => batch,
            Err(broadcast::error::RecvError::Lagged(_)) => Batch::default(),
            // The hub keeps the sender as long as there is a follower.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.hub.is_live(self.run_id)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.hub.change();
        // This follower still counts itself.
        if state.followed.get(&self.run_id).is_some_and(|followers| followers.receiver_count() <= 1) {
            state.followed.remove(&self.run_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BEHIND, Batch, Hub};
    use crate::run::{RunEvent, RunEventKind, RunId};

    fn batch(run_id: RunId, seq: u64) -> Batch {
        Arc::new([RunEvent::new(run_id, seq, RunEventKind::RunStarted { attempt: 1 })])
    }

    #[tokio::test]
    async fn a_follower_gets_what_is_published_and_is_forgotten_when_it_goes() {
        let hub = Arc::new(Hub::default());
        let run_id = RunId::new();
        hub.publish(run_id, batch(run_id, 0));
        let mut follower = hub.follow(run_id);
        let other = hub.follow(run_id);
        drop(other);
        hub.publish(run_id, batch(run_id, 1));
        assert_eq!(follower.next().await[0].seq, 1);
        drop(follower);
        assert!(hub.read().followed.is_empty());
    }

    #[tokio::test]
    async fn a_follower_that_falls_behind_is_told_to_read_the_store() {
        let hub = Arc::new(Hub::default());
        let run_id = RunId::new();
        let mut follower = hub.follow(run_id);
        for seq in 0..=BEHIND as u64 {
            hub.publish(run_id, batch(run_id, seq));
        }
        assert!(follower.next().await.is_empty());
    }
}
