//! What is to be told of a run that has settled or is paused: a row of the outbox, written by the transaction that did so. What
//! happens to the run next takes its place.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::StoreResult;
use crate::run::{RunId, WebhookUrl};

/// How long a URL that has said that it is gone is told nothing more.
pub(crate) const GONE_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Of how many URLs it is known that they are gone; of the latest ones.
pub(crate) const MOST_GONE: usize = 10_000;

/// An event that somebody is to be told, taken by one node for a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivery {
    /// One for each event, however often it is told.
    pub(crate) event_id: Uuid,
    pub(crate) run_id: RunId,
    pub(crate) url: WebhookUrl,
    /// The number of this attempt, from 1.
    pub(crate) attempt: u32,
    /// When the run settled, or was paused.
    pub(crate) created_at: DateTime<Utc>,
    /// When the delivery was taken, by the database's clock.
    pub(crate) taken_at: DateTime<Utc>,
    /// The URL has said that it wants nothing more.
    pub(crate) gone: bool,
}

/// What a node wants to deliver.
#[derive(Clone, Debug)]
pub(crate) struct Collect {
    /// Nothing for these [origins](WebhookUrl::origin).
    pub(crate) busy: Vec<String>,
    pub(crate) limit: usize,
    /// For so long nobody else gets what is taken.
    pub(crate) hold: Duration,
}

/// What an attempt to deliver has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was delivered, or is given up: there is nothing more to do.
    Over,
    /// It is to be tried again, by anybody, after so long.
    Again(Duration),
    /// The URL has said that it wants nothing more.
    Gone,
}

/// What a store does with its outbox. Its methods are as those of a [`RunStore`](super::RunStore).
pub(crate) trait Outbox {
    /// Takes events that are to be told now, those that wait longest first: each is for one node, for a time.
    fn collect(&self, collect: Collect) -> BoxFuture<'_, StoreResult<Vec<Delivery>>>;

    /// Notes what an attempt to deliver has come to. Where somebody else has taken the delivery since, only an end counts.
    fn note_outcome(&self, delivery: Delivery, outcome: Outcome) -> BoxFuture<'_, StoreResult<()>>;
}
