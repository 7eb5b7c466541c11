//! The agents of a worker, as far as the checker has to know them. What they do is in `worker/agents.rs`.

use greenroom::{CrashPolicy, SessionPolicy};
use serde_json::Value;

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
    /// Has several steps, and resumes.
    Steps,
    /// Asks a model, and says what that says. Its policy is the one that is left out.
    Model,
    /// Has its session to itself; later runs wait.
    Ordered,
    /// Has its session to itself; later runs are refused.
    Refusing,
    /// Fails a few times, and is tried again.
    Retrying,
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Instant,
        Self::Streaming,
        Self::Careful,
        Self::Failing,
        Self::Long,
        Self::Parked,
        Self::Remembering,
        Self::Steps,
        Self::Model,
        Self::Ordered,
        Self::Refusing,
        Self::Retrying,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Streaming => "streaming",
            Self::Careful => "careful",
            Self::Failing => "failing",
            Self::Long => "long",
            Self::Parked => "parked",
            Self::Remembering => "remembering",
            Self::Steps => "steps",
            Self::Model => "model",
            Self::Ordered => "ordered",
            Self::Refusing => "refusing",
            Self::Retrying => "retrying",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn policy(self) -> CrashPolicy {
        match self {
            Self::Careful => CrashPolicy::Fail,
            Self::Steps | Self::Model => CrashPolicy::Resume,
            Self::Instant
            | Self::Streaming
            | Self::Failing
            | Self::Long
            | Self::Parked
            | Self::Remembering
            | Self::Ordered
            | Self::Refusing
            | Self::Retrying => CrashPolicy::Restart,
        }
    }

    pub(crate) const fn max_attempts(self) -> u32 {
        match self {
            Self::Long => 3,
            Self::Retrying => 5,
            Self::Instant
            | Self::Streaming
            | Self::Careful
            | Self::Failing
            | Self::Parked
            | Self::Remembering
            | Self::Steps
            | Self::Model
            | Self::Ordered
            | Self::Refusing => 100,
        }
    }

    /// Whether its code ever returns a content by itself.
    pub(crate) const fn completes(self) -> bool {
        match self {
            Self::Failing | Self::Parked => false,
            Self::Instant
            | Self::Streaming
            | Self::Careful
            | Self::Long
            | Self::Remembering
            | Self::Steps
            | Self::Model
            | Self::Ordered
            | Self::Refusing
            | Self::Retrying => true,
        }
    }

    /// Whether runs of one session may be at work beside each other.
    pub(crate) const fn sessions(self) -> SessionPolicy {
        match self {
            Self::Ordered => SessionPolicy::InOrder,
            Self::Refusing => SessionPolicy::Refuse,
            Self::Instant
            | Self::Streaming
            | Self::Careful
            | Self::Failing
            | Self::Long
            | Self::Parked
            | Self::Remembering
            | Self::Steps
            | Self::Model
            | Self::Retrying => SessionPolicy::Concurrent,
        }
    }

    /// Whether this attempt of a run with this input fails.
    pub(crate) fn fails(self, input: &Value, attempt: u32) -> bool {
        match self {
            Self::Failing => true,
            // Some runs never, and some in each of their attempts.
            Self::Retrying => u64::from(attempt) <= input["tag"].as_u64().unwrap_or_default() % 7,
            Self::Instant
            | Self::Streaming
            | Self::Careful
            | Self::Long
            | Self::Parked
            | Self::Remembering
            | Self::Steps
            | Self::Model
            | Self::Ordered
            | Self::Refusing => false,
        }
    }
}
