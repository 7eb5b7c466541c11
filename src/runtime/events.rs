//! Follows the event log of a run: first from the store, then as it grows.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{self, BoxStream};

use tokio::runtime::Handle;

use super::context;
use crate::actors::hub::{Batch, Follower};
use crate::error::Error;
use crate::run::{RunEvent, RunId};
use crate::store::{RunStore, StoreResult};

/// How many events are read from the store at a time.
const READ: usize = 256;

/// The events of a run, made by [`Runtime::subscribe`](crate::Runtime::subscribe).
pub struct EventStream {
    run_id: RunId,
    was_settled: bool,
    events: BoxStream<'static, Result<RunEvent, Error>>,
}

impl EventStream {
    pub(super) fn new(tail: Tail) -> Self {
        let (run_id, was_settled) = (tail.run_id, tail.settled);
        let events = stream::unfold(tail, |mut tail| async move {
            let timers = tail.timers.clone();
            let event = context::anywhere(&timers, tail.next()).await.transpose()?;
            Some((event.map_err(Error::from), tail))
        });
        Self { run_id, was_settled, events: Box::pin(events) }
    }

    /// Whether the run had settled when the stream was made, so that everything it tells is in the store already.
    #[cfg(feature = "web")]
    pub(crate) const fn was_settled(&self) -> bool {
        self.was_settled
    }
}

impl Stream for EventStream {
    type Item = Result<RunEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("run_id", &self.run_id)
            .field("was_settled", &self.was_settled)
            .finish_non_exhaustive()
    }
}

/// A reader of one run's log, and where it stands.
pub(super) struct Tail {
    pub(super) store: Arc<dyn RunStore>,
    pub(super) follower: Follower,
    pub(super) timers: Handle,
    pub(super) run_id: RunId,
    /// The seq that comes next.
    pub(super) next: u64,
    pub(super) ready: VecDeque<RunEvent>,
    /// The store may have events from `next` on.
    pub(super) behind: bool,
    /// The run had settled before the store was last read.
    pub(super) settled: bool,
    pub(super) ended: bool,
}

impl Tail {
    async fn next(&mut self) -> StoreResult<Option<RunEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.seq < self.next {
                    continue;
                }
                self.next = event.seq + 1;
                self.ended = event.is_terminal();
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            if self.behind {
                self.catch_up().await?;
            } else {
                let told = self.follower.next_from(self.next).await;
                // Whoever asks again after an error reads for itself.
                self.behind = told.is_err();
                self.take(&told?);
            }
        }
    }

    async fn catch_up(&mut self) -> StoreResult<()> {
        let events = self.store.events(self.run_id, self.next, READ).await?;
        if !events.is_empty() {
            self.behind = events.len() == READ;
            self.ready.extend(events);
        } else if self.settled {
            // The terminal event was committed with the status: there is nothing after `next`.
            self.ended = true;
        } else {
            self.settled = self.store.facts(self.run_id).await?.is_none_or(|row| row.status.is_terminal());
            self.behind = self.settled;
        }
        Ok(())
    }

    fn take(&mut self, batch: &Batch) {
        match batch.first() {
            Some(first) if first.seq <= self.next => self.ready.extend(batch.iter().cloned()),
            Some(_) | None => self.behind = true,
        }
    }
}
