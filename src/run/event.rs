//! What happens in a run, as an append-only log.

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

use super::{Content, FailureKind, Metrics, Requirement, RunId, RunStatus, ToolExecution, Usage};

/// A piece of a text that was joined from several is not made longer than this, in bytes.
pub(crate) const PIECE: usize = 8 * 1024;

/// One entry of a run's event log.
///
/// `seq` counts from 0 without gaps over the whole life of the run, also over several attempts; the terminal event is the
/// last one. An event is seen by nobody before it is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RunEvent {
    /// The run that the event belongs to.
    pub run_id: RunId,
    /// The place of the event in the run's log.
    pub seq: u64,
    /// When the event happened, by the clock of the process that ran the run.
    pub created_at: DateTime<Utc>,
    /// What happened.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// What happened. The names on the wire (`"event": "RunStarted"`) are those of the Python framework
/// [agno](https://docs.agno.com), for all events that it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum RunEventKind {
    /// User code is about to start. A later attempt emits it again: what the attempts before it said is void, except in
    /// model turns and tool calls that the new attempt remembers, which are not said again.
    RunStarted {
        /// Which taking-up of the run this is.
        attempt: u32,
    },
    /// A turn of the model was asked for.
    ModelRequestStarted {
        /// The model's id, as the provider knows it.
        model: String,
        /// Who provides the model.
        model_provider: String,
    },
    /// A piece of the run's content; the pieces of an attempt, one after the other, are its text.
    RunContent {
        /// The piece.
        content: Content,
    },
    /// A piece of what the model says about its reasoning; it is no part of the run's content.
    ReasoningContentDelta {
        /// The piece, a text.
        reasoning_content: Content,
    },
    /// A turn of the model ended.
    ModelRequestCompleted {
        /// The model's id, as the provider knows it.
        model: String,
        /// Who provides the model.
        model_provider: String,
        /// The tokens of this turn.
        #[serde(flatten)]
        usage: Usage,
        /// Seconds from the request to the first piece of its answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_to_first_token: Option<f64>,
    },
    /// A tool that the model has called is about to be executed.
    ToolCallStarted {
        /// The call.
        tool: ToolExecution,
    },
    /// A tool returned, and its result is remembered.
    ToolCallCompleted {
        /// The call, with its result.
        tool: ToolExecution,
    },
    /// A call failed for good: there is no such tool, its arguments are wrong, or the tool returned an error or took too long.
    /// The model is told, and the run goes on.
    ToolCallError {
        /// The call.
        tool: ToolExecution,
        /// What the model is told, a text.
        error: Content,
    },
    /// An attempt failed, and another one follows. What it said is void, but for what that one remembers of it.
    RunRetrying {
        /// The attempt that failed.
        attempt: u32,
        /// The kind of its failure.
        error_type: FailureKind,
        /// What went wrong, for people.
        content: String,
        /// Seconds until the run may be taken up again.
        delay: f64,
    },
    /// The run waits for people: it is `PAUSED`, and nothing of it is running any more.
    RunPaused {
        /// What they have to decide.
        requirements: Vec<Requirement>,
    },
    /// Somebody has decided, and the run waits to be taken up again.
    RunContinued {},
    /// Whatever the agent's own code wants its followers to know.
    CustomEvent {
        /// What the agent calls it.
        name: String,
        /// What the agent says about it.
        data: Content,
    },
    /// Terminal: the run completed. Its content is in the run, not repeated here.
    RunCompleted {
        /// What the run cost.
        metrics: Metrics,
    },
    /// Terminal: the run was cancelled. Its partial content is in the run.
    RunCancelled {
        /// Why.
        reason: String,
    },
    /// Terminal: the run failed.
    RunError {
        /// The kind of the failure.
        error_type: FailureKind,
        /// What went wrong, for people.
        content: String,
    },
}

impl RunEventKind {
    /// The terminal status that commits together with this event, if it is a terminal one.
    #[must_use]
    pub const fn settles_as(&self) -> Option<RunStatus> {
        match self {
            Self::RunCompleted { .. } => Some(RunStatus::Completed),
            Self::RunCancelled { .. } => Some(RunStatus::Cancelled),
            Self::RunError { .. } => Some(RunStatus::Error),
            Self::RunStarted { .. }
            | Self::RunRetrying { .. }
            | Self::RunPaused { .. }
            | Self::RunContinued {}
            | Self::ModelRequestStarted { .. }
            | Self::RunContent { .. }
            | Self::ReasoningContentDelta { .. }
            | Self::ModelRequestCompleted { .. }
            | Self::ToolCallStarted { .. }
            | Self::ToolCallCompleted { .. }
            | Self::ToolCallError { .. }
            | Self::CustomEvent { .. } => None,
        }
    }
}

impl RunEventKind {
    /// About how many bytes the event brings along.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::RunContent { content } | Self::ReasoningContentDelta { reasoning_content: content } => content.size(),
            Self::CustomEvent { name, data } => name.len() + data.size(),
            Self::ToolCallStarted { tool } | Self::ToolCallCompleted { tool } => tool.weight(),
            // The error is the result as well.
            Self::ToolCallError { tool, error } => tool.weight() + error.size(),
            Self::RunPaused { requirements } => requirements.iter().map(Requirement::weight).sum(),
            Self::RunRetrying { content, .. } | Self::RunError { content, .. } => content.len(),
            Self::RunStarted { .. }
            | Self::RunContinued {}
            | Self::ModelRequestStarted { .. }
            | Self::ModelRequestCompleted { .. }
            | Self::RunCompleted { .. }
            | Self::RunCancelled { .. } => 0,
        }
    }

    /// Goes on with the next piece of the same text, unless both together are longer than a [`PIECE`].
    pub(crate) fn go_on_with(&mut self, next: &Self) -> bool {
        let ((Self::RunContent { content: before }, Self::RunContent { content: next })
        | (
            Self::ReasoningContentDelta { reasoning_content: before },
            Self::ReasoningContentDelta { reasoning_content: next },
        )) = (self, next)
        else {
            return false;
        };
        let both = before.as_text().zip(next.as_text());
        let fits = both.is_some_and(|(before, next)| before.len() + next.len() <= PIECE);
        if fits {
            before.push_str(next.as_text().unwrap_or_default());
        }
        fits
    }
}

impl RunEvent {
    pub(crate) fn new(run_id: RunId, seq: u64, kind: RunEventKind) -> Self {
        // What the stores keep is microseconds: an event must read the same before and after it was stored.
        Self { run_id, seq, created_at: Utc::now().trunc_subsecs(6), kind }
    }

    /// Whether this is the last event of its run.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.kind.settles_as().is_some()
    }
}
