//! What goes over the wire: the bodies of requests and responses.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::parameters::Include;
use crate::run::{
    Content, Metadata, Metrics, Requirement, Run, RunFailure, RunId, RunStatus, SessionId, ToolExecution, TraceParent,
    UserId,
};
use crate::runtime::{CancelOutcome, Cursor, Page, RunCounts};

/// A run to be submitted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = NewRun))]
pub(super) struct SubmitBody {
    /// What the agent is asked. A model is shown images and files when it is an array of parts, each of them
    /// `{"type": "text", "text": …}`, `{"type": "image", "url": …}` or `{"type": "file", "url": …}`.
    pub(super) input: Content,
    /// The conversation that the run is part of; a new one when left out.
    pub(super) session_id: Option<SessionId>,
    /// An id of the caller's own, which makes the submit one that can be repeated.
    pub(super) run_id: Option<RunId>,
    /// Whom the run belongs to.
    pub(super) user_id: Option<UserId>,
    /// The caller's own notes on the run.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub(super) metadata: Option<Metadata>,
    /// Among the runs that wait for room, a higher priority starts first.
    #[cfg_attr(feature = "openapi", schema(minimum = -32768, maximum = 32767))]
    pub(super) priority: Option<i16>,
    /// The run does not start before this time, which is at most 366 days from now.
    pub(super) run_at: Option<DateTime<Utc>>,
    /// How long one attempt may run, in seconds.
    #[cfg_attr(feature = "openapi", schema(minimum = 0.001, maximum = 31_622_400))]
    pub(super) timeout: Option<f64>,
    /// A URL that is told when the run settles or waits for people, by `http` or `https`; at most 2,048 bytes.
    #[cfg(feature = "webhooks")]
    #[cfg_attr(feature = "openapi", schema(format = "uri", max_length = 2048))]
    pub(super) webhook: Option<String>,
}

/// Nothing can be said about a cancel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Cancel))]
pub(super) struct CancelBody {}

/// A run.
// The fields are those of `Run`, so that it can be read as one.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Run))]
pub(super) struct RunBody {
    run_id: RunId,
    session_id: SessionId,
    agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    user_id: Option<UserId>,
    /// The run that has submitted this one as its child; left out when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    parent_run_id: Option<RunId>,
    status: RunStatus,
    /// Left out of lists that do not include it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    input: Option<Content>,
    /// Left out until the run settles or pauses, and of lists that do not include it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    content: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    error: Option<RunFailure>,
    /// The tool calls that the run has made; left out when there are none, and where the content is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    tools: Vec<ToolExecution>,
    /// What people have to decide before a paused run goes on; left out when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    requirements: Vec<Requirement>,
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    metadata: Metadata,
    /// The run whose steps this one goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    origin: Option<RunId>,
    /// The trace that the run is part of, by W3C Trace Context.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    traceparent: Option<TraceParent>,
    metrics: Metrics,
    priority: i16,
    run_at: DateTime<Utc>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    timeout: Option<f64>,
    max_attempts: u32,
    attempt: u32,
    starts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    start_by: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    started_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    paused_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    settled_at: Option<DateTime<Utc>>,
}

impl From<Run> for RunBody {
    fn from(run: Run) -> Self {
        let Run {
            output,
            input,
            metadata,
            origin,
            traceparent,
            priority,
            run_at,
            start_by,
            timeout,
            max_attempts,
            attempt,
            starts,
            ..
        } = run;
        Self {
            run_id: output.run_id,
            session_id: output.session_id,
            agent: output.agent,
            user_id: output.user_id,
            parent_run_id: output.parent_run_id,
            status: output.status,
            input: Some(input),
            content: output.content,
            error: output.error,
            tools: output.tools,
            requirements: output.requirements,
            metadata,
            origin,
            traceparent,
            metrics: output.metrics,
            priority,
            run_at,
            timeout: timeout.map(|timeout| timeout.as_secs_f64()),
            max_attempts,
            attempt,
            starts,
            start_by,
            created_at: output.created_at,
            started_at: output.started_at,
            paused_at: output.paused_at,
            settled_at: output.settled_at,
        }
    }
}

/// A page of runs.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RunPage))]
pub(super) struct PageBody {
    runs: Vec<RunBody>,
    /// Where the next page starts; left out when this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    next: Option<Cursor>,
}

impl PageBody {
    pub(super) fn new(page: Page, include: Include) -> Self {
        let mut runs: Vec<RunBody> = page.runs.into_iter().map(RunBody::from).collect();
        for run in &mut runs {
            run.input = run.input.take().filter(|_| include.input);
            if !include.content {
                run.content = None;
                run.tools.clear();
            }
        }
        Self { runs, next: page.next }
    }
}

/// How many runs there are.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Counts))]
pub(super) struct CountsBody {
    counts: StatusCounts,
}

/// How many runs there are of each status.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
struct StatusCounts {
    pending: usize,
    running: usize,
    paused: usize,
    completed: usize,
    cancelled: usize,
    error: usize,
}

impl From<RunCounts> for CountsBody {
    fn from(counts: RunCounts) -> Self {
        let counts = StatusCounts {
            pending: counts.of(RunStatus::Pending),
            running: counts.of(RunStatus::Running),
            paused: counts.of(RunStatus::Paused),
            completed: counts.of(RunStatus::Completed),
            cancelled: counts.of(RunStatus::Cancelled),
            error: counts.of(RunStatus::Error),
        };
        Self { counts }
    }
}

/// The agents, by name.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Agents))]
pub(super) struct AgentsBody {
    pub(super) agents: Vec<AgentBody>,
}

/// An agent.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Agent))]
pub(super) struct AgentBody {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub(super) description: Option<String>,
}

/// What a cancel has done.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Cancelled))]
pub(super) struct CancelledBody {
    run_id: RunId,
    outcome: OutcomeWord,
    /// The status of the run, where the cancel knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    status: Option<RunStatus>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = CancelOutcome))]
enum OutcomeWord {
    Cancelled,
    Requested,
    AlreadySettled,
    IntentStored,
}

impl CancelledBody {
    pub(super) const fn new(run_id: RunId, outcome: CancelOutcome) -> Self {
        let (outcome, status) = match outcome {
            CancelOutcome::Cancelled => (OutcomeWord::Cancelled, Some(RunStatus::Cancelled)),
            CancelOutcome::Requested => (OutcomeWord::Requested, None),
            CancelOutcome::AlreadySettled(status) => (OutcomeWord::AlreadySettled, Some(status)),
            CancelOutcome::IntentStored => (OutcomeWord::IntentStored, None),
        };
        Self { run_id, outcome, status }
    }
}

/// That all is well.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Health))]
pub(super) struct HealthBody {
    pub(super) status: &'static str,
}

/// A refusal.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Problem))]
pub(super) struct ProblemBody {
    pub(super) r#type: String,
    pub(super) title: String,
    pub(super) status: u16,
    pub(super) detail: String,
    /// The field of the body that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub(super) field: Option<String>,
    /// The part of the path, the query parameter or the header that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub(super) parameter: Option<String>,
    /// The agent that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub(super) agent: Option<String>,
    /// The run that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub(super) run_id: Option<RunId>,
}
