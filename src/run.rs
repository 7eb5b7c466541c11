//! What a run is: plain data, no I/O.
//!
//! A run is one execution of an agent. It is accepted as `PENDING`, taken up by a process, and settles exactly once:
//!
//! ```text
//!            ┌────── handed back, tried again, or its process died ────────┐
//!            ▼                                                             │
//! submit ─▶ PENDING ── taken up, and the start is durable ──▶ RUNNING ─────┤
//!            │  ▲                                                │         │
//!            │  │ somebody decides                               │ pause   │
//!            │  │                                                ▼         │
//!            │  └───────────────────────────────────────────── PAUSED      │
//!            ▼                                                   ▼         ▼
//!        CANCELLED · ERROR                 CANCELLED · ERROR     COMPLETED · CANCELLED · ERROR
//! ```
//!
//! The legal transitions are one table, [`RunStatus::can_become`]; the guards in SQL derive from it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::content::Content;
pub use self::crash_policy::CrashPolicy;
pub(crate) use self::error_chain::error_chain;
pub(crate) use self::event::PIECE;
pub use self::event::{RunEvent, RunEventKind};
pub use self::exchange::Exchange;
pub(crate) use self::exchange::latest_within;
pub use self::id::{InvalidRunId, RunId, SessionId, UserId};
pub use self::new_run::{InvalidRun, NewRun};
pub(crate) use self::new_run::{check_limits, check_name, check_timeout};
pub use self::output::{FailureKind, Metrics, RunFailure, RunOutput, Usage};
pub use self::requirement::{Confirmation, Decision, InputField, InputKind, Question, Requirement, RequirementKind};
pub(crate) use self::requirement::{InvalidDecisions, OpenRequirement, decide};
pub use self::session_policy::SessionPolicy;
pub(crate) use self::session_policy::Turn;
pub use self::session_state::SessionState;
pub use self::status::{RunStatus, UnknownStatus};
pub use self::step::StepKey;
pub(crate) use self::step::StepRecord;
pub use self::tool::{ToolExecution, ToolMetrics};
pub use self::trace_parent::TraceParent;
pub(crate) use self::webhook::WebhookUrl;

mod content;
mod crash_policy;
mod error_chain;
mod event;
mod exchange;
pub(crate) mod fingerprint;
mod id;
mod new_run;
mod output;
mod requirement;
mod session_policy;
mod session_state;
mod status;
mod step;
pub(crate) mod text;
mod tool;
mod trace_parent;
mod webhook;

/// The metadata that a caller attaches to a run: a JSON object, stored and returned as it is.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// A run as the store knows it: what was asked for, and what has come of it.
///
/// `Debug` shows neither the input nor the content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// What has come of the run so far.
    #[serde(flatten)]
    pub output: RunOutput,
    /// What the agent was asked.
    pub input: Content,
    /// The caller's own notes on the run.
    pub metadata: Metadata,
    /// The run whose steps this one goes on from, when it [resumes a failed one](crate::Runtime::resume_failed); the first of
    /// them, when that one had resumed another. The keys of the steps are made from its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<RunId>,
    /// The caller's key under which the run was submitted once, when the caller brought one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How many runs were above this one when it was submitted: 0 unless it is the child of another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u16,
    /// The trace that the run is part of, see [`NewRun::traceparent`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// Among the runs that wait for room, a higher priority starts first; 0 unless the caller says otherwise.
    pub priority: i16,
    /// The run does not start before this time; the time of its submit unless the caller says otherwise. A run that is tried
    /// again waits until a new one.
    pub run_at: DateTime<Utc>,
    /// How long one attempt may run before the run settles as `ERROR`; `None` is no limit.
    #[serde(with = "seconds", default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The run settles as `ERROR` when it was not started by this time, or, while it is `PAUSED`, not continued; `None` when it
    /// may wait for ever, or need not wait any more because it was started once and waits again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by: Option<DateTime<Utc>>,
    /// User code is started at most this many times for this run.
    pub max_attempts: u32,
    /// How many times user code was started for this run so far, attempts that were handed back not counted.
    pub starts: u32,
    /// How many times the run was taken up by a process so far; the fencing token on every write. Those that were handed back or
    /// paused count here, and not among the `starts`.
    pub attempt: u32,
}

const fn is_zero(depth: &u16) -> bool {
    *depth == 0
}

/// Durations on the wire are seconds, as a number.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde's `with` hands out a reference to the field")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        value.map(|duration| duration.as_secs_f64()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom))
            .transpose()
    }
}
