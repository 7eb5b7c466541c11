//! Writes that are held back, and arrive when nobody counts on them any more.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::ReadHalf;
use tokio::sync::{Notify, watch};

use super::frames::{self, Effect, Frames};

/// What became of the late writes by attempts of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// Those of which no run took anything.
    pub(crate) refused: usize,
    /// Those of which some run took something.
    pub(crate) taken: usize,
    /// Those that the server answered with an error: their sessions were over.
    pub(crate) failed: usize,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused, {} taken, {} failed", self.refused, self.taken, self.failed)
    }
}

/// Counts [`Late`].
#[derive(Default)]
pub(super) struct Tally {
    refused: AtomicUsize,
    taken: AtomicUsize,
    failed: AtomicUsize,
}

impl Tally {
    pub(super) fn read(&self) -> Late {
        let number = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        Late { refused: number(&self.refused), taken: number(&self.taken), failed: number(&self.failed) }
    }

    fn count(&self, rows: Option<u64>) {
        let of = match rows {
            Some(0) => &self.refused,
            Some(_) => &self.taken,
            None => &self.failed,
        };
        of.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long the server may take to answer what came late, when nobody waits for that any more.
const TIME_TO_ANSWER: Duration = Duration::from_secs(3);

/// The most that is kept of one connection.
const MOST: usize = 16 * 1024 * 1024;

/// A connection over which something comes late.
#[derive(Default)]
pub(super) struct Line {
    /// A late write has not been answered yet.
    awaits: AtomicBool,
    is_an_advance: AtomicBool,
    client_is_gone: AtomicBool,
    answered: Notify,
}

impl Line {
    /// A late write is about to be sent.
    pub(super) fn expect(&self, sent: Effect, is_client_there: bool) {
        self.is_an_advance.store(sent == Effect::Advances, Ordering::Relaxed);
        self.client_is_gone.store(!is_client_there, Ordering::Relaxed);
        self.awaits.store(true, Ordering::Relaxed);
    }

    pub(super) async fn answered(&self) {
        tokio::time::timeout(TIME_TO_ANSWER, self.answered.notified()).await.unwrap_or_default();
    }

    /// Hears what the server says. Whether somebody else wants to hear it as well.
    pub(super) fn hear(&self, bytes: &[u8], tally: &Tally) -> bool {
        if self.awaits.load(Ordering::Relaxed) && frames::ends_ready(bytes) {
            self.awaits.store(false, Ordering::Relaxed);
            if self.is_an_advance.load(Ordering::Relaxed) {
                tally.count(frames::rows(bytes));
            }
            self.answered.notify_one();
        }
        !self.client_is_gone.load(Ordering::Relaxed)
    }
}

/// What was held back of a connection.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    pub(super) is_client_there: bool,
}

/// Keeps what the client sends until it may go on, also when the client is gone by then.
pub(super) async fn hold(
    from: &mut ReadHalf<'_>,
    first: &[u8],
    frames: &mut Frames,
    holds: &watch::Sender<bool>,
) -> Held {
    let mut held = Held { bytes: first.to_vec(), is_client_there: true };
    let mut holds = holds.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            _ = holds.wait_for(|holds| !holds) => return held,
            read = from.read(&mut buffer), if held.is_client_there && held.bytes.len() < MOST => match read {
                Ok(read) if read > 0 => {
                    frames.feed(&buffer[..read]);
                    held.bytes.extend_from_slice(&buffer[..read]);
                }
                _ => held.is_client_there = false,
            },
        }
    }
}
