//! Builds a runtime: its store, its agents, its limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::admission::Admissions;
#[cfg(unix)]
use super::sigterm::Sigterm;
use super::{Inner, Limits, Runtime, Stage, context};
#[cfg(feature = "webhooks")]
use crate::actors::courier::{Recall, WebhookOptions, post::Post};
use crate::actors::crew::{ActorOptions, Crew, CrewOptions, Retry, UserCode};
use crate::actors::hub::Hub;
use crate::actors::lease::LeaseHandle;
use crate::actors::manager::room::begins_by_claims;
use crate::actors::manager::{Agents, ManagerLimits};
use crate::agent::AgentBuilder;
use crate::error::Error;
use crate::store::{Store, StoreLimits};
use crate::telemetry;

/// The largest limit for an input or a content: past it, one write would be too much for a message of the database.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A runtime in the making. Everything is checked by [`start`](Self::start).
#[derive(Debug)]
#[must_use = "a runtime does nothing until it is started"]
pub struct RuntimeBuilder {
    store: Option<Store>,
    agents: Vec<AgentBuilder>,
    max_running: usize,
    max_waiting: usize,
    max_calls: usize,
    max_input: usize,
    max_output: usize,
    max_intents: usize,
    intent_ttl: Duration,
    cancel_grace: Duration,
    call_timeout: Duration,
    write_retry_limit: Duration,
    poll_interval: Duration,
    lease_ttl: Duration,
    retention: Option<Duration>,
    #[cfg(feature = "webhooks")]
    webhooks: Option<WebhookOptions>,
    #[cfg(unix)]
    shutdown_on_sigterm: Option<Duration>,
    pub(super) agent_threads: Option<usize>,
    pub(super) agent_runtime: Option<Handle>,
}

impl RuntimeBuilder {
    pub(super) const fn new() -> Self {
        Self {
            store: None,
            agents: Vec::new(),
            max_running: 500,
            max_waiting: 10_000,
            max_calls: 10_000,
            max_input: 1024 * 1024,
            max_output: 4 * 1024 * 1024,
            max_intents: 10_000,
            intent_ttl: Duration::from_secs(24 * 60 * 60),
            cancel_grace: Duration::from_secs(5),
            call_timeout: Duration::from_secs(5),
            write_retry_limit: Duration::from_secs(10 * 60),
            poll_interval: Duration::from_secs(1),
            lease_ttl: Duration::from_secs(15),
            retention: None,
            #[cfg(feature = "webhooks")]
            webhooks: None,
            #[cfg(unix)]
            shutdown_on_sigterm: None,
            agent_threads: None,
            agent_runtime: None,
        }
    }

    /// Where runs are kept. There is no default.
    pub fn store(mut self, store: impl Into<Store>) -> Self {
        self.store = Some(store.into());
        self
    }

    /// Registers an agent. There can be any number, each with a name of its own.
    pub fn agent(mut self, agent: AgentBuilder) -> Self {
        self.agents.push(agent);
        self
    }

    /// How many runs are live at the same time in this process; 500 when left out, at least 1.
    ///
    /// A run with an open model stream holds a socket, and many systems allow a process 1,024 descriptors: 500 leaves half
    /// of them to the service around. More brings little: on two processors, the throughput of runs that do nothing grew
    /// by a half and more from 100 to 500 live runs, and hardly from 500 to 1,000.
    pub const fn max_running(mut self, runs: usize) -> Self {
        self.max_running = runs;
        self
    }

    /// How many runs may wait in the store; 10,000 when left out. Past it, submits that would have to wait are refused with
    /// [`Error::Full`]. Children may wait up to twice that number.
    ///
    /// It counts every `PENDING` run that no process has, of all agents, whatever the run waits for: room, its
    /// [`run_at`](crate::NewRun::run_at), another attempt, its session's turn, a process with its agent. The count is renewed
    /// once in each poll interval, so several processes together may exceed it a little.
    pub const fn max_waiting(mut self, runs: usize) -> Self {
        self.max_waiting = runs;
        self
    }

