//! Sub-runs of tools.

use std::sync::{Arc, PoisonError};

use super::ToolContext;
use crate::agent::AgentError;
use crate::agent::children::content_of;
use crate::run::{Content, NewRun, RunId, RunOutput, StepKey};

impl ToolContext {
    /// Has another agent do a piece of the work in a run of its own, a child of the tool's run, and waits for what comes of
    /// it; see [`RunContext::sub_run`](crate::RunContext::sub_run).
    ///
    /// ```
    /// use greenroom::schemars::{self, JsonSchema};
    /// use greenroom::{NewRun, Tool, ToolContext};
    ///
    /// #[derive(serde::Deserialize, JsonSchema)]
    /// struct Ask {
    ///     /// What is to be found out.
    ///     question: String,
    /// }
    ///
    /// let research = Tool::new("research", "Asks a colleague.", |cx: ToolContext, ask: Ask| async move {
    ///     cx.sub_run("research", NewRun::new("researcher", ask.question)).await
    /// });
    /// # drop(research);
    /// ```
    ///
    /// It is no step of its own: the call of the tool is the step. The child is known by the call, the `name` and how often the
    /// call has used that name before, so that a call that is made again finds the children that it has submitted. While it
    /// waits for a child, its run counts for nothing among those that are running.
    ///
    /// # Errors
    ///
    /// As [`RunContext::sub_run`](crate::RunContext::sub_run), but for what is said of steps.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the child may have been submitted or not, and goes on.
    pub async fn sub_run(&self, name: &str, run: NewRun) -> Result<Content, AgentError> {
        let child = self.submit_child(name, run).await?;
        content_of(self.wait_for_child(child).await?)
    }

    /// Submits a child and goes on. It is durable when this returns. All else that is said of [`sub_run`](Self::sub_run)
    /// holds for it.
    ///
    /// # Errors
    ///
    /// As [`sub_run`](Self::sub_run).
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the child may have been submitted or not.
    pub async fn submit_child(&self, name: &str, run: NewRun) -> Result<RunId, AgentError> {
        let child = RunId::from(self.next_key(name).as_uuid());
        Arc::clone(self.run.children()).submit(child, run).await?;
        Ok(child)
    }

    /// Waits until a child of the run has settled, and returns what has come of it, however it ended.
    ///
    /// # Errors
    ///
    /// As [`RunContext::wait_for_child`](crate::RunContext::wait_for_child), but for what is said of steps.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, nothing is waited for any more, and the child goes on.
    pub async fn wait_for_child(&self, child: RunId) -> Result<RunOutput, AgentError> {
        Arc::clone(self.run.children()).settled(child).await
    }

    /// The key of the next use of this name by the call.
    pub(super) fn next_key(&self, name: &str) -> StepKey {
        // Nothing in here panics half-way.
        let mut numbers = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.entry(name.to_owned()).or_default();
        *number += 1;
        StepKey::new(RunId::from(self.key.as_uuid()), name, *number)
    }
}
