//! How an agent is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::with_model::WithModel;
use super::{Agent, AgentError, InvalidAgent, Model, RetryPolicy, RunContext, Work};
use crate::run::{
    Content, CrashPolicy, InvalidRun, SessionPolicy, WebhookUrl, check_limits, check_name, check_timeout,
};

/// An agent in the making. It needs either a [model](AgentBuilder::model) or [code](AgentBuilder::code).
///
/// ```
/// use greenroom::{Agent, ScriptedModel, ScriptedTurn};
///
/// let agent = Agent::builder("BackgroundAgent")
///     .model(ScriptedModel::new([ScriptedTurn::text("Paris.")]))
///     .description("An agent that runs in the background")
///     .build()?;
/// assert_eq!(agent.name(), "BackgroundAgent");
/// # Ok::<(), greenroom::InvalidAgent>(())
/// ```
#[must_use = "an agent does nothing until it is built and given to a runtime"]
pub struct AgentBuilder {
    name: String,
    description: Option<String>,
    pub(super) with_model: WithModel,
    model: Option<Arc<dyn Model>>,
    code: Option<Arc<dyn Work>>,
    crash_policy: Option<CrashPolicy>,
    max_attempts: u32,
    timeout: Option<Duration>,
    history: usize,
    history_tokens: Option<u64>,
    max_running: Option<usize>,
    max_running_everywhere: Option<usize>,
    sessions: SessionPolicy,
    queue_timeout: Option<Duration>,
    pause_timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    traces_contents: bool,
    #[cfg(feature = "webhooks")]
    webhook: Option<String>,
}