    /// How many submits, resumptions, continues and cancels may wait for their answers at the same time; 10,000 when left out,
    /// at least 1. Past it, they are refused with [`Error::Overloaded`], and so are those whose inputs would be more than 256 MiB
    /// together.
    pub const fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    /// The largest input, and the largest metadata, in bytes; 1 MiB when left out, at most 64 MiB.
    pub const fn max_input(mut self, bytes: usize) -> Self {
        self.max_input = bytes;
        self
    }

    /// The largest content, and the largest result of a [step](crate::RunContext::step), in bytes; 4 MiB when left out, at
    /// most 64 MiB. A run that says more settles as `ERROR`.
    pub const fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// How many cancels of unknown runs are kept; 10,000 when left out.
    pub const fn max_intents(mut self, intents: usize) -> Self {
        self.max_intents = intents;
        self
    }

    /// How long a cancel of an unknown run is kept; 24 h when left out, between 1 ms and 366 days.
    pub const fn intent_ttl(mut self, ttl: Duration) -> Self {
        self.intent_ttl = ttl;
        self
    }

    /// How long user code that heeds a cancel may take to return before it is abandoned; 5 s when left out, at most 366 days. At
    /// a [shutdown](Runtime::shutdown) it has no more than twice the [call timeout](Self::call_timeout).
    pub const fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// How long a submit, a resumption, a continue or a cancel waits for the database; 5 s when left out, between 1 ms and
    /// 366 days. A cancel of a live run waits for the [cancel grace](Self::cancel_grace) before that, when the run's code uses it.
    /// Reads have the times of the store, see [`PostgresOptions`](crate::PostgresOptions).
    pub const fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// How long the outcome of a run is kept in memory and written again while the database is away; 10 min when left out, at
    /// most 366 days.
    /// After that the run is lost to this process, and stays in the store as it was written last. On Postgres the run is
    /// lost to this process already when its [lease](Self::lease_ttl) is.
    pub const fn write_retry_limit(mut self, limit: Duration) -> Self {
        self.write_retry_limit = limit;
        self
    }

