//! Builds a runtime: its store, its agents, its limits.

use std::time::Duration;

use tokio::runtime::Handle;

#[cfg(feature = "webhooks")]
use crate::actors::courier::WebhookOptions;
use crate::agent::AgentBuilder;
use crate::store::Store;

/// A runtime in the making. Everything is checked by [`start`](Self::start).
#[derive(Debug)]
#[must_use = "a runtime does nothing until it is started"]
pub struct RuntimeBuilder {
    pub(super) store: Option<Store>,
    pub(super) agents: Vec<AgentBuilder>,
    pub(super) max_running: usize,
    pub(super) max_waiting: usize,
    pub(super) max_calls: usize,
    pub(super) max_input: usize,
    pub(super) max_output: usize,
    pub(super) max_intents: usize,
    pub(super) intent_ttl: Duration,
    pub(super) cancel_grace: Duration,
    pub(super) call_timeout: Duration,
    pub(super) write_retry_limit: Duration,
    pub(super) poll_interval: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) retention: Option<Duration>,
    #[cfg(feature = "webhooks")]
    pub(super) webhooks: Option<WebhookOptions>,
    #[cfg(unix)]
    pub(super) shutdown_on_sigterm: Option<Duration>,
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
    /// [`Error::Full`](crate::Error::Full). Children may wait up to twice that number.
    ///
    /// It counts every `PENDING` run that no process has, of all agents, whatever the run waits for: room, its
    /// [`run_at`](crate::NewRun::run_at), another attempt, its session's turn, a process with its agent. The count is renewed
    /// once in each poll interval, so several processes together may exceed it a little.
    ///
    /// With 0, what can begin at once is accepted, and nothing else: no runs for later, and no agents whose runs may have to wait
    /// for others, by [`SessionPolicy::InOrder`](crate::SessionPolicy) or
    /// [`max_running_everywhere`](crate::AgentBuilder::max_running_everywhere); with such an agent the runtime does not start.
    pub const fn max_waiting(mut self, runs: usize) -> Self {
        self.max_waiting = runs;
        self
    }

    /// How many submits, resumptions, continues and cancels may wait for their answers at the same time; 10,000 when left out,
    /// at least 1. Past it, they are refused with [`Error::Overloaded`](crate::Error::Overloaded), and so are those whose inputs
    /// would be more than 256 MiB together.
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
    /// a [shutdown](crate::Runtime::shutdown) there are two [call timeouts](Self::call_timeout) more for what is to be written.
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

    /// Shuts the runtime down when the process gets SIGTERM, as by [`Runtime::shutdown`](crate::Runtime::shutdown) with this
    /// deadline; not done when left out. On Unix only.
    ///
    /// The signal does not end the process any more: its `main` has to return when
    /// [`Runtime::stopped`](crate::Runtime::stopped) does. A server of actix-web, which heeds the signal as well, can go on
    /// answering meanwhile.
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
}
