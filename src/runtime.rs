//! The front door: submit, read, follow, cancel, shut down.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::actors::crew::Crew;
use crate::actors::hub::Hub;
use crate::actors::insert::insert_of;
use crate::actors::manager::Agents;
use crate::agent::Agent;
use crate::error::Error;
use crate::run::{NewRun, Run, UserId};
use crate::store::RunStore;
use crate::store::protocol::InsertRun;
#[cfg(feature = "web")]
pub(crate) use crate::store::{Cursor, Page, RunCounts, RunQuery, StoreError};

use self::admission::Admissions;

pub use self::builder::RuntimeBuilder;
pub use self::cancel::CancelOutcome;
pub use self::events::EventStream;
pub use self::handle::{AgentHandle, RunHandle};
pub use self::readiness::Readiness;
pub use self::user::UserRuntime;
#[cfg(feature = "webhooks")]
pub use crate::actors::courier::WebhookOptions;
pub use crate::actors::manager::drain::Drained;

mod admission;
mod again;
mod answer;
mod builder;
mod cancel;
mod context;
mod counts;
mod events;
mod handle;
mod read;
mod readiness;
mod resume;
mod session_state;
mod shutdown;
#[cfg(unix)]
mod sigterm;
mod start;
mod submit;
mod threads;
mod user;

/// A runtime for background runs. Cheap to clone, and usable from any thread and any async runtime.
///
/// It owns its threads: a system thread and arbiters for its actors, others for user code, others for the database. It
/// ends with [`shutdown`](Self::shutdown). When the last clone is dropped without that, everything ends where it is, as if
/// the process had died: nothing that was accepted is lost, but user code is cut off, and others take its runs over only
/// when its [lease](RuntimeBuilder::lease_ttl) has expired.
///
/// # Examples
///
/// ```
/// use greenroom::{Agent, NewRun, Runtime, ScriptedModel, ScriptedTurn, RunStatus, Store};
/// use std::time::Duration;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), greenroom::Error> {
/// let runtime = Runtime::builder()
///     .store(Store::sqlite_in_memory())
///     .agent(Agent::builder("geographer").model(ScriptedModel::new([ScriptedTurn::text("Paris.")])))
///     .start()
///     .await?;
/// let run = runtime.submit(NewRun::new("geographer", "What is the capital of France?")).await?;
/// assert_eq!(run.status(), RunStatus::Pending);
///
/// let output = run.wait(Duration::from_secs(10)).await?;
/// assert_eq!(output.content.unwrap().as_text(), Some("Paris."));
/// runtime.shutdown(Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
    /// Whose runs this can see and touch; everybody's when there is none.
    user: Option<UserId>,
}

struct Inner {
    agents: Arc<Agents>,
    store: Arc<dyn RunStore>,
    hub: Arc<Hub>,
    stage: tokio::sync::Mutex<Stage>,
    /// What a shutdown that is over has come to.
    stopped: watch::Sender<Option<Drained>>,
    manager: actix::Addr<crate::actors::manager::RunManager>,
    /// Drives the timers of callers.
    timers: Handle,
    admissions: Admissions,
    #[cfg(feature = "webhooks")]
    tells_webhooks: bool,
    limits: Limits,
    #[cfg(unix)]
    _sigterm: Option<sigterm::Watch>,
}

/// How far a runtime has come.
enum Stage {
    AtWork(Crew),
    /// The actors have been stopped; what had become of the runs that were live.
    Stopped(Drained),
}

/// The limits that the front door itself keeps.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_input: usize,
    call_timeout: Duration,
    /// How long a cancel may take: user code has a time to return before what it comes to is written.
    cancel_timeout: Duration,
}

impl Runtime {
    /// Starts building a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    /// The agents that can be asked, by name.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.inner.agents.values().map(Arc::as_ref)
    }

    /// A handle to the agent with this name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAgent`] when there is none.
    pub fn agent(&self, name: &str) -> Result<AgentHandle, Error> {
        match self.inner.agents.get_key_value(name) {
            Some((name, _)) => Ok(AgentHandle::new(self.clone(), Arc::clone(name))),
            None => Err(Error::UnknownAgent(name.to_owned())),
        }
    }

    /// Submits a run. It is `PENDING` and durable when this returns, and goes on in the background.
    ///
    /// Submitting the same run again, with the same id or the same [idempotency key](NewRun::idempotency_key), gives the run
    /// that is already there, with the status that it has.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`], [`Error::UnknownAgent`], [`Error::Conflict`], [`Error::KeyConflict`]: the run is not as it should be;
    /// - [`Error::SessionBusy`]: the agent refuses a second run of the session for now;
    /// - [`Error::Full`], [`Error::Overloaded`]: there is no room, nothing was stored;
    /// - [`Error::Unconfirmed`]: the database did not answer in time;
    /// - [`Error::Store`]: the database refuses the run for good, or did not answer when a run was looked for that was there
    ///   already;
    /// - [`Error::ShuttingDown`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the run may be accepted all the same.
    pub async fn submit(&self, run: NewRun) -> Result<RunHandle, Error> {
        Ok(RunHandle::new(self.clone(), &*self.accept(run).await?))
    }

    /// Submits a run, and returns it as it was stored.
    pub(crate) async fn accept(&self, run: NewRun) -> Result<Arc<Run>, Error> {
        let run = self.own_run(run)?;
        run.check(self.inner.limits.max_input)?;
        let agent = self.inner.agents.get(run.agent.as_str()).ok_or_else(|| Error::UnknownAgent(run.agent.clone()))?;
        let webhook = self.inner.webhook_of(&run, agent)?;
        let may_be_known = run.run_id.is_some() || run.idempotency_key.is_some();
        self.accept_insert(insert_of(run, agent, webhook), may_be_known).await
    }

    async fn accept_insert(&self, insert: InsertRun, may_be_known: bool) -> Result<Arc<Run>, Error> {
        match self.inner.submit(insert, may_be_known).await {
            Err(Error::Conflict(run_id)) if self.get(run_id).await?.is_none() => Err(Error::NotFound(run_id)),
            accepted => accepted,
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("agents", &self.inner.agents.keys()).finish_non_exhaustive()
    }
}
