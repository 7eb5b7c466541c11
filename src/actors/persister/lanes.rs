//! What waits to be written, and which batches are being written: one on each lane at most, and no run in two of them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use super::WriteRun;
use crate::run::RunId;
use crate::store::protocol::Write;

#[cfg(test)]
mod tests;

/// The most writes in one batch. Measured: throughput has stopped growing by then, and a batch takes some 20 ms.
pub(super) const MAX_BATCH: usize = 1000;

/// So few writes are not divided between lanes: two small batches take longer than one that has both.
pub(super) const MIN_SHARE: usize = 100;

/// A batch that weighs more than this, in bytes, takes no further write: it has to fit into a message of the database.
const MAX_WEIGHT: usize = 8 * 1024 * 1024;

pub(super) struct Lanes {
    queue: VecDeque<WriteRun>,
    /// The runs that each lane is writing; `None` while it is free.
    writing: Vec<Option<Runs>>,
}

/// The runs of a batch, and whether another cancel of theirs may join it.
type Runs = HashMap<RunId, bool>;

impl Lanes {
    pub(super) fn new(lanes: usize) -> Self {
        Self { queue: VecDeque::new(), writing: (0..lanes).map(|_| None).collect() }
    }

    pub(super) fn push(&mut self, write: WriteRun) {
        self.queue.push_back(write);
    }

    pub(super) fn any_is_free(&self) -> bool {
        self.writing.iter().any(Option::is_none)
    }

    /// The lane has written its batch.
    pub(super) fn free(&mut self, lane: usize) {
        self.writing[lane] = None;
    }

    /// A lane that was free, and its next batch: the oldest of what waits, but of each run only the first write, or its first
    /// cancels. `None` when no lane is free, or nothing waits that may be written now.
    pub(super) fn next_batch(&mut self) -> Option<(usize, Vec<WriteRun>)> {
        let lane = self.writing.iter().position(Option::is_none)?;
        let most = self.share();
        let mut runs = Runs::new();
        let mut batch = Vec::new();
        let mut later = Vec::new();
        let mut weight = 0;
        while batch.len() < most
            && weight < MAX_WEIGHT
            && let Some(write) = self.queue.pop_front()
        {
            if !self.is_being_written(write.write.run_id()) && joins(&mut runs, &write.write) {
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
        if batch.is_empty() {
            return None;
        }
        self.writing[lane] = Some(runs);
        Some((lane, batch))
    }

    /// The most writes in the next batch: an equal part of all there is to do. Whoever waits on a lane with a long batch would
    /// otherwise wait for longer, and again and again, since what an answer sets free comes back at the same time.
    fn share(&self) -> usize {
        let under_way: usize = self.writing.iter().flatten().map(HashMap::len).sum();
        (self.queue.len() + under_way).div_ceil(self.writing.len()).clamp(MIN_SHARE, MAX_BATCH)
    }

    fn is_being_written(&self, run_id: RunId) -> bool {
        self.writing.iter().flatten().any(|runs| runs.contains_key(&run_id))
    }
}

/// Whether the write may join a batch of these runs; it is one of them then.
fn joins(runs: &mut Runs, write: &Write) -> bool {
    let cancels = matches!(write, Write::Cancel(_));
    match runs.entry(write.run_id()) {
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
    }
}
