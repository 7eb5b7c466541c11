//! Watches the runs that somebody in this process follows and that are not live here.
//!
//! However many follow them, they are looked at together: in each poll interval, and at once when there is a hint. What has
//! changed is read once and told to all followers by the [`hub`](super::hub). While nobody follows such a run, nothing happens.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hub::Hub;
use crate::run::RunId;
use crate::store::hints::Named;
use crate::store::{Mark, RunStore, StoreResult};

#[cfg(test)]
mod tests;

/// How many runs are looked at by one statement.
const LOOK: usize = 1000;

/// Of how many runs events are read by one statement, and how many of each.
const READ_RUNS: usize = 16;
const READ_EVENTS: usize = 64;

/// The least time between two looks, however many hints there are.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Watch {
    hub: Arc<Hub>,
    store: Arc<dyn RunStore>,
    poll_interval: Duration,
}

impl Watch {
    pub(crate) const fn new(hub: Arc<Hub>, store: Arc<dyn RunStore>, poll_interval: Duration) -> Self {
        Self { hub, store, poll_interval }
    }

    /// The watch's whole life.
    pub(crate) async fn live(self) {
        loop {
            self.hub.somebody_follows().await;
            // Whoever begins to follow looks itself.
            let mut due = Instant::now() + self.poll_interval;
            while !self.hub.elsewhere(&Named::Any).is_empty() {
                let mut which = tokio::time::timeout_at(due, self.hub.asked()).await.unwrap_or(Named::Any);
                // Where somebody asks all the time, the time is never out by itself.
                if Instant::now() >= due {
                    due = Instant::now() + self.poll_interval;
                    which = Named::Any;
                }
                self.look(&which).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn look(&self, which: &Named<RunId>) {
        let wanted = self.hub.elsewhere(which);
        for some in wanted.chunks(LOOK) {
            if let Err(error) = self.look_at(some).await {
                // They may want to hear of it, and to look again.
                some.iter().for_each(|&(run_id, _)| self.hub.tell_failed(run_id, error.clone()));
            }
        }
    }

    async fn look_at(&self, wanted: &[(RunId, u64)]) -> StoreResult<()> {
        let run_ids = wanted.iter().map(|&(run_id, _)| run_id).collect();
        let marks: HashMap<RunId, Mark> = self.store.marks(run_ids).await?.into_iter().collect();
        let mut behind = VecDeque::new();
        for &(run_id, from) in wanted {
            match marks.get(&run_id) {
                Some(mark) if mark.next_seq > from => behind.push_back((run_id, from)),
                Some(mark) if !mark.settled => {}
                Some(_) | None => self.hub.tell_ended(run_id),
            }
        }
        self.read(behind).await
    }

    /// Reads the rest of these logs, and tells it.
    async fn read(&self, mut behind: VecDeque<(RunId, u64)>) -> StoreResult<()> {
        while !behind.is_empty() {
            let some: Vec<(RunId, u64)> = behind.drain(..behind.len().min(READ_RUNS)).collect();
            let from: HashMap<RunId, u64> = some.iter().copied().collect();
            let events = self.store.tails(some, READ_EVENTS).await?;
            for batch in events.chunk_by(|one, next| one.run_id == next.run_id) {
                let Some(last) = batch.last() else { continue };
                if batch.len() == READ_EVENTS {
                    behind.push_back((last.run_id, last.seq + 1));
                }
                let from = from.get(&last.run_id).copied().unwrap_or_default();
                self.hub.tell_read(last.run_id, from, batch.into());
            }
        }
        Ok(())
    }
}
