//! How much a bench does: enough to tell something, or just so much that it is known not to have rotted.

use std::env;
use std::time::Duration;

/// How long and how often is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    /// How long the same goes on before it is measured.
    pub(crate) warm_up: Duration,
    /// Nobody reads the figures.
    pub(crate) quick: bool,
}

impl Size {
    /// The full size when run by `cargo bench`; a moment of each when run in any other way, or with
    /// `GREENROOM_BENCH=quick`.
    pub(crate) fn asked_for() -> Self {
        let quick = !env::args().any(|argument| argument == "--bench")
            || env::var("GREENROOM_BENCH").is_ok_and(|size| size == "quick");
        if quick {
            let moment = Duration::from_millis(300);
            Self { rounds: 1, round: moment, warm_up: Duration::from_millis(100), quick }
        } else {
            Self { rounds: 3, round: Duration::from_secs(4), warm_up: Duration::from_millis(1500), quick }
        }
    }

    /// `full`, or `little` when nobody reads the figures.
    pub(crate) fn pick<T>(self, full: T, little: T) -> T {
        if self.quick { little } else { full }
    }
}
