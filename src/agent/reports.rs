//! What user code tells of its run, on its way to the run's log.
//!
//! A bounded channel that knows what it carries: the next piece of a text joins the one before it for as long as nobody has taken
//! that. A model that says word by word costs neither a message nor a wakeup for each of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::coop;

use super::context::Report;
use crate::run::RunEventKind;

/// How many reports user code may be ahead of the run's log before it has to wait.
const AHEAD: usize = 32;

/// A new channel: user code's end, and that of the log.
pub(crate) fn reports() -> (Reporter, Reports) {
    let channel = Arc::new(Channel::default());
    (Reporter(Arc::clone(&channel)), Reports(channel))
}

/// User code's end.
pub(crate) struct Reporter(Arc<Channel>);

/// The end of the run's log. When it is dropped, nobody listens any more.
pub(crate) struct Reports(Arc<Channel>);

#[derive(Default)]
struct Channel {
    state: Mutex<State>,
    /// Wakes the log.
    come: Notify,
    /// Wakes those who wait for room, or for the end.
    gone: Notify,
}

#[derive(Default)]
struct State {
    #[allow(clippy::vec_box, reason = "a report is large, and for the first one there would be room for four")]
    waiting: Vec<Box<Report>>,
    /// The log looks by itself before long, and need not be woken for a piece of a text.
    looks_soon: bool,
    closed: bool,
}

impl Channel {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report in, or gives it back when there is no room.
    fn put(&self, report: Report) -> Result<(), Box<Report>> {
        if self.state().put(report)? {
            self.come.notify_one();
        }
        Ok(())
    }

    async fn put_when_there_is_room(&self, mut report: Box<Report>) {
        loop {
            // Asked for first: room that is made from here on is not missed.
            let room = self.gone.notified();
            match self.put(*report) {
                Ok(()) => return,
                Err(refused) => report = refused,
            }
            room.await;
        }
    }
}

impl State {
    /// Takes a report in, and says whether the log is to be woken.
    fn put(&mut self, report: Report) -> Result<bool, Box<Report>> {
        if self.closed {
            // The run has ended; nobody is left to tell, and the code that tells is about to be dropped.
            return Ok(false);
        }
        let piece = is_piece(&report);
        if piece && self.waiting.last_mut().is_some_and(|last| go_on_with(last, &report)) {
            return Ok(false);
        }
        let report = Box::new(report);
        if self.waiting.len() >= AHEAD {
            return Err(report);
        }
        self.waiting.push(report);
        Ok(!piece || self.is_urgent())
    }

    /// Whether the log should not wait any longer.
    fn is_urgent(&self) -> bool {
        match &self.waiting[..] {
            [] => false,
            [only] => !self.looks_soon || !is_piece(only),
            // Two pieces are next to each other only when they are too long to be joined.
            [..] => true,
        }
    }
}

fn is_piece(report: &Report) -> bool {
    matches!(report, Report::Event(RunEventKind::RunContent { .. } | RunEventKind::ReasoningContentDelta { .. }))
}

fn go_on_with(before: &mut Report, next: &Report) -> bool {
    match (before, next) {
        (Report::Event(before), Report::Event(next)) => before.go_on_with(next),
        _ => false,
    }
}

impl Reporter {
    /// Sends a report: at once where there is room, else when this is awaited.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the report may not have been sent.
    pub(crate) fn send(&self, report: Report) -> impl Future<Output = ()> + Send {
        let refused = self.0.put(report).err();
        async {
            // Code that does nothing but talk lets others work as well.
            coop::consume_budget().await;
            if let Some(report) = refused {
                Box::pin(self.0.put_when_there_is_room(report)).await;
            }
        }
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn closed(&self) {
        loop {
            let gone = self.0.gone.notified();
            if self.is_closed() {
                return;
            }
            gone.await;
        }
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.state().closed
    }
}

impl Reports {
    /// Waits until there is something to take. Pieces of a text alone are not waited for by a log that [takes](Self::take) what
    /// is there before long anyway.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub(crate) async fn come(&self, looks_soon: bool) {
        loop {
            let woken = self.0.come.notified();
            {
                let mut state = self.0.state();
                state.looks_soon = looks_soon;
                if state.is_urgent() {
                    return;
                }
            }
            woken.await;
        }
    }

    /// What is there, in order.
    pub(crate) fn take(&self) -> impl Iterator<Item = Report> + use<> {
        let (taken, was_full) = {
            let mut state = self.0.state();
            state.looks_soon = false;
            let was_full = state.waiting.len() >= AHEAD;
            (std::mem::take(&mut state.waiting), was_full)
        };
        if was_full {
            self.0.gone.notify_waiters();
        }
        taken.into_iter().map(|report| *report)
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        let _nobody_is_told = {
            let mut state = self.0.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.0.gone.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
