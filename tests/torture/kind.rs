//! The agents of a worker, as far as the checker has to know them. What they do is in `worker/agents.rs`.

use greenroom::CrashPolicy;

/// An agent. A new one has a place in each `match` here, and its code in `worker/agents.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Returns at once.
    Instant,
    /// Says a dozen words with small pauses.
    Streaming,
    /// As `Streaming`, and must not be run twice.
    Careful,
    /// Says a word and fails.
    Failing,
    /// Takes longer than a lease, and has three attempts.
    Long,
    /// Never ends by itself; heeds a cancel, and has a last word.
    Parked,
    /// Sees the earlier runs of its session, and says whose they were.
    Remembering,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Instant, Self::Streaming, Self::Careful, Self::Failing, Self::Long, Self::Parked, Self::Remembering];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Streaming => "streaming",
            Self::Careful => "careful",
            Self::Failing => "failing",
            Self::Long => "long",
            Self::Parked => "parked",
            Self::Remembering => "remembering",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn policy(self) -> CrashPolicy {
        match self {
            Self::Careful => CrashPolicy::Fail,
            Self::Instant | Self::Streaming | Self::Failing | Self::Long | Self::Parked | Self::Remembering => {
                CrashPolicy::Restart
            }
        }
    }

    pub(crate) const fn max_attempts(self) -> u32 {
        match self {
            Self::Long => 3,
            Self::Instant | Self::Streaming | Self::Careful | Self::Failing | Self::Parked | Self::Remembering => 100,
        }
    }

    /// Whether its code ever returns a content by itself.
    pub(crate) const fn completes(self) -> bool {
        match self {
            Self::Failing | Self::Parked => false,
            Self::Instant | Self::Streaming | Self::Careful | Self::Long | Self::Remembering => true,
        }
    }
}
