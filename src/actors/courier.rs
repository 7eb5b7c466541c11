//! Tells receivers of webhooks that runs have settled, or wait for people.
//!
//! What is to be told is in the store's outbox, written by the transaction that settled or paused the run. Each process that
//! was given [`WebhookOptions`] has a courier, and whichever comes first takes a delivery, for a time: when it dies meanwhile,
//! another one tries again. So each event is delivered at least once, always under the same id.
//!
//! A receiver that is slow harms nobody else: it gets only a share of what is under way at the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::post::{Answer, Failure, Post};
use super::hub::Hub;
use crate::store::RunStore;
use crate::store::delivery::{Collect, Delivery, Outcome};
use crate::telemetry;

pub use self::options::WebhookOptions;

mod addresses;
mod options;
mod payload;
pub(crate) mod post;

/// How many deliveries are under way at the same time.
const AT_ONCE: usize = 32;

/// An origin that has so many of them gets no more; so many are taken at a time, so it never has twice as many.
const SHARE: usize = 4;

/// The least time between two looks that nobody waits for but runs that have just settled: most have no webhook.
const PAUSE: Duration = Duration::from_millis(20);

/// How much longer than it may take a delivery is held: its outcome has to be written.
const SLACK: Duration = Duration::from_secs(15);

/// How long what is under way may take to end when the runtime is shut down.
const LAST_MOMENT: Duration = Duration::from_secs(1);

pub(crate) struct Courier {
    hub: Arc<Hub>,
    poll_interval: Duration,
    round: Arc<Round>,
}

impl Courier {
    pub(crate) fn new(store: Arc<dyn RunStore>, hub: Arc<Hub>, poll_interval: Duration, post: Arc<Post>) -> Self {
        Self { hub, poll_interval, round: Arc::new(Round { store, post }) }
    }

    /// The courier's whole life, until it is recalled: then it sets out once more, and what is under way has a moment to end.
    /// What does not is tried again when it is not held any more.
    async fn live(self, recall: CancellationToken) {
        let deadline = async {
            recall.cancelled().await;
            sleep(LAST_MOMENT).await;
        };
        tokio::select! {
            () = self.work(&recall) => {}
            () = deadline => {}
        }
    }

    async fn work(&self, recall: &CancellationToken) {
        let mut under_way = UnderWay::default();
        loop {
            let last = recall.is_cancelled();
            self.set_out(&mut under_way).await;
            if last {
                break;
            }
            let looked_at = Instant::now();
            tokio::select! {
                () = recall.cancelled() => {}
                () = under_way.one_is_back() => {}
                () = self.hub.somebody_left() => sleep_until(looked_at + PAUSE).await,
                () = sleep_until(looked_at + self.poll_interval) => {}
            }
        }
        while !under_way.tasks.is_empty() {
            under_way.one_is_back().await;
        }
    }

    /// Sets out with all that is due and for which there is room.
    async fn set_out(&self, under_way: &mut UnderWay) {
        loop {
            let limit = SHARE.min(AT_ONCE.saturating_sub(under_way.tasks.len()));
            if limit == 0 {
                return;
            }
            let hold = self.round.post.timeout() + SLACK;
            match self.round.store.outbox().collect(Collect { busy: under_way.busy(), limit, hold }).await {
                Ok(taken) => {
                    let all = taken.len() < limit;
                    taken.into_iter().for_each(|delivery| under_way.add(Arc::clone(&self.round), delivery));
                    if all {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the outbox of webhooks could not be read");
                    return;
                }
            }
        }
    }
}

/// Calls the courier back.
#[derive(Clone, Default)]
pub(crate) struct Recall {
    token: CancellationToken,
    /// Of the courier, where there is one.
    lives: TaskTracker,
}

impl Recall {
    /// The life of a courier that heeds this.
    pub(crate) fn heeded_by(&self, courier: Courier) -> impl Future<Output = ()> + use<> {
        self.lives.track_future(courier.live(self.token.clone()))
    }