impl AgentBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            description: None,
            with_model: WithModel::default(),
            model: None,
            code: None,
            crash_policy: None,
            max_attempts: 3,
            timeout: None,
            history: 0,
            history_tokens: None,
            max_running: None,
            max_running_everywhere: None,
            sessions: SessionPolicy::Concurrent,
            queue_timeout: None,
            pause_timeout: None,
            retry: None,
            traces_contents: false,
            #[cfg(feature = "webhooks")]
            webhook: None,
        }
    }

    /// The model that answers. A run is one turn of it, or as many as it takes when there are [tools](Self::tool). Each turn is a
    /// [step](RunContext::step), `model turn`.
    ///
    /// A deploy may put another model, another description and other instructions in the place of these: runs that are under way
    /// keep the turns that they remember, and the new model is asked for those that follow.
    pub fn model(mut self, model: impl Model) -> Self {
        self.model = Some(Arc::new(model));
        self
    }

    /// The agent's own async code, instead of a model.
    ///
    /// It is driven by threads that the runtime keeps for user code, so it may be as slow as it likes; code that blocks a
    /// thread belongs into [`tokio::task::spawn_blocking`]. When the run is cancelled, the future is dropped at its next
    /// `await`, unless it has asked for [`RunContext::cancelled`]: then it is given the runtime's cancel grace to return.
    ///
    /// ```
    /// use greenroom::{Agent, AgentError, RunContext};
    ///
    /// let agent = Agent::builder("shout").code(|cx: RunContext| async move {
    ///     let text = cx.input().as_text().ok_or_else(|| AgentError::new("expected a text"))?;
    ///     cx.emit_text("shouting: ").await;
    ///     Ok(text.to_uppercase())
    /// });
    /// # agent.build().unwrap();
    /// ```
    pub fn code<F, Fut, T>(mut self, code: F) -> Self
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, AgentError>> + Send + 'static,
        T: Serialize,
    {
        self.code = Some(Arc::new(Code(code)));
        self
    }

    /// What the agent is; a model is told so before anything else.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// How many earlier runs of the session the agent gets to see, the latest completed ones of the same user; 0 when left
    /// out, at most 100. Those of all agents are among them, children are not. Each attempt looks anew; turns of the model that it
    /// remembers stay as they are.
    ///
    /// A model is told of each what was asked, which tools were called and what came of it, and what was answered. A call is told
    /// together with its output, or not at all: not when the agent does not have the tool. What the model said before
    /// it called tools, and what people have filled in, is not told. Outputs of more than 64 KiB are not kept.
    pub const fn history(mut self, runs: usize) -> Self {
        self.history = runs;
        self
    }

    /// How many tokens the [history](Self::history) may have together; no limit when left out. The latest runs that fit are
    /// kept, each with its question, its tool calls and its answer or not at all.
    ///
    /// It is an estimate, which takes 4 bytes of text for a token: about right for English, too many for most other scripts.
    pub const fn history_tokens(mut self, tokens: u64) -> Self {
        self.history_tokens = Some(tokens);
        self
    }

    /// What happens to a started run whose process died, or was shut down before the run had ended; when left out,
    /// [`CrashPolicy::Resume`] for an agent with a model and [`CrashPolicy::Fail`] for one with code.
    pub const fn on_crash(mut self, policy: CrashPolicy) -> Self {
        self.crash_policy = Some(policy);
        self
    }

    /// How many times user code may be started for one run, 1 to 1,000; 3 when left out. A run can say otherwise.
    ///
    /// It bounds starts. One that was handed back at a shutdown, or that ended in a pause, does not count, so
    /// [`RunContext::attempt`], which counts how often the run was taken up, may be higher.
    pub const fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// How long an attempt may run before the run settles as `ERROR`, 1 ms to 366 days; no limit when left out. A run can say
    /// otherwise.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long a run may wait to be started for the first time before it settles as `ERROR`, 1 ms to 366 days; for ever when left
    /// out. A run can say otherwise; see [`NewRun::queue_timeout`](crate::NewRun::queue_timeout).
    pub const fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.queue_timeout = Some(timeout);
        self
    }

    /// How long a `PAUSED` run may wait for [people to decide](RunContext::confirm) before it settles as `ERROR`, each time it
    /// pauses, 1 ms to 366 days; for ever when left out.
    pub const fn pause_timeout(mut self, timeout: Duration) -> Self {
        self.pause_timeout = Some(timeout);
        self
    }

    /// Tries a run again whose code, or whose model, has failed in a way that may pass, as long as it has
    /// [attempts](Self::max_attempts) left; when left out, the run settles as `ERROR` at once.
    ///
    /// An [`AgentError`] may pass unless it was made [permanent](AgentError::permanent), a
    /// [`ModelError`](crate::model::ModelError) when its [kind](crate::model::ModelErrorKind::is_retryable) may. A panic, a
    /// timeout and a content that is too large are final.
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// How many runs of the agent are live at the same time in each process, at least 1; as many as the
    /// [runtime](crate::RuntimeBuilder::max_running) has room for when left out. More of them wait, and are in nobody else's
    /// way.
    pub const fn max_running(mut self, runs: usize) -> Self {
        self.max_running = Some(runs);
        self
    }

    /// How many runs of the agent are live at the same time in all processes on one database together, at least 1; any number
    /// when left out. For what has a limit of its own behind it, such as the requests that a provider allows.
    ///
    /// It is that of the process that takes a run up, and best the same in all of them. Runs of such an agent are taken up by
    /// one process after the other, each from a queue in the database, so their first event comes a statement or two later
    /// than others'. What a process that has died was running counts until it is taken over.
    pub const fn max_running_everywhere(mut self, runs: usize) -> Self {
        self.max_running_everywhere = Some(runs);
        self
    }

    /// What happens to a run while another one of its session, of the same agent and user, has not settled;
    /// [`SessionPolicy::Concurrent`] when left out. It is that of the run's submit, and best the same in all processes.
    pub const fn sessions(mut self, policy: SessionPolicy) -> Self {
        self.sessions = policy;
        self
    }

    /// A URL that is told when a run of the agent settles or waits for people, unless the run
    /// [says another one](crate::NewRun::webhook); nobody is told when left out. The runtime has to have
    /// [`RuntimeBuilder::webhooks`](crate::RuntimeBuilder::webhooks).
    #[cfg(feature = "webhooks")]
    pub fn webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook = Some(url.into());
        self
    }

    /// Whether the agent's spans hold what its model is asked and says, and what its tools are given and return; not when left
    /// out. Whoever may read the traces may then read that.
    #[cfg(feature = "otel")]
    pub const fn trace_contents(mut self, contents: bool) -> Self {
        self.traces_contents = contents;
        self
    }

    fn check(&self) -> Result<(), InvalidRun> {
        check_name("name", &self.name)?;
        check_limits(self.timeout, Some(self.max_attempts))?;
        check_timeout("queue_timeout", self.queue_timeout)?;
        check_timeout("pause_timeout", self.pause_timeout)?;
        self.retry.as_ref().map_or(Ok(()), RetryPolicy::check)?;
        if self.history > 100 {
            let problem = format!("must be at most 100, found {}", self.history);
            return Err(InvalidRun { field: "history", problem });
        }
        let most = [("max_running", self.max_running), ("max_running_everywhere", self.max_running_everywhere)];
        match most.into_iter().find(|(_, runs)| *runs == Some(0)) {
            Some((field, _)) => Err(InvalidRun { field, problem: "must be at least 1".to_owned() }),
            None => Ok(()),
        }
    }

    #[cfg(feature = "webhooks")]
    fn webhook_url(&self) -> Result<Option<WebhookUrl>, InvalidRun> {
        self.webhook.as_deref().map(WebhookUrl::parse).transpose()
    }

    #[cfg(not(feature = "webhooks"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "with the feature it is another matter")]
    const fn webhook_url(&self) -> Result<Option<WebhookUrl>, InvalidRun> {
        Ok(None)
    }

    /// Makes the agent.
    ///
    /// # Errors
    ///
    /// When the name is impossible, a limit is out of its range, a tool cannot be one, the agent does not have exactly one of
    /// model and code, or has something that only a model could use and no model.
    pub fn build(self) -> Result<Agent, InvalidAgent> {
        let invalid = |invalid| InvalidAgent::Field { agent: self.name.clone(), invalid };
        self.check().map_err(invalid)?;
        let webhook = self.webhook_url().map_err(invalid)?;
        let by_model = self.model.is_some();
        let work = match (self.model, self.code) {
            (Some(model), None) => {
                Arc::new(self.with_model.work(&self.name, model, self.description.as_deref())?) as Arc<dyn Work>
            }
            (None, Some(code)) => {
                self.with_model.check_unused(&self.name)?;
                code
            }
            (None, None) => return Err(InvalidAgent::Nothing(self.name)),
            (Some(_), Some(_)) => return Err(InvalidAgent::ModelAndCode(self.name)),
        };
        let default_policy = if by_model { CrashPolicy::Resume } else { CrashPolicy::Fail };
        Ok(Agent {
            name: self.name.into(),
            description: self.description,
            crash_policy: self.crash_policy.unwrap_or(default_policy),
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            history: self.history,
            history_tokens: self.history_tokens,
            max_running: self.max_running,
            max_running_everywhere: self.max_running_everywhere,
            sessions: self.sessions,
            queue_timeout: self.queue_timeout,
            pause_timeout: self.pause_timeout,
            retry: self.retry,
            traces_contents: self.traces_contents,
            webhook,
            work,
        })
    }
}

impl fmt::Debug for AgentBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Code<F>(F);

impl<F, Fut, T> Work for Code<F>
where
    F: Fn(RunContext) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, AgentError>> + Send + 'static,
    T: Serialize,
{
    fn run(&self, cx: RunContext) -> BoxFuture<'static, Result<Content, AgentError>> {
        let work = (self.0)(cx);
        Box::pin(async move { Ok(Content::from(serde_json::to_value(work.await?)?)) })
    }
}
