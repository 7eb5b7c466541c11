//! What ends a run early: its actor is told, its life heeds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::*;
use tokio::sync::Notify;

/// Ends the run early.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub(crate) enum Stop {
    /// Somebody wants it cancelled.
    Cancel,
    /// The runtime shuts down: the run is given to others.
    HandBack,
    /// The run is not this node's any more: its user code ends at once, and nothing of it is written.
    Abandon,
}

impl Stop {
    /// A cancel outranks a hand-back: what somebody wants cancelled must not be started elsewhere. And who has no say any more
    /// can do neither.
    const fn outranks(self, told: Option<Self>) -> bool {
        match told {
            None => true,
            Some(Self::HandBack) => !matches!(self, Self::HandBack),
            Some(Self::Cancel) => matches!(self, Self::Abandon),
            Some(Self::Abandon) => false,
        }
    }
}

/// Tells a life how it has to stop. As a `watch` channel it would need five times the memory, in every live run.
#[derive(Clone)]
pub(crate) struct StopSignal(Arc<Told>);

struct Told {
    stop: Mutex<Option<Stop>>,
    news: Notify,
}

impl StopSignal {
    /// A signal of which this is known from the beginning.
    pub(crate) fn new(first: Option<Stop>) -> Self {
        Self(Arc::new(Told { stop: Mutex::new(first), news: Notify::new() }))
    }

    fn stop(&self) -> MutexGuard<'_, Option<Stop>> {
        // Nothing in here panics half-way.
        self.0.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, stop: Stop) {
        let mut told = self.stop();
        if stop.outranks(*told) {
            *told = Some(stop);
            drop(told);
            self.0.news.notify_waiters();
        }
    }

    /// How the run has to stop, if it has to.
    pub(super) fn told(&self) -> Option<Stop> {
        *self.stop()
    }

    /// Waits until the run has to stop.
    pub(super) async fn stopped(&self) -> Stop {
        self.told_one(|_| true).await
    }

    /// Waits until the run is not this node's any more.
    pub(super) async fn abandoned(&self) {
        self.told_one(|stop| stop == Stop::Abandon).await;
    }

    async fn told_one(&self, is_it: fn(Stop) -> bool) -> Stop {
        loop {
            // Asked for first: what is told from here on is not missed.
            let news = self.0.news.notified();
            if let Some(stop) = self.told().filter(|&stop| is_it(stop)) {
                return stop;
            }
            news.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::{Stop, StopSignal};

    #[test]
    fn what_outranks_what_was_told_takes_its_place() {
        use Stop::{Abandon, Cancel, HandBack};
        let cases = [
            (vec![], None),
            (vec![HandBack, HandBack], Some(HandBack)),
            (vec![HandBack, Cancel, HandBack], Some(Cancel)),
            (vec![Cancel, HandBack], Some(Cancel)),
            (vec![Cancel, Abandon, Cancel], Some(Abandon)),
            (vec![Abandon, HandBack], Some(Abandon)),
        ];
        for (told, expected) in cases {
            let signal = StopSignal::new(None);
            told.iter().for_each(|&stop| signal.tell(stop));
            assert_eq!(signal.told(), expected, "{told:?}");
        }
    }

    #[test]
    fn what_is_told_before_or_while_somebody_waits_is_not_missed() {
        let signal = StopSignal::new(None);
        let (mut stopped, mut abandoned) = (Box::pin(signal.stopped()), Box::pin(signal.abandoned()));
        assert_eq!((stopped.as_mut().now_or_never(), abandoned.as_mut().now_or_never()), (None, None));
        signal.tell(Stop::Cancel);
        assert_eq!((stopped.now_or_never(), abandoned.as_mut().now_or_never()), (Some(Stop::Cancel), None));
        signal.tell(Stop::Abandon);
        assert_eq!((signal.stopped().now_or_never(), abandoned.now_or_never()), (Some(Stop::Abandon), Some(())));
    }
}
