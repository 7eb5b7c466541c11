//! Starts a runtime, when all that was said of it is right.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::admission::Admissions;
#[cfg(unix)]
use super::sigterm::Sigterm;
use super::{Inner, Limits, Runtime, RuntimeBuilder, Stage, context};
#[cfg(feature = "webhooks")]
use crate::actors::courier::{Recall, WebhookOptions, post::Post};
use crate::actors::crew::{ActorOptions, Crew, CrewOptions, Retry, UserCode};
use crate::actors::hub::Hub;
use crate::actors::lease::LeaseHandle;
use crate::actors::manager::room::begins_by_claims;
use crate::actors::manager::{Agents, ManagerLimits};
use crate::agent::AgentBuilder;
use crate::error::Error;
use crate::store::StoreLimits;
use crate::telemetry;

/// The largest limit for an input or a content: past it, one write would be too much for a message of the database.
const MAX_BYTES: usize = 64 * 1024 * 1024;

impl RuntimeBuilder {
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
