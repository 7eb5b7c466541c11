//! Sub-runs: runs that a run submits as its children, and waits for.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{AgentError, RunContext};
use crate::run::{Content, FailureKind, NewRun, RunId, RunOutput, RunStatus};

/// Brings up the children of a run. What is behind it is no business of an agent.
pub(crate) trait Offspring: Send + Sync {
    /// Submits a child with this id, unless it is there already.
    fn submit(self: Arc<Self>, child: RunId, run: NewRun) -> BoxFuture<'static, Result<(), AgentError>>;

    /// Waits until a child has settled.
    fn settled(self: Arc<Self>, child: RunId) -> BoxFuture<'static, Result<RunOutput, AgentError>>;
}

impl RunContext {
    /// Has another agent do a piece of the work in a run of its own, a *child* of this one, and waits for what comes of it.
    ///
    /// ```
    /// use greenroom::{Agent, CrashPolicy, NewRun, RunContext};
    ///
    /// let editor = Agent::builder("editor").on_crash(CrashPolicy::Resume).code(|cx: RunContext| async move {
    ///     // Both go on at the same time, in whichever process has room.
    ///     let (facts, style) = tokio::join!(
    ///         cx.sub_run("facts", NewRun::new("fact-checker", cx.input().to_string())),
    ///         cx.sub_run("style", NewRun::new("stylist", cx.input().to_string())),
    ///     );
    ///     Ok(format!("{}\n{}", facts?, style?))
    /// });
    /// # editor.build().unwrap();
    /// ```
    ///
    /// Who waits for others for long is likely to see its process replaced meanwhile: with
    /// [`CrashPolicy::Resume`](crate::CrashPolicy::Resume), it goes on waiting elsewhere, and with that of code,
    /// [`Fail`](crate::CrashPolicy::Fail), it does not.
    ///
    /// **A step.** All that is said of the [order of steps](Self::step) holds for it. The child's id is the
    /// [key](crate::StepKey) of the step: however often the work is done again, there is one child, known by its step and not by
    /// what is asked of it. A later attempt finds it where it is by then, and once its end is remembered does not ask again.
    ///
    /// **Whose it is.** A child belongs to the user of its parent, and to the same session unless `run` says otherwise. In the
    /// session of its parent it takes no [turn](crate::SessionPolicy) of its own: it is part of its parent's. It is not
    /// part of the [history](crate::AgentBuilder::history) that later runs get to see. A priority of 0 becomes that of the parent and
    /// one more: what was begun is finished before something new is.
    ///
    /// **Room.** While a run waits for a child, it does not count as one of the
    /// [`max_running`](crate::RuntimeBuilder::max_running) of its process, nor of its agent's there, so that its children find
    /// room even if there is room for one run only. It keeps its place among its agent's
    /// [`max_running_everywhere`](crate::AgentBuilder::max_running_everywhere): an agent with that limit must not wait, in
    /// however many steps, for as many runs of itself. Children may wait in the store where other runs are refused already,
    /// up to twice [`max_waiting`](crate::RuntimeBuilder::max_waiting).
    ///
    /// **Ends.** When the parent ends as `CANCELLED`, so do its children that have not settled, and theirs, in whichever process
    /// they are, those of children that have settled before among them; one that had not been started never is. When the parent
    /// ends in any other way, or is tried again, children that it does not wait for go on. So does the child of a call whose
    /// future is dropped. A run that
    /// [resumes](crate::Runtime::resume_failed) one that has failed takes over its children.
    ///
    /// An attempt submits at most 1,000 children; those of steps that it remembers do not count. A run has at most 16 runs above
    /// it.
    ///
    /// # Errors
    ///
    /// [`AgentError::kind`] is [`FailureKind::ChildFailed`] when the child ends as anything but `COMPLETED`: for good, since its end is
    /// remembered; a child that is to be tried again is one whose agent has [retries](crate::AgentBuilder::retry). It is
    /// [`FailureKind::ChildRefused`] when there can be no such child: a bound is passed, a field of `run` is wrong or not the
    /// caller's to set (`run_id`, `idempotency_key`, another `user_id`), this process does not know the agent, or there is no room. Otherwise as
    /// [`step`](Self::step).
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the child may have been submitted or not.
    pub fn sub_run(&self, name: &str, run: NewRun) -> impl Future<Output = Result<Content, AgentError>> + Send + use<> {
        let children = Arc::clone(self.children());
        let ended = self.step_with_key(name, |key| async move {
            let child = RunId::from(key.as_uuid());
            Arc::clone(&children).submit(child, run).await?;
            children.settled(child).await
        });
        async move { content_of(ended.await?) }
    }

    /// Submits a child and goes on; [`wait_for_child`](Self::wait_for_child) waits for it, if anything does. It is durable
    /// when this returns. All else that is said of [`sub_run`](Self::sub_run) holds for it.
    ///
    /// # Errors
    ///
    /// [`AgentError::kind`] is [`FailureKind::ChildRefused`] as said there. Otherwise as [`step`](Self::step).
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the child may have been submitted or not.
    pub fn submit_child(
        &self,
        name: &str,
        run: NewRun,
    ) -> impl Future<Output = Result<RunId, AgentError>> + Send + use<> {
        let children = Arc::clone(self.children());
        self.step_with_key(name, |key| async move {
            let child = RunId::from(key.as_uuid());
            children.submit(child, run).await?;
            Ok(child)
        })
    }

    /// Waits until a child has settled, as a step, and returns what has come of it, however it ended.
    ///
    /// # Errors
    ///
    /// [`AgentError::kind`] is [`FailureKind::ChildRefused`] when the run is no child of this one, or is not there any more.
    /// Otherwise as [`step`](Self::step).
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, nothing is waited for any more, and the child goes on.
    pub fn wait_for_child(
        &self,
        name: &str,
        child: RunId,
    ) -> impl Future<Output = Result<RunOutput, AgentError>> + Send + use<> {
        let children = Arc::clone(self.children());
        self.step(name, move || children.settled(child))
    }
}

/// What a child has returned.
pub(super) fn content_of(child: RunOutput) -> Result<Content, AgentError> {
    let RunOutput { run_id, agent, status, content, error, .. } = child;
    match (status, content) {
        (RunStatus::Completed, Some(content)) => Ok(content),
        (status, _) => {
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("child {run_id} of agent `{agent}` ended as {status}{why}");
            Err(AgentError::of_kind(FailureKind::ChildFailed, message))
        }
    }
}

/// A run that can have no children.
#[cfg(test)]
pub(crate) struct Childless;

#[cfg(test)]
impl Offspring for Childless {
    fn submit(self: Arc<Self>, _: RunId, _: NewRun) -> BoxFuture<'static, Result<(), AgentError>> {
        Box::pin(async { Err(AgentError::of_kind(FailureKind::ChildRefused, "childless")) })
    }

    fn settled(self: Arc<Self>, _: RunId) -> BoxFuture<'static, Result<RunOutput, AgentError>> {
        Box::pin(async { Err(AgentError::of_kind(FailureKind::ChildRefused, "childless")) })
    }
}
