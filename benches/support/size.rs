//! How much a bench does: enough to tell something, or just so much that it is known not to have rotted.

use std::env;
use std::time::Duration;

/// How long and how often is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    /// Nobody reads the figures.
    pub(crate) quick: bool,
}

impl Size {
    /// The full size when run by `cargo bench`; one round of a second when run in any other way, or with
    /// `GREENROOM_BENCH=quick`.
    pub(crate) fn asked_for() -> Self {
        let quick = !env::args().any(|argument| argument == "--bench")
            || env::var("GREENROOM_BENCH").is_ok_and(|size| size == "quick");
        if quick {
            Self { rounds: 1, round: Duration::from_secs(1), quick }
        } else {
            Self { rounds: 5, round: Duration::from_secs(5), quick }
        }
    }
}
