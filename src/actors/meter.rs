//! The meter: reads, once in a while, how much waits in the store, and tells it in numbers.

use std::sync::Arc;
use std::time::Duration;

use super::manager::Agents;
use crate::store::{COUNTED, RunStore};
use crate::telemetry;

/// Every so many poll intervals: a depth is of use for its course.
const POLLS: u32 = 10;

pub(crate) struct Meter {
    store: Arc<dyn RunStore>,
    agents: Vec<String>,
    interval: Duration,
}

impl Meter {
    pub(crate) fn new(store: Arc<dyn RunStore>, agents: &Agents, poll_interval: Duration) -> Self {
        let agents = agents.keys().map(ToString::to_string).collect();
        Self { store, agents, interval: poll_interval.saturating_mul(POLLS) }
    }

    /// The meter's whole life: it ends with its arbiter.
    pub(crate) async fn live(self) {
        loop {
            match self.store.backlogs(self.agents.clone(), COUNTED).await {
                Ok(backlogs) => {
                    for backlog in backlogs {
                        telemetry::runs_waiting(&backlog.agent, backlog.waiting, backlog.oldest);
                    }
                }
                Err(error) => tracing::warn!(%error, "how much waits was not read"),
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}