    /// Calls the courier back, and waits until it is.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub(crate) async fn recall(&self) {
        self.token.cancel();
        self.lives.close();
        self.lives.wait().await;
    }
}

/// The deliveries that are under way, each with its origin.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    origins: HashMap<Id, String>,
}

impl UnderWay {
    fn add(&mut self, round: Arc<Round>, delivery: Delivery) {
        let origin = delivery.url.origin().to_owned();
        let task = self.tasks.spawn(async move { round.go(delivery).await });
        self.origins.insert(task.id(), origin);
    }

    /// The origins that have their share.
    fn busy(&self) -> Vec<String> {
        let mut counts: HashMap<&String, usize> = HashMap::new();
        self.origins.values().for_each(|origin| *counts.entry(origin).or_default() += 1);
        counts.into_iter().filter(|&(_, count)| count >= SHARE).map(|(origin, _)| origin.clone()).collect()
    }

    /// Waits until one has come back, and takes all off that have. For ever when there are none.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time.
    async fn one_is_back(&mut self) {
        let Some(first) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let mut back = Some(first);
        while let Some(ended) = back {
            let id = match ended {
                Ok((id, ())) => id,
                Err(error) => {
                    tracing::error!(%error, "a delivery of a webhook died");
                    error.id()
                }
            };
            self.origins.remove(&id);
            back = self.tasks.try_join_next_with_id();
        }
    }
}

/// What one delivery needs.
struct Round {
    store: Arc<dyn RunStore>,
    post: Arc<Post>,
}

impl Round {
    async fn go(&self, delivery: Delivery) {
        let outcome = self.deliver(&delivery).await;
        let run_id = delivery.run_id;
        if let Err(error) = self.store.outbox().note_outcome(delivery, outcome).await {
            tracing::warn!(run.id = %run_id, %error, "the outcome of a webhook was not noted, and it is told again");
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Outcome {
        let run_id = delivery.run_id;
        if delivery.gone {
            tracing::warn!(run.id = %run_id, "the webhook is not told: its URL has answered 410 before");
            return Outcome::Over;
        }
        let run = match self.store.get(run_id).await {
            Ok(Some(run)) => run,
            // It was deleted since, and the delivery with it.
            Ok(None) => return Outcome::Over,
            Err(error) => return self.again(delivery, &error.to_string().into()),
        };
        let Some(body) = self.post.body(delivery, &run.output) else {
            tracing::debug!(run.id = %run_id, "the webhook is not told: the run has gone on since");
            return Outcome::Over;
        };
        match self.post.tell(delivery, body).await {
            Answer::Taken => {
                telemetry::webhook_told("taken");
                tracing::debug!(run.id = %run_id, attempt = delivery.attempt, "the webhook was told");
                Outcome::Over
            }
            Answer::Gone => {
                telemetry::webhook_told("gone");
                let host = delivery.url.origin();
                tracing::warn!(run.id = %run_id, host, "the webhook has answered 410: its URL is told nothing more");
                Outcome::Gone
            }
            Answer::Failed(failure) => self.again(delivery, &failure),
        }
    }

    fn again(&self, delivery: &Delivery, Failure { problem, leave_alone }: &Failure) -> Outcome {
        let (run_id, host, attempt) = (delivery.run_id, delivery.url.origin(), delivery.attempt);
        let age = (delivery.taken_at - delivery.created_at).to_std().unwrap_or_default();
        match self.post.next_try(attempt, age, *leave_alone) {
            Some(after) => {
                telemetry::webhook_told("again");
                tracing::info!(run.id = %run_id, host, attempt, problem, ?after, "the webhook is tried again");
                Outcome::Again(after)
            }
            None => {
                telemetry::webhook_told("given_up");
                tracing::warn!(run.id = %run_id, host, attempt, problem, "the webhook is given up");
                Outcome::Over
            }
        }
    }
}
