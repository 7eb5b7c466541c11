//! Handles: an agent to ask, and a run that was accepted.

use std::sync::Arc;
use std::time::Duration;

use super::{CancelOutcome, EventStream, Runtime};
use crate::error::Error;
use crate::run::{Content, NewRun, Run, RunId, RunOutput, RunStatus, SessionId};

/// An agent of a runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AgentHandle {
    runtime: Runtime,
    name: Arc<str>,
}

impl AgentHandle {
    pub(super) const fn new(runtime: Runtime, name: Arc<str>) -> Self {
        Self { runtime, name }
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A run of this agent, to be [submitted](Runtime::submit) when it is complete.
    pub fn new_run(&self, input: impl Into<Content>) -> NewRun {
        NewRun::new(&*self.name, input)
    }

    /// Submits a run of this agent in a session of its own.
    ///
    /// # Errors
    ///
    /// As [`Runtime::submit`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::submit`].
    pub async fn submit(&self, input: impl Into<Content>) -> Result<RunHandle, Error> {
        self.runtime.submit(self.new_run(input)).await
    }
}

/// A run that was accepted. Dropping the handle does nothing to the run.
#[derive(Clone, Debug)]
pub struct RunHandle {
    runtime: Runtime,
    run_id: RunId,
    session_id: SessionId,
    status: RunStatus,
}

impl RunHandle {
    /// What the handle keeps is small: the run itself would be there for as long as somebody has its handle.
    pub(super) fn new(runtime: Runtime, accepted: &Run) -> Self {
        let RunOutput { run_id, session_id, status, .. } = &accepted.output;
        Self { runtime, run_id: *run_id, session_id: session_id.clone(), status: *status }
    }

    pub(super) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The run's id.
    #[must_use]
    pub const fn run_id(&self) -> RunId {
        self.run_id
    }

    /// The conversation that the run is part of.
    #[must_use]
    pub const fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// The status with which the run was accepted: `PENDING`, unless the same run had been submitted before.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        self.status
    }

    /// What has come of the run by now.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the database cannot be read, [`Error::NotFound`] when the run is not there any more.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn output(&self) -> Result<RunOutput, Error> {
        let run = self.runtime.get(self.run_id()).await?;
        Ok(run.ok_or_else(|| Error::NotFound(self.run_id()))?.output)
    }

    /// Waits until the run settles, at most for `timeout`; see [`Runtime::wait`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::wait`].
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn wait(&self, timeout: Duration) -> Result<RunOutput, Error> {
        self.runtime.wait(self.run_id(), timeout).await
    }

    /// Cancels the run; see [`Runtime::cancel`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::cancel`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the run is cancelled all the same.
    pub async fn cancel(&self) -> Result<CancelOutcome, Error> {
        self.runtime.cancel(self.run_id()).await
    }

    /// The events of the run; see [`Runtime::subscribe`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::subscribe`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::subscribe`].
    pub async fn subscribe(&self, after: Option<u64>) -> Result<EventStream, Error> {
        self.runtime.subscribe(self.run_id(), after).await
    }
}