    /// How often the store is looked at for what nobody told this process: runs that wait, cancels by others, and, when
    /// somebody here follows them or waits for them, runs that others have; 1 s when left out, between 10 ms and 366 days.
    ///
    /// On Postgres, other processes are told of all that by hints, within a few hundredths of a second; then this is only
    /// the floor under them, for when a hint was lost. With [`poll_only`](crate::PostgresOptions::poll_only) it is how long
    /// such things take. What it costs is a handful of statements in each interval, however many wait and follow.
    pub const fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// How long this process may be out of touch with Postgres before others take over its runs; 15 s when left out, between
    /// 300 ms and 1 h.
    ///
    /// The lease is renewed three times in this time, by a thread and a connection of its own. When it could not be renewed
    /// for nine tenths of it, because the database was away or the process stood still, the process stops its runs itself,
    /// without a further write, and goes on under a new lease as soon as it gets one. When a process dies, its runs are taken
    /// over within this time and a third of it, by any process on the same database; each does what its
    /// [`CrashPolicy`](crate::CrashPolicy) says. A shorter time means a faster rescue, and less patience with a database that
    /// is away. On SQLite, which one process has to itself, it has no effect. All processes on one database need not agree.
    pub const fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self
    }

    /// How long a settled run is kept, with its events and all else that belongs to it; for ever when left out, between 1 s
    /// and 366 days.
    ///
    /// Older ones are deleted in small batches, by one process at a time, within a minute or a tenth of this time, whichever
    /// is shorter. A run that has not settled is never deleted, however old. Once a run is deleted, its id is free again: the
    /// same submit makes a new run of it. Processes on one database that do not agree delete what the shortest time says.
    pub const fn retention(mut self, time: Duration) -> Self {
        self.retention = Some(time);
        self
    }

    /// Tells receivers of webhooks when runs settle or wait for people; when left out, this process tells nobody, and refuses
    /// runs and agents that have a webhook.
    #[cfg(feature = "webhooks")]
    pub fn webhooks(mut self, options: WebhookOptions) -> Self {
        self.webhooks = Some(options);
        self
    }

    /// Shuts the runtime down when the process gets SIGTERM, as by [`Runtime::shutdown`] with this deadline; not done when
    /// left out. On Unix only.
    ///
    /// The signal does not end the process any more: its `main` has to return when [`Runtime::stopped`] does. A server of
    /// actix-web, which heeds the signal as well, can go on answering meanwhile.
    ///
    /// ```
    /// # use greenroom::{Agent, Runtime, ScriptedModel, ScriptedTurn, Store};
    /// # use std::time::Duration;
    /// # async fn example() -> Result<(), greenroom::Error> {
    /// let runtime = Runtime::builder()
    ///     .store(Store::sqlite_in_memory())
    ///     .agent(Agent::builder("geographer").model(ScriptedModel::new([ScriptedTurn::text("Paris.")])))
    ///     .shutdown_on_sigterm(Duration::from_secs(20))
    ///     .start()
    ///     .await?;
    /// runtime.stopped().await;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    pub const fn shutdown_on_sigterm(mut self, deadline: Duration) -> Self {
        self.shutdown_on_sigterm = Some(deadline);
        self
    }

    /// Opens the store and starts the runtime. Works on any tokio runtime, also on that of actix-web.
    ///
    /// # Errors
    ///
    /// When an agent or an option is wrong, or the store cannot be opened.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, nothing is left running.
    pub async fn start(self) -> Result<Runtime, Error> {
        self.check()?;
        telemetry::describe();
        let agents = Arc::new(registry(self.agents)?);
        check_waiting(self.max_waiting, &agents)?;
        #[cfg(feature = "webhooks")]
        let post = post(self.webhooks, &agents)?;
        let limits = StoreLimits { intent_ttl: self.intent_ttl, max_intents: self.max_intents };
        let store = self.store.ok_or(Error::NoStore)?.open(limits).await?;
        let processors = available_parallelism().map_or(2, std::num::NonZero::get);
        let hub = Arc::new(Hub::new(Arc::clone(&store)));
        let lease = LeaseHandle::begin(Arc::clone(&store), self.lease_ttl).await.map_err(Error::Threads)??;
        let options = ActorOptions {
            agents: Arc::clone(&agents),
            store: Arc::clone(&store),
            hub: Arc::clone(&hub),
            retry: Retry { limit: self.write_retry_limit },
            manager: ManagerLimits {
                max_running: self.max_running,
                max_waiting: self.max_waiting,
                poll_interval: self.poll_interval,
                call_timeout: self.call_timeout,
                max_input: self.max_input,
                #[cfg(feature = "webhooks")]
                tells_webhooks: post.is_some(),
            },
            cancel_grace: self.cancel_grace,
            max_output: self.max_output,
            retention: self.retention,
            #[cfg(feature = "webhooks")]
            post: post.clone(),
            #[cfg(feature = "webhooks")]
            recall: Recall::default(),
            arbiters: processors.clamp(1, 8),
            user_code: match self.agent_runtime {
                Some(runtime) => UserCode::On(runtime),
                None => UserCode::Threads(self.agent_threads.unwrap_or_else(|| processors.max(2))),
            },
        };
        let timers = context::timers().map_err(Error::Threads)?;
        #[cfg(unix)]
        let sigterm = self.shutdown_on_sigterm.map(|_| Sigterm::heed(&timers)).transpose().map_err(Error::Threads)?;
        let crew = Crew::start(CrewOptions { lease, actors: options }).await.map_err(Error::Threads)?;
        let inner = Inner {
            agents,
            store,
            hub,
            manager: crew.manager.clone(),
            timers,
            stage: tokio::sync::Mutex::new(Stage::AtWork(crew)),
            stopped: watch::Sender::default(),
            admissions: Admissions::new(self.max_calls),
            #[cfg(feature = "webhooks")]
            tells_webhooks: post.is_some(),
            limits: Limits {
                max_input: self.max_input,
                call_timeout: self.call_timeout,
                cancel_timeout: self.call_timeout + self.cancel_grace,
            },
            #[cfg(unix)]
            _sigterm: sigterm.as_ref().map(Sigterm::watch),
        };
        let inner = Arc::new(inner);
        #[cfg(unix)]
        if let Some((sigterm, deadline)) = sigterm.zip(self.shutdown_on_sigterm) {
            sigterm.shut_down(&inner, deadline);
        }
        Ok(Runtime { inner, user: None })
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |option, problem: &str| Err(Error::Option { option, problem: problem.to_owned() });
        let many = Semaphore::MAX_PERMITS;
        for (option, number) in [("max_running", self.max_running), ("max_calls", self.max_calls)] {
            if number == 0 || number > many {
                return wrong(option, "must be at least 1, and less than 2^60");
            }
        }
        for (option, bytes) in [("max_input", self.max_input), ("max_output", self.max_output)] {
            if !(1..=MAX_BYTES).contains(&bytes) {
                return wrong(option, "must be between 1 byte and 64 MiB");
            }
        }
        if self.agent_threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
            return wrong("agent_threads", "must be between 1 and 1024");
        }
        let (shortest, longest) = (Duration::from_millis(300), Duration::from_secs(60 * 60));
        if !(shortest..=longest).contains(&self.lease_ttl) {
            return wrong("lease_ttl", "must be between 300 ms and 1 h");
        }
        let year = Duration::from_secs(366 * 24 * 60 * 60);
        for (option, time, least) in [
            ("poll_interval", self.poll_interval, Duration::from_millis(10)),
            ("call_timeout", self.call_timeout, Duration::from_millis(1)),
            ("intent_ttl", self.intent_ttl, Duration::from_millis(1)),
            ("cancel_grace", self.cancel_grace, Duration::ZERO),
            ("write_retry_limit", self.write_retry_limit, Duration::ZERO),
            ("retention", self.retention.unwrap_or(year), Duration::from_secs(1)),
        ] {
            if time < least || time > year {
                return wrong(option, &format!("must be between {least:?} and 366 days"));
            }
        }
        Ok(())
    }
}

