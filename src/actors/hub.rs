//! Tells those in this process who follow a run what has become durable, whether the run is live here or elsewhere.
//!
//! What happens to a run that is live here is published here as it is committed, and hinted at to other processes. What
//! happens to others is found out by the [`watch`](super::watch), once for all that follow them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast};

use crate::run::{RunEvent, RunId};
use crate::store::hints::{Hint, Named};
use crate::store::{RunStore, StoreError, StoreResult};

/// How many batches a follower may be behind before it has to read the store instead.
const BEHIND: usize = 64;

/// Events that have been committed; empty to say that the store has news.
pub(crate) type Batch = Arc<[RunEvent]>;

/// What a follower is told: a batch, or why the store could not be read for it.
pub(crate) type Told = StoreResult<Batch>;

/// The followers of runs, and which runs are live in this process. A run that nobody follows costs nothing here but an id.
#[derive(Default)]
pub(crate) struct Hub {
    /// Held for moments. Not a lock of readers and writers: of that, whoever takes it twice would only sometimes wait for ever.
    state: Mutex<State>,
    /// The runs at which the watch is to look without waiting for its time.
    asked: Mutex<Named<RunId>>,
    /// Rung for the watch.
    bell: Notify,
    /// Rung for the courier.
    #[cfg(feature = "webhooks")]
    left: Notify,
    /// Where other processes can be told something.
    store: Option<Arc<dyn RunStore>>,
}

#[derive(Default)]
struct State {
    live: HashSet<RunId>,
    followed: HashMap<RunId, Followed>,
    closed: bool,
}

struct Followed {
    followers: broadcast::Sender<Told>,
    /// How many there are. The channel's own count is behind: a follower gives up its place in here before it is dropped.
    count: usize,
    /// The seq from which on some follower wants to be told; the largest number while none of them reads events.
    wanted_from: u64,
    /// The run has settled, and everybody was told.
    ended: bool,
}

impl Followed {
    fn new() -> Self {
        Self { followers: broadcast::Sender::new(BEHIND), count: 0, wanted_from: u64::MAX, ended: false }
    }

    fn join(&mut self) -> broadcast::Receiver<Told> {
        self.count += 1;
        self.followers.subscribe()
    }

    /// An error of the channel says that the last follower has just gone.
    fn tell(&self, told: Told) {
        self.followers.send(told).ok();
    }
}

impl Hub {
    pub(crate) fn new(store: Arc<dyn RunStore>) -> Self {
        Self { store: Some(store), ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, run_id: RunId) {
        if let Some(store) = &self.store {
            store.hint(Hint::News(run_id));
        }
    }

    /// From now on, what happens to this run is published here.
    pub(crate) fn enter(&self, run_id: RunId) {
        self.state().live.insert(run_id);
    }

    /// From now on, what happens to this run may happen elsewhere. Its followers look at the store once.
    pub(crate) fn leave(&self, run_id: RunId) {
        {
            let mut state = self.state();
            state.live.remove(&run_id);
            if let Some(followed) = state.followed.get_mut(&run_id) {
                // They say again from where they want to be told, when they have looked.
                followed.wanted_from = u64::MAX;
                followed.tell(Ok(Batch::default()));
                self.bell.notify_one();
            }
        }
        #[cfg(feature = "webhooks")]
        self.left.notify_one();
        self.hint(run_id);
    }

    /// Whether what happens to this run is published here.
    pub(crate) fn is_live(&self, run_id: RunId) -> bool {
        self.state().live.contains(&run_id)
    }

    /// Waits until some run is not live here any more that was, or was settled by this process; one caller at a time.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    #[cfg(feature = "webhooks")]
    pub(crate) async fn somebody_left(&self) {
        self.left.notified().await;
    }

    /// Publishes what has been committed of a run that is live here.
    pub(crate) fn publish(&self, run_id: RunId, batch: Batch) {
        if let Some(followed) = self.state().followed.get(&run_id) {
            followed.tell(Ok(batch));
        }
        self.hint(run_id);
    }

    /// Follows a run, whether it is live here or not. To miss nothing: follow first, then read the store.
    pub(crate) fn follow(self: &Arc<Self>, run_id: RunId) -> Follower {
        let mut state = self.state();
        let told = if state.closed {
            Followed::new().join()
        } else {
            state.followed.entry(run_id).or_insert_with(Followed::new).join()
        };
        self.bell.notify_one();
        Follower { told, run_id, hub: Arc::clone(self) }
    }

    /// Nobody is told anything any more: to wait is an error from now on.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.followed.clear();
    }

    /// Notes from where on a follower wants to be told. It has read the store up to there.
    fn want(&self, run_id: RunId, from: u64) {
        if self.note_wanted(run_id, from) {
            // The watch may have looked since this follower has, and for nobody who wanted this.
            self.ask(&Named::These([run_id].into()));
        }
    }

    /// Whether nobody has wanted to be told of the run from as far back as `from`.
    fn note_wanted(&self, run_id: RunId, from: u64) -> bool {
        let State { live, followed, .. } = &mut *self.state();
        match followed.get_mut(&run_id) {
            Some(followed) if !live.contains(&run_id) && from < followed.wanted_from => {
                followed.wanted_from = from;
                true
            }
            _ => false,
        }
    }
}

