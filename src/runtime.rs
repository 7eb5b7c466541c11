//! The front door: submit, read, follow, cancel, shut down.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::actors::crew::Crew;
use crate::actors::hub::Hub;
use crate::actors::manager::cancel::{CancelAnswer, CancelReply, CancelRun};
use crate::actors::manager::drain::Drain;
use crate::actors::manager::{Agents, Reply};
use crate::agent::Agent;
use crate::error::Error;
use crate::run::{NewRun, Run, RunId, RunOutput, SessionId, UserId};
#[cfg(feature = "web")]
pub(crate) use crate::store::Cursor;
use crate::store::RunStore;
pub(crate) use crate::store::{Page, RunCounts, RunQuery, StoreError};

use self::admission::Admissions;

pub use self::builder::RuntimeBuilder;
pub use self::cancel_outcome::CancelOutcome;
pub use self::events::EventStream;
pub use self::handle::{AgentHandle, RunHandle};
pub use self::readiness::Readiness;
pub use self::user::UserRuntime;
#[cfg(feature = "webhooks")]
pub use crate::actors::courier::WebhookOptions;
pub use crate::actors::manager::drain::Drained;

mod admission;
mod builder;
mod cancel_outcome;
mod context;
mod counts;
mod events;
mod handle;
mod readiness;
mod resume;
#[cfg(unix)]
mod sigterm;
mod submit;
mod user;

