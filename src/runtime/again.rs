//! Resumes runs that have failed, each by a new run that goes on from their steps.

use std::sync::Arc;

use super::{RunHandle, Runtime, UserRuntime};
use crate::actors::insert::insert_of;
use crate::error::Error;
use crate::run::{NewRun, Run, RunId, RunStatus};
use crate::store::protocol::InsertRun;

impl Runtime {
    /// Resumes a run that has settled as `ERROR`, by a new run that goes on from its steps: what it has finished is remembered,
    /// and not done again. What has settled never changes, so the failed run stays as it is.
    ///
    /// ```
    /// # use greenroom::{Agent, AgentError, NewRun, RunContext, RunStatus, Runtime, Store};
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// # use std::time::Duration;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), greenroom::Error> {
    /// static IS_UP: AtomicBool = AtomicBool::new(false);
    /// let agent = Agent::builder("report").code(|cx: RunContext| async move {
    ///     let found: String = cx.step("search", || async { Ok("much".to_owned()) }).await?;
    ///     if !IS_UP.load(Ordering::Acquire) {
    ///         return Err(AgentError::new("the printer is down"));
    ///     }
    ///     Ok(found)
    /// });
    /// # let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await?;
    /// let failed = runtime.submit(NewRun::new("report", "all of it")).await?;
    /// assert_eq!(failed.wait(Duration::from_secs(10)).await?.status, RunStatus::Error);
    ///
    /// IS_UP.store(true, Ordering::Release);
    /// let resumed = runtime.resume_failed(failed.run_id()).await?;
    /// // It does not search again.
    /// assert_eq!(resumed.wait(Duration::from_secs(10)).await?.status, RunStatus::Completed);
    /// # runtime.shutdown(Duration::from_secs(10)).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The new run asks the same of the same agent, for the same user, in the same session, and tells the same webhook; it
    /// has its own id, log and attempts, and begins with the steps of the failed one. They are remembered whatever the agent's
    /// [`CrashPolicy`](crate::CrashPolicy). [`Run::origin`](crate::Run::origin) tells where they come from.
    ///
    /// **Keys.** Each step keeps its [key](crate::StepKey), also one that had begun in the failed run and was not finished: a
    /// service that has seen it there can tell that it comes again.
    ///
    /// **Children.** The [children](crate::RunContext::sub_run) of the failed run become those of the new one, whatever has
    /// become of them: it finds each where it is by then, and a cancel of it reaches them.
    ///
    /// **Session state.** A [change](crate::RunContext::update_session_state) that the failed run has made is not made again.
    ///
    /// **Once.** A failed run is resumed by one run: whoever asks for the same again, at the same time or later, gets that
    /// one, with the status that it has by then. When it fails as well, it can be resumed in its turn.
    ///
    /// What has made the run fail may do so again: a limit of the agent counts the turns and calls that are remembered, and an agent
    /// whose steps are other ones by now ends as [`FailureKind::StepsChanged`](crate::FailureKind::StepsChanged).
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`]: there is no such run;
    /// - [`Error::NotFailed`]: its status is another one than `ERROR`;
    /// - those of [`submit`](Self::submit), of which [`Error::Unconfirmed`] is answered by asking again.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the run may be resumed all the same.
    pub async fn resume_failed(&self, run_id: RunId) -> Result<RunHandle, Error> {
        Ok(RunHandle::new(self.clone(), &*self.accept_again(run_id).await?))
    }

    /// The same, and returns the new run as it was stored.
    pub(crate) async fn accept_again(&self, run_id: RunId) -> Result<Arc<Run>, Error> {
        self.caller()?;
        let failed = self.get(run_id).await?.ok_or(Error::NotFound(run_id))?;
        let status = failed.output.status;
        if status != RunStatus::Error {
            return Err(Error::NotFailed { run_id, status });
        }
        let name = failed.output.agent.as_str();
        let agent = self.inner.agents.get(name).ok_or_else(|| Error::UnknownAgent(name.to_owned()))?;
        let origin = failed.origin.unwrap_or(run_id);
        let again = again(failed);
        let webhook = self.inner.webhook_of(&again, agent)?;
        let insert = insert_of(again, agent, webhook);
        let run = Run { origin: Some(origin), ..insert.run };
        self.accept_insert(InsertRun { run, resumes: Some(run_id), ..insert }, true).await
    }
}

/// What the new run asks for: all that `failed` did, so that it is the same whoever resumes it.
fn again(failed: Run) -> NewRun {
    let Run { output, input, metadata, priority, timeout, max_attempts, .. } = failed;
    let mut run = NewRun::new(output.agent, input.into_json())
        .run_id(output.run_id.of_resumption())
        .session_id(output.session_id)
        .metadata(metadata)
        .priority(priority)
        .max_attempts(max_attempts);
    if let Some(user_id) = output.user_id {
        run = run.user_id(user_id);
    }
    match timeout {
        Some(timeout) => run.timeout(timeout),
        None => run,
    }
}

impl RunHandle {
    /// Resumes the run when it has failed; see [`Runtime::resume_failed`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::resume_failed`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::resume_failed`].
    pub async fn resume_failed(&self) -> Result<Self, Error> {
        self.runtime().resume_failed(self.run_id()).await
    }
}

impl UserRuntime {
    /// Resumes a run of the user that has failed; see [`Runtime::resume_failed`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::resume_failed`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::resume_failed`].
    pub async fn resume_failed(&self, run_id: RunId) -> Result<RunHandle, Error> {
        self.runtime().resume_failed(run_id).await
    }
}
