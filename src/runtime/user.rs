//! A runtime as one user sees it: whatever belongs to others does not exist there.

use std::fmt;
use std::time::Duration;

use super::{AgentHandle, CancelOutcome, EventStream, RunHandle, Runtime};
use crate::agent::Agent;
use crate::error::Error;
use crate::run::{InvalidRun, NewRun, Run, RunId, RunOutput, SessionId, UserId, check_name};
use crate::store::{Page, RunCounts, RunQuery};

/// A runtime as one user sees it, made by [`Runtime::for_user`].
///
/// It has the calls of [`Runtime`], restricted to the runs of this user. A run of anybody else, also one that belongs to
/// nobody, is answered as one that does not exist. The handles that it gives out are restricted in the same way.
///
/// ```
/// # use greenroom::{Agent, NewRun, Runtime, ScriptedModel, Store};
/// # #[tokio::main]
/// # async fn main() -> Result<(), greenroom::Error> {
/// # let agent = Agent::builder("echo").model(ScriptedModel::echo());
/// # let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await?;
/// let (ann, bob) = (runtime.for_user("ann"), runtime.for_user("bob"));
/// let run = ann.submit(NewRun::new("echo", "a secret")).await?;
///
/// assert!(ann.get(run.run_id()).await?.is_some());
/// assert!(bob.get(run.run_id()).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct UserRuntime {
    runtime: Runtime,
    user_id: UserId,
}

impl Runtime {
    /// The runtime as this user sees it.
    ///
    /// A user id is 1 to 255 bytes without control characters. With an impossible one, submits, resumptions, continues, cancels,
    /// lists, counts and session states are refused as [`Error::Invalid`]; reads, waits and subscriptions find no run.
    pub fn for_user(&self, user_id: impl Into<UserId>) -> UserRuntime {
        let user_id = user_id.into();
        UserRuntime { runtime: self.scoped(user_id.clone()), user_id }
    }

    /// The same runtime, restricted to the runs of one user.
    pub(crate) fn scoped(&self, user_id: UserId) -> Self {
        Self { inner: self.inner.clone(), user: Some(user_id) }
    }

    pub(super) fn sees(&self, run: &RunOutput) -> bool {
        self.user.is_none() || self.user == run.user_id
    }

    /// The run as it is submitted from here: it belongs to the user who submits it.
    pub(super) fn own_run(&self, run: NewRun) -> Result<NewRun, Error> {
        let Some(user_id) = self.own(run.user_id.as_ref())? else { return Ok(run) };
        Ok(run.user_id(user_id.clone()))
    }

    pub(super) fn own_query(&self, query: RunQuery) -> Result<RunQuery, Error> {
        let Some(user_id) = self.own(query.user_id.as_ref())? else { return Ok(query) };
        Ok(query.user_id(user_id.clone()))
    }

    /// The user to whom all is restricted, if anybody; `asked` must not be somebody else.
    pub(super) fn own(&self, asked: Option<&UserId>) -> Result<Option<&UserId>, Error> {
        match (&self.user, asked) {
            (Some(user_id), Some(asked)) if user_id != asked => {
                Err(InvalidRun { field: "user_id", problem: "must be the caller's own, or left out".to_owned() }.into())
            }
            (user_id, _) => Ok(user_id.as_ref()),
        }
    }

    /// On whose behalf something is done from here that names no user.
    pub(super) fn caller(&self) -> Result<Option<UserId>, Error> {
        if let Some(user_id) = &self.user {
            check_name("user_id", user_id.as_str())?;
        }
        Ok(self.user.clone())
    }

    /// Whether a run has settled.
    pub(super) async fn is_settled(&self, run_id: RunId) -> Result<bool, Error> {
        let status = match self.user {
            None => self.inner.store.facts(run_id).await?.map(|row| row.status),
            Some(_) => self.get(run_id).await?.map(|run| run.output.status),
        };
        Ok(status.ok_or(Error::NotFound(run_id))?.is_terminal())
    }
}

impl UserRuntime {
    pub(super) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The user whose runs these are.
    #[must_use]
    pub const fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// The agents that can be asked, by name; all users have the same.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.runtime.agents()
    }

    /// A handle to the agent with this name.
    ///
    /// # Errors
    ///
    /// As [`Runtime::agent`].
    pub fn agent(&self, name: &str) -> Result<AgentHandle, Error> {
        self.runtime.agent(name)
    }

    /// Submits a run, which belongs to the user.
    ///
    /// # Errors
    ///
    /// As [`Runtime::submit`]; also [`Error::Invalid`] when the run is to belong to somebody else, and [`Error::NotFound`]
    /// when somebody else's run has this id.
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::submit`].
    pub async fn submit(&self, run: NewRun) -> Result<RunHandle, Error> {
        self.runtime.submit(run).await
    }

    /// Cancels a run of the user. An id that the user has no run with is answered as an unknown one, whether somebody else
    /// has such a run or not: the intent is kept, and only ever meets a run of this user.
    ///
    /// # Errors
    ///
    /// As [`Runtime::cancel`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::cancel`].
    pub async fn cancel(&self, run_id: RunId) -> Result<CancelOutcome, Error> {
        self.runtime.cancel(run_id).await
    }

    /// The run with this id, if the user has one.
    ///
    /// # Errors
    ///
    /// As [`Runtime::get`].
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn get(&self, run_id: RunId) -> Result<Option<Run>, Error> {
        self.runtime.get(run_id).await
    }

    /// What has come of a run so far, if the user has a run with this id in this session.
    ///
    /// # Errors
    ///
    /// As [`Runtime::get_run_output`].
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn get_run_output(
        &self,
        run_id: RunId,
        session_id: impl Into<SessionId>,
    ) -> Result<Option<RunOutput>, Error> {
        self.runtime.get_run_output(run_id, session_id).await
    }

    /// One page of the user's runs that `query` asks for, newest first.
    ///
    /// # Errors
    ///
    /// As [`Runtime::list`]; also [`Error::Invalid`] when the query asks for somebody else's runs.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn list(&self, query: RunQuery) -> Result<Page, Error> {
        self.runtime.list(query).await
    }

    /// How many runs of the user there are of each status; see [`Runtime::counts`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::counts`].
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn counts(&self) -> Result<RunCounts, Error> {
        self.runtime.counts().await
    }

    /// Waits until a run of the user settles, at most for `timeout`; see [`Runtime::wait`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::wait`].
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn wait(&self, run_id: RunId, timeout: Duration) -> Result<RunOutput, Error> {
        self.runtime.wait(run_id, timeout).await
    }

    /// The events of a run of the user; see [`Runtime::subscribe`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::subscribe`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::subscribe`].
    pub async fn subscribe(&self, run_id: RunId, after: Option<u64>) -> Result<EventStream, Error> {
        self.runtime.subscribe(run_id, after).await
    }
}

impl fmt::Debug for UserRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRuntime").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}