/// How much longer than its deadline a call waits for the actors to say that the deadline has passed.
const ANSWER_SLACK: Duration = Duration::from_millis(250);

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
    /// Drives the timers of callers who have no tokio runtime of their own.
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
        self.inner.agents.values()
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
    /// - [`Error::ShuttingDown`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the run may be accepted all the same.
    pub async fn submit(&self, run: NewRun) -> Result<RunHandle, Error> {
        Ok(RunHandle::new(self.clone(), self.accept(run).await?.output))
    }

    /// Submits a run, and returns it as it was stored.
    pub(crate) async fn accept(&self, run: NewRun) -> Result<Run, Error> {
        let run = self.own_run(run)?;
        run.check(self.inner.limits.max_input)?;
        let agent = self.inner.agents.get(run.agent.as_str()).ok_or_else(|| Error::UnknownAgent(run.agent.clone()))?;
        let webhook = self.inner.webhook_of(&run, agent)?;
        let (insert, may_be_known) = submit::insert_of(run, agent, webhook);
        match self.inner.submit(insert, may_be_known).await {
            Err(Error::Conflict(run_id)) if self.get(run_id).await?.is_none() => Err(Error::NotFound(run_id)),
            accepted => accepted,
        }
    }

    /// Cancels a run, also one that is not known yet, and says what that has done.
    ///
    /// A run that is live here stops at once: the connection to its model is closed, and what it has said so far is kept.
    /// The answer comes when that is durable. Cancelling again is harmless.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyIntents`] for an unknown run when as many cancels are kept as may be, [`Error::Overloaded`],
    /// [`Error::ShuttingDown`], and [`Error::Store`] when the database did not answer in time. Asking again is right.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the run is cancelled all the same.
    pub async fn cancel(&self, run_id: RunId) -> Result<CancelOutcome, Error> {
        let (to, answer) = oneshot::channel();
        let user_id = self.caller()?;
        let reply = CancelReply { user_id, reply: Reply { to, admission: self.inner.admit(0)? } };
        self.inner.manager.do_send(CancelRun { run_id, reply });
        let stopped = |_| StoreError::Unavailable("the runtime was stopped".to_owned());
        let timeout = self.inner.limits.cancel_timeout;
        let late = |_| StoreError::Unavailable(format!("no answer within {timeout:?}, though the cancel goes on"));
        let answered =
            context::anywhere(&self.inner.timers, async { tokio::time::timeout(timeout + ANSWER_SLACK, answer).await });
        match answered.await.map_err(late)?.map_err(stopped)?? {
            CancelAnswer::Cancelled => Ok(CancelOutcome::Cancelled),
            CancelAnswer::Requested => Ok(CancelOutcome::Requested),
            CancelAnswer::AlreadySettled(status) => Ok(CancelOutcome::AlreadySettled(status)),
            CancelAnswer::IntentStored => Ok(CancelOutcome::IntentStored),
            CancelAnswer::TooManyIntents => Err(Error::TooManyIntents(run_id)),
        }
    }

    /// The run with this id, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn get(&self, run_id: RunId) -> Result<Option<Run>, Error> {
        Ok(self.inner.store.get(run_id).await?.filter(|run| self.sees(&run.output)))
    }

    /// What has come of a run so far, if there is a run with this id in this session.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn get_run_output(
        &self,
        run_id: RunId,
        session_id: impl Into<SessionId>,
    ) -> Result<Option<RunOutput>, Error> {
        let session_id = session_id.into();
        Ok(self.get(run_id).await?.map(|run| run.output).filter(|output| output.session_id == session_id))
    }

    /// One page of the runs that `query` asks for, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the query asks for something impossible, [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn list(&self, query: RunQuery) -> Result<Page, Error> {
        let query = self.own_query(query)?;
        query.check()?;
        let size = query.page_size();
        Ok(Page::cut(self.inner.store.list(query).await?, size))
    }

    /// Waits until a run settles, at most for `timeout`, and returns what has come of it by then; its status says whether
    /// it has settled. One that is `PAUSED` is waited for as well.
    ///
    /// For a run that is live in this process, the wait is ended by the run itself. Others are looked at when their process
    /// hints that something has happened, and once in each [poll interval](RuntimeBuilder::poll_interval): together, so that
    /// it costs the same however many wait.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such run, [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn wait(&self, run_id: RunId, timeout: Duration) -> Result<RunOutput, Error> {
        // Follow first, then look: what settles in between is told.
        let mut follower = self.inner.hub.follow(run_id);
        let look = async || Ok(self.get(run_id).await?.ok_or(Error::NotFound(run_id))?.output);
        let settled = async {
            loop {
                let output: RunOutput = look().await?;
                if output.status.is_terminal() {
                    return Ok(output);
                }
                events::until_end(&mut follower).await?;
            }
        };
        let settled = async { tokio::time::timeout(timeout, settled).await };
        match context::anywhere(&self.inner.timers, settled).await {
            Ok(output) => output,
            Err(_) => look().await,
        }
    }

    /// The events of a run: those after `after`, or all of them, then what happens from now on, each once and in order. The
    /// stream ends with the terminal event.
    ///
    /// An event is told when it is durable: at once when the run is live in this process, else when its process hints at it,
    /// and at the latest in the next [poll interval](RuntimeBuilder::poll_interval). A reader that is slow reads from the
    /// store what it has missed and never slows the run down. After an error the stream can be polled on.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such run, [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future and the stream can be dropped at any time; subscribing again after the last seq that was seen goes on
    /// from there.
    pub async fn subscribe(&self, run_id: RunId, after: Option<u64>) -> Result<EventStream, Error> {
        let follower = self.inner.hub.follow(run_id);
        let settled = self.is_settled(run_id).await?;
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        Ok(EventStream::new(events::Tail {
            store: Arc::clone(&self.inner.store),
            follower,
            timers: self.inner.timers.clone(),
            run_id,
            next: from,
            ready: VecDeque::new(),
            behind: true,
            settled,
            ended: false,
        }))
    }

    /// Refuses new runs from now on, lets live ones finish for `deadline`, and hands back the rest, as
    /// [`shutdown`](Self::shutdown) does; but the store stays open, so that those who wait for a run, or follow it, are told
    /// how it ended. To be followed by a shutdown, when they have been answered.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the runtime goes on draining; calling it again waits for the same.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        match self.drained(deadline).await {
            Some(drained) => drained,
            // The actors were stopped.
            None => match &*self.inner.stage.lock().await {
                Stage::Stopped(drained) => *drained,
                Stage::AtWork(_) => Drained::default(),
            },
        }
    }

    async fn drained(&self, deadline: Duration) -> Option<Drained> {
        let (reply, drained) = oneshot::channel();
        // Time for user code to stop, and for a database that is just coming back.
        let patience = self.inner.limits.call_timeout * 2;
        self.inner.manager.do_send(Drain { deadline, patience, reply });
        drained.await.ok()
    }

    /// Shuts down: refuses new runs from now on, lets live ones finish for `deadline`, hands back the rest, and closes the
    /// store. Says what became of the runs that were live.
    ///
    /// A run that is handed back waits as `PENDING`, without having used up an attempt, when its agent may be run again;
    /// else it settles as `ERROR`. Calling it again waits for the same shutdown.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the runtime stays in shutdown; calling it again goes on.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        let drained = self.drained(deadline).await;
        // Whoever comes while the threads are being stopped waits here: afterwards the store is free for the next runtime.
        let mut stage = self.inner.stage.lock().await;
        match &mut *stage {
            Stage::Stopped(drained) => *drained,
            Stage::AtWork(crew) => {
                crew.stop().await;
                self.inner.store.close().await;
                self.inner.hub.close();
                let drained = drained.unwrap_or_default();
                *stage = Stage::Stopped(drained);
                self.inner.stopped.send_replace(Some(drained));
                drained
            }
        }
    }

    /// Waits until a [shutdown](Self::shutdown) is over, whoever asked for it, and says what became of the runs that were
    /// live. For the `main` of a process that ends by [SIGTERM](RuntimeBuilder::shutdown_on_sigterm).
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn stopped(&self) -> Drained {
        let mut stopped = self.inner.stopped.subscribe();
        // An error would say that the sender is gone, which this runtime has.
        let drained = stopped.wait_for(Option::is_some).await.ok().and_then(|drained| *drained);
        drained.unwrap_or_default()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("agents", &self.inner.agents.keys()).finish_non_exhaustive()
    }
}