/// For the watch of runs that are not live here.
impl Hub {
    /// Asks for a look at these runs, as far as they are followed.
    pub(crate) fn ask(&self, run_ids: &Named<RunId>) {
        if let Named::These(these) = run_ids {
            let state = self.state();
            if !these.iter().any(|run_id| state.followed.contains_key(run_id)) {
                return;
            }
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).merge(run_ids.clone());
        self.bell.notify_one();
    }

    /// Waits until a look is asked for; at what.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    pub(crate) async fn asked(&self) -> Named<RunId> {
        loop {
            let asked = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
            if !asked.is_empty() {
                return asked;
            }
            self.bell.notified().await;
        }
    }

    /// Waits until somebody follows a run that is not live here and has not ended.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    pub(crate) async fn somebody_follows(&self) {
        while self.elsewhere(&Named::Any).is_empty() {
            self.bell.notified().await;
        }
    }

    /// Those of these runs that are followed, not live here and not ended, and from where on their events are wanted.
    pub(crate) fn elsewhere(&self, which: &Named<RunId>) -> Vec<(RunId, u64)> {
        let state = self.state();
        let wanted = |(run_id, followed): (&RunId, &Followed)| {
            let elsewhere = !state.live.contains(run_id) && !followed.ended;
            elsewhere.then_some((*run_id, followed.wanted_from))
        };
        match which {
            Named::These(these) => {
                these.iter().filter_map(|run_id| wanted(state.followed.get_key_value(run_id)?)).collect()
            }
            Named::Any => state.followed.iter().filter_map(wanted).collect(),
        }
    }

    /// Tells the followers of a run what was read of its log, from seq `from` on.
    pub(crate) fn tell_read(&self, run_id: RunId, from: u64, batch: Batch) {
        let Some((next, ends)) = batch.last().map(|last| (last.seq + 1, last.is_terminal())) else { return };
        if let Some(followed) = self.state().followed.get_mut(&run_id) {
            // Unless somebody wants to be told from further back.
            if followed.wanted_from == from {
                followed.wanted_from = next;
            }
            followed.ended |= ends;
            followed.tell(Ok(batch));
        }
    }

    /// Tells the followers of a run that it has settled, or is gone, and that they have to look themselves.
    pub(crate) fn tell_ended(&self, run_id: RunId) {
        if let Some(followed) = self.state().followed.get_mut(&run_id) {
            followed.ended = true;
            followed.tell(Ok(Batch::default()));
        }
    }

    /// Tells the followers of a run that the store could not be read for them.
    pub(crate) fn tell_failed(&self, run_id: RunId, error: StoreError) {
        if let Some(followed) = self.state().followed.get(&run_id) {
            followed.tell(Err(error));
        }
    }
}

/// One follower of a run.
pub(crate) struct Follower {
    told: broadcast::Receiver<Told>,
    run_id: RunId,
    hub: Arc<Hub>,
}

impl Follower {
    /// What is told next; an empty batch when the follower has to read the store.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    pub(crate) async fn next(&mut self) -> Told {
        match self.told.recv().await {
            Ok(told) => told,
            Err(broadcast::error::RecvError::Lagged(_)) => Ok(Batch::default()),
            Err(broadcast::error::RecvError::Closed) => Err(StoreError::Closed),
        }
    }

    /// Waits until the run may have settled: for its last event, or for news that only the store can tell.
    pub(crate) async fn until_end(&mut self) -> StoreResult<()> {
        while self.next().await?.last().is_some_and(|event| !event.is_terminal()) {}
        Ok(())
    }

    /// As [`next`](Self::next), for a follower that has read the log up to `seq`.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    pub(crate) async fn next_from(&mut self, seq: u64) -> Told {
        if self.told.is_empty() {
            self.hub.want(self.run_id, seq);
        }
        self.next().await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        let Some(followed) = state.followed.get_mut(&self.run_id) else { return };
        followed.count -= 1;
        if followed.count == 0 {
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
        assert_eq!(follower.next().await.unwrap()[0].seq, 1);
        drop(follower);
        assert!(hub.state().followed.is_empty());
    }

    #[test]
    fn followers_that_go_at_the_same_time_are_all_forgotten() {
        let hub = Arc::new(Hub::default());
        for _ in 0..10_000 {
            let run_id = RunId::new();
            let (one, other) = (hub.follow(run_id), hub.follow(run_id));
            std::thread::scope(|scope| {
                scope.spawn(|| drop(one));
                drop(other);
            });
        }
        assert!(hub.state().followed.is_empty());
    }

    #[tokio::test]
    async fn a_follower_that_falls_behind_is_told_to_read_the_store() {
        let hub = Arc::new(Hub::default());
        let run_id = RunId::new();
        let mut follower = hub.follow(run_id);
        for seq in 0..=BEHIND as u64 {
            hub.publish(run_id, batch(run_id, seq));
        }
        assert!(follower.next().await.unwrap().is_empty());
    }
}