/// What tells receivers of webhooks. Without it, no agent may have one.
#[cfg(feature = "webhooks")]
fn post(options: Option<WebhookOptions>, agents: &Agents) -> Result<Option<Arc<Post>>, Error> {
    let wrong = |problem| Error::Option { option: "webhooks", problem };
    match (options, agents.values().find(|agent| agent.webhook.is_some())) {
        (Some(options), _) => Post::new(options).map(|post| Some(Arc::new(post))).map_err(wrong),
        (None, Some(agent)) => Err(wrong(format!("is missing, and agent `{}` has a webhook", agent.name()))),
        (None, None) => Ok(None),
    }
}

/// Where nothing may wait, no agent may have runs that always do.
fn check_waiting(max_waiting: usize, agents: &Agents) -> Result<(), Error> {
    match agents.values().find(|agent| max_waiting == 0 && begins_by_claims(agent)) {
        Some(agent) => {
            let problem =
                format!("must be at least 1: each run of agent `{}` waits before it is taken up", agent.name());
            Err(Error::Option { option: "max_waiting", problem })
        }
        None => Ok(()),
    }
}

fn registry(builders: Vec<AgentBuilder>) -> Result<Agents, Error> {
    let mut agents = HashMap::with_capacity(builders.len());
    for builder in builders {
        let agent = builder.build()?;
        let name = Arc::clone(&agent.name);
        if agents.insert(Arc::clone(&name), Arc::new(agent)).is_some() {
            return Err(Error::AgentTwice(name.to_string()));
        }
    }
    Ok(agents)
}
