//! Hints between the processes on one database, over `LISTEN` and `NOTIFY`.
//!
//! A notify makes its transaction wait for all others that notify, so none is ever sent along with a run's own writes: hints
//! are collected, and go out after the commits that they speak of, over the connection of the [`listener`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use self::outbox::Outbox;
use self::payload::Message;
use crate::store::hints::{Hint, Hints, Named};
use crate::telemetry;

pub(super) use self::listener::Listener;

mod listener;
mod outbox;
mod payload;
#[cfg(test)]
mod tests;

/// A process says at least so often that it is there, and thereby finds out whether it hears at all.
const CHECK: Duration = Duration::from_secs(4);

/// Who has not been heard for so long is not there any more.
const PRESENCE: Duration = Duration::from_secs(15);

/// How long a store that is being closed waits for its last hints to be sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// What this process has to tell, and what it has heard.
pub(super) struct Switchboard {
    /// Tells this process's own messages from those of others.
    me: Uuid,
    /// How many messages this process has sent.
    said: AtomicU64,
    outbox: Outbox,
    inbox: Mutex<Hints>,
    arrived: Notify,
    origin: Instant,
    /// When another process was last heard, in milliseconds after `origin`; 0 for never.
    others_heard: AtomicU64,
    listening: watch::Sender<bool>,
}

impl Switchboard {
    pub(super) fn new() -> Self {
        Self {
            me: Uuid::new_v4(),
            said: AtomicU64::new(0),
            outbox: Outbox::default(),
            inbox: Mutex::default(),
            arrived: Notify::new(),
            origin: Instant::now(),
            others_heard: AtomicU64::new(0),
            listening: watch::Sender::new(false),
        }
    }

    /// Notes what is to be told. A process that is alone has nobody to tell of work and news.
    pub(super) fn hint(&self, hint: Hint) {
        match hint {
            Hint::Cancel(_) => self.outbox.put(hint),
            Hint::Work | Hint::News(_) if self.is_alone() => {}
            Hint::Work | Hint::News(_) => self.outbox.put(hint),
        }
    }

    fn is_alone(&self) -> bool {
        let heard = self.others_heard.load(Ordering::Relaxed);
        heard == 0 || self.origin.elapsed() > Duration::from_millis(heard) + PRESENCE
    }

    /// Waits for what others tell.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    pub(super) async fn next(&self) -> Hints {
        loop {
            let hints = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
            if !hints.is_empty() {
                return hints;
            }
            self.arrived.notified().await;
        }
    }

    fn deliver(&self, hints: Hints) {
        if !hints.is_empty() {
            self.inbox.lock().unwrap_or_else(PoisonError::into_inner).merge(hints);
            self.arrived.notify_one();
        }
    }

    /// Takes in a message. `Some` when it is this process's own, with its number: it hears.
    fn hear(&self, payload: &str) -> Option<u64> {
        let Message { sender, number, hello, hints } = payload.parse().ok()?;
        if sender == self.me {
            return Some(number);
        }
        telemetry::hint_heard();
        let was_alone = self.is_alone();
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.others_heard.store(now.max(1), Ordering::Relaxed);
        if was_alone {
            // What was committed until now was told to nobody.
            self.outbox.put_all(Hints { work: true, news: Named::Any, ..Hints::default() });
        } else if hello {
            self.outbox.speak_up();
        }
        self.deliver(hints);
        None
    }

    /// Sends what is left to be told, and then no more.
    pub(super) async fn close(&self) {
        self.outbox.close();
        // An error says that it took too long.
        tokio::time::timeout(FAREWELL, self.listening.subscribe().wait_for(|listening| !listening)).await.ok();
    }
}
