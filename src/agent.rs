//! What a run executes: a model with a description, or the user's own async code.
//!
//! An agent knows nothing of stores and actors: it gets a [`RunContext`] and returns content or an error.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::run::{Content, CrashPolicy, InvalidRun, SessionPolicy, StepRecord, WebhookUrl};

#[cfg(feature = "anthropic")]
pub use self::anthropic::AnthropicMessages;
pub use self::builder::AgentBuilder;
pub use self::context::RunContext;
pub use self::error::AgentError;
pub use self::fallback::FallbackModel;
#[cfg(feature = "genai")]
pub use self::genai::GenaiModel;
#[cfg(feature = "mcp")]
pub use self::mcp::{McpError, McpServer};
pub use self::message::{Message, ModelRequest, OutputSpec, Role, ToolCall, ToolChoice, ToolSpec};
pub use self::model::{Model, ModelError, ModelErrorKind, ModelEvent, ModelTurn};
#[cfg(feature = "openai")]
pub use self::openai::OpenAIResponses;
#[cfg(feature = "openai")]
pub use self::openai_chat::OpenAIChat;
pub use self::retry_policy::RetryPolicy;
pub use self::scripted::{ScriptedModel, ScriptedTurn};
pub use self::tool::{Tool, ToolContext};

#[cfg(feature = "anthropic")]
mod anthropic;
mod builder;
mod children;
mod context;
mod error;
mod fallback;
#[cfg(any(feature = "openai", feature = "anthropic", feature = "genai"))]
mod finish;
#[cfg(feature = "genai")]
mod genai;
#[cfg(any(feature = "openai", feature = "anthropic"))]
mod http;
#[cfg(feature = "mcp")]
mod mcp;
mod memory;
mod message;
mod misread;
mod model;
mod model_work;
mod needs;
mod note;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "openai")]
mod openai_chat;
#[cfg(any(feature = "openai", feature = "anthropic", feature = "genai"))]
mod parts;
mod reports;
mod require;
mod retry_policy;
mod schema;
mod scripted;
mod session_state;
mod step;
mod tool;
mod with_model;

#[cfg(test)]
pub(crate) use self::children::Childless;
pub(crate) use self::children::Offspring;
pub(crate) use self::context::{CancelSignal, Report, RunContextParts};
pub(crate) use self::error::panic_message;
pub(crate) use self::memory::StepMemory;
pub(crate) use self::needs::{Needs, Outcome, work_until_it_waits};
pub(crate) use self::reports::{Reports, reports};
#[cfg(test)]
pub(crate) use self::session_state::Forgetful;
pub(crate) use self::session_state::{NewState, Remembered, SessionMemory};

/// An agent that a runtime can execute; made by [`Agent::builder`].
#[derive(Clone)]
pub struct Agent {
    pub(crate) name: Arc<str>,
    pub(crate) description: Option<String>,
    pub(crate) crash_policy: CrashPolicy,
    pub(crate) max_attempts: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) history: usize,
    /// How many tokens of the history are left, about.
    pub(crate) history_tokens: Option<u64>,
    pub(crate) max_running: Option<usize>,
    pub(crate) max_running_everywhere: Option<usize>,
    pub(crate) sessions: SessionPolicy,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) pause_timeout: Option<Duration>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) webhook: Option<WebhookUrl>,
    /// Whether its spans tell what is said.
    pub(crate) traces_contents: bool,
    pub(crate) work: Arc<dyn Work>,
}

/// What an agent does in a run; the one place where users' types are erased.
pub(crate) trait Work: Send + Sync {
    fn run(&self, cx: RunContext) -> BoxFuture<'static, Result<Content, AgentError>>;

    /// What is to be remembered of a run that fails because of what it was answered, so that who resumes it is answered anew.
    fn voiding(&self, cx: &RunContext) -> Option<StepRecord> {
        let _ = cx;
        None
    }
}

impl Agent {
    /// Starts an agent with this name, 1 to 255 bytes without control characters.
    pub fn builder(name: impl Into<String>) -> AgentBuilder {
        AgentBuilder::new(name.into())
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether runs of the agent may have to wait though the runtime has room for them.
    pub(crate) const fn holds_back(&self) -> bool {
        self.most_here().is_some() || matches!(self.sessions, SessionPolicy::InOrder)
    }

    /// How many runs of the agent may be live in this process, when it says so.
    pub(crate) const fn most_here(&self) -> Option<usize> {
        match (self.max_running, self.max_running_everywhere) {
            (Some(here), Some(everywhere)) if everywhere < here => Some(everywhere),
            (Some(here), _) => Some(here),
            (None, everywhere) => everywhere,
        }
    }

    /// What the agent is, in its maker's words.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("name", &self.name)
            .field("crash_policy", &self.crash_policy)
            .finish_non_exhaustive()
    }
}

/// An agent that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAgent {
    /// A field is out of its range.
    #[error("agent `{}`: {invalid}", agent.escape_debug())]
    Field {
        /// The name of the agent.
        agent: String,
        /// The field, and what is wrong with it.
        #[source]
        invalid: InvalidRun,
    },
    /// There is nothing to execute.
    #[error("agent `{0}` has neither a model nor code; give it one of them")]
    Nothing(String),
    /// There are two things to execute.
    #[error("agent `{0}` has both a model and code; give it one of them")]
    ModelAndCode(String),
    /// There is no model to instruct.
    #[error("agent `{0}` has instructions, but no model that could heed them")]
    InstructionsWithoutModel(String),
    /// There is no model that could call the tools.
    #[error("agent `{0}` has tools, but no model that could call them")]
    ToolsWithoutModel(String),
    /// There is no model that could answer in the form.
    #[error("agent `{0}` has a form for its output, but no model that could answer in it")]
    OutputWithoutModel(String),
    /// There is no model that could heed a setting.
    #[error("agent `{agent}` has `{setting}`, but no model that could heed it")]
    SettingWithoutModel {
        /// The name of the agent.
        agent: String,
        /// The setting, by the name of its method.
        setting: &'static str,
    },
    /// There is no form that an answer could be repaired to.
    #[error("agent `{0}` has `repair_output`, but no form for its output")]
    RepairWithoutOutput(String),
    /// A tool that cannot be one.
    #[error("agent `{agent}`, tool `{tool}`: {problem}")]
    Tool {
        /// The name of the agent.
        agent: String,
        /// The name of the tool.
        tool: String,
        /// What is wrong with it.
        problem: String,
    },
}
