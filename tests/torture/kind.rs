//! The agents of a worker, as far as the checker has to know them. What they do is in `worker/agents.rs`.

use std::time::Duration;

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
    /// Says a word now and then, for longer than a lease of the storm or as often as its input says, and has three attempts.
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
    /// Asks people twice, between its steps. It restarts, and remembers its steps from its first pause on.
    Asking,
    /// Asks people once, and waits for a short time only. It must not be run twice, unless it was paused.
    Expiring,
    /// Asks a model, which calls tools.
    Tools,
}

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
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
        Self::Asking,
        Self::Expiring,
        Self::Tools,
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
            Self::Asking => "asking",
            Self::Expiring => "expiring",
            Self::Tools => "tools",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn policy(self) -> CrashPolicy {
        match self {
            Self::Careful | Self::Expiring => CrashPolicy::Fail,
            Self::Steps | Self::Model | Self::Tools => CrashPolicy::Resume,
            Self::Instant
            | Self::Streaming
            | Self::Failing
            | Self::Long
            | Self::Parked
            | Self::Remembering
            | Self::Ordered
            | Self::Refusing
            | Self::Retrying
            | Self::Asking => CrashPolicy::Restart,
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
            | Self::Refusing
            | Self::Asking
            | Self::Expiring
            | Self::Tools => 100,
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
            | Self::Retrying
            | Self::Asking
            | Self::Expiring
            | Self::Tools => true,
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
            | Self::Retrying
            | Self::Asking
            | Self::Expiring
            | Self::Tools => SessionPolicy::Concurrent,
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
            | Self::Refusing
            | Self::Asking
            | Self::Expiring
            | Self::Tools => false,
        }
    }

    /// How many times it asks people. Each question is a step, after one with work.
    pub(crate) const fn questions(self) -> u32 {
        match self {
            Self::Asking => 2,
            Self::Expiring => 1,
            Self::Instant
            | Self::Streaming
            | Self::Careful
            | Self::Failing
            | Self::Long
            | Self::Parked
            | Self::Remembering
            | Self::Steps
            | Self::Model
            | Self::Ordered
            | Self::Refusing
            | Self::Retrying
            | Self::Tools => 0,
        }
    }

    /// How long it waits for people.
    pub(crate) const fn pause_timeout(self) -> Option<Duration> {
        if matches!(self, Self::Expiring) { Some(Duration::from_millis(1500)) } else { None }
    }

    /// The steps that are turns of its model, by their positions; without a model it has none.
    pub(crate) const fn turns(self) -> &'static [u32] {
        match self {
            Self::Model => &[0],
            // Two calls in the first one, and then one.
            Self::Tools => &[0, 3, 5],
            Self::Instant
            | Self::Streaming
            | Self::Careful
            | Self::Failing
            | Self::Long
            | Self::Parked
            | Self::Remembering
            | Self::Steps
            | Self::Ordered
            | Self::Refusing
            | Self::Retrying
            | Self::Asking
            | Self::Expiring => &[],
        }
    }

    /// Whether a model speaks for it, which says what it likes.
    pub(crate) const fn is_model(self) -> bool {
        !self.turns().is_empty()
    }
}
