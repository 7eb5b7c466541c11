//! What goes on inside, in numbers: for the recorder of the [`metrics`](https://docs.rs/metrics) crate that the process has.
//!
//! Every metric is in [`ALL`], and every fact has one function here, which is called where the fact arises. Without the feature
//! `metrics` the functions are empty. No label has anything that a caller can make up: agents are registered, models are those
//! that they were given, and all other values are words of this crate.
//!
//! Spans are another matter: [`Span`], with the feature `otel`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;

use crate::run::Run;

#[cfg(feature = "metrics")]
#[path = "telemetry/recorder.rs"]
mod recorder;
#[cfg(not(feature = "metrics"))]
#[path = "telemetry/silence.rs"]
mod recorder;

#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nobody is told"))]
pub(crate) mod names;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "otel")]
#[path = "telemetry/spans.rs"]
mod spans;
#[cfg(not(feature = "otel"))]
#[path = "telemetry/no_spans.rs"]
mod spans;
#[cfg(test)]
mod tests;

pub(crate) use self::recorder::describe;
pub(crate) use self::spans::{Span, carried};

#[cfg(feature = "prometheus")]
pub use self::prometheus::{OtherRecorder, Prometheus};

/// One metric.
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nothing is recorded"))]
pub(crate) struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    /// What it tells, in a sentence.
    help: &'static str,
    /// The names of its labels.
    labels: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Seconds,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, help, labels }
}

const fn gauge(name: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help, labels }
}

const fn seconds(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: Unit::Seconds, help, labels }
}

macro_rules! all {
    ($($metric:ident = $made:expr;)*) => {
        $(
            #[allow(dead_code, reason = "some are told by what another feature brings")]
            const $metric: Metric = $made;
        )*

        /// Every metric.
        #[cfg(any(test, feature = "metrics"))]
        const ALL: &[Metric] = &[$($metric),*];
    };
}

all! {
    RUNS_ACCEPTED = counter("greenroom_runs_accepted_total", &["agent"],
        "Runs that were accepted here");
    RUNS_WAITING = gauge("greenroom_runs_waiting", Unit::Count, &["agent"],
        "Runs in the store that may start and wait for room in some process, of each agent up to 10,000");
    RUNS_WAITING_OLDEST = gauge("greenroom_runs_waiting_oldest_seconds", Unit::Seconds, &["agent"],
        "How long the oldest of the runs that wait has been waiting; 0 when there are none");
    RUNS_RUNNING = gauge("greenroom_runs_running", Unit::Count, &["agent"],
        "Runs whose code is at work in this process");
    RUN_START = seconds("greenroom_run_start_seconds", &["agent"],
        "From when a run was submitted, or from its time if it was for later, to its first start, by the clocks of the \
         database and of this process");
    RUN_DURATION = seconds("greenroom_run_duration_seconds", &["agent", "outcome"],
        "How long an attempt was at work, until what came of it was durable");
    RUN_RETRIES = counter("greenroom_run_retries_total", &["agent"],
        "Attempts that failed and are followed by another one");
    TOKENS = counter("greenroom_tokens_total", &["agent", "model", "direction"],
        "Tokens that models have read and written");
    CANCELS = seconds("greenroom_cancel_seconds", &["outcome"],
        "From the call of a cancel to its answer");
    BATCH_SIZE = Metric { name: "greenroom_batch_size", kind: Kind::Histogram, unit: Unit::Count, labels: &[],
        help: "Writes that were committed together" };
    BATCH_DURATION = seconds("greenroom_batch_seconds", &[],
        "How long a batch took to be committed");
    BATCH_FAILURES = counter("greenroom_batch_failures_total", &[],
        "Batches that were not written, most of which are tried again");
    LEASE_RENEWALS = counter("greenroom_lease_renewals_total", &["outcome"],
        "Renewals of the lease of this process that were sent");
    LEASES_LOST = counter("greenroom_leases_lost_total", &[],
        "Leases of this process that were lost, and all of its runs with them");
    RESCUES = counter("greenroom_rescues_total", &["outcome"],
        "Runs that were taken over from processes that are gone");
    HINTS_LISTENING = gauge("greenroom_hints_listening", Unit::Count, &[],
        "1 while this process hears the hints of others, 0 while it can only look");
    HINTS_HEARD = counter("greenroom_hints_heard_total", &[],
        "Messages of other processes that were heard");
    POOL_WAIT = seconds("greenroom_pool_wait_seconds", &[],
        "How long a read waited for a connection to Postgres");
    EVENT_READERS = gauge("greenroom_event_readers", Unit::Count, &[],
        "Open event streams over HTTP");
    WEBHOOKS = counter("greenroom_webhook_deliveries_total", &["outcome"],
        "Attempts to tell a receiver of a webhook");
}

pub(crate) fn run_accepted(agent: &str) {
    recorder::count(&RUNS_ACCEPTED, &[agent], 1);
}

/// How many runs of an agent wait in the store, and for how long the oldest of them.
#[cfg(feature = "metrics")]
pub(crate) fn runs_waiting(agent: &str, waiting: usize, oldest: Duration) {
    recorder::set(&RUNS_WAITING, &[agent], float(waiting));
    recorder::set(&RUNS_WAITING_OLDEST, &[agent], oldest.as_secs_f64());
}

pub(crate) fn run_retried(agent: &str) {
    recorder::count(&RUN_RETRIES, &[agent], 1);
}

pub(crate) fn tokens_used(agent: &str, model: &str, read: u64, written: u64) {
    recorder::count(&TOKENS, &[agent, model, "input"], read);
    recorder::count(&TOKENS, &[agent, model, "output"], written);
}

pub(crate) fn cancel_answered(outcome: &'static str, after: Duration) {
    recorder::observe(&CANCELS, &[outcome], after.as_secs_f64());
}

pub(crate) fn batch_written(writes: usize, after: Duration) {
    recorder::observe(&BATCH_SIZE, &[], float(writes));
    recorder::observe(&BATCH_DURATION, &[], after.as_secs_f64());
}

pub(crate) fn batch_failed() {
    recorder::count(&BATCH_FAILURES, &[], 1);
}

pub(crate) fn lease_renewed(outcome: &'static str) {
    recorder::count(&LEASE_RENEWALS, &[outcome], 1);
}

pub(crate) fn lease_lost() {
    recorder::count(&LEASES_LOST, &[], 1);
}

pub(crate) fn run_rescued(outcome: &'static str) {
    recorder::count(&RESCUES, &[outcome], 1);
}

#[cfg(feature = "postgres")]
pub(crate) fn hints_are_heard(heard: bool) {
    recorder::set(&HINTS_LISTENING, &[], if heard { 1.0 } else { 0.0 });
}

#[cfg(feature = "postgres")]
pub(crate) fn hint_heard() {
    recorder::count(&HINTS_HEARD, &[], 1);
}

#[cfg(feature = "postgres")]
pub(crate) fn pool_waited(time: Duration) {
    recorder::observe(&POOL_WAIT, &[], time.as_secs_f64());
}

#[cfg(feature = "webhooks")]
pub(crate) fn webhook_told(outcome: &'static str) {
    recorder::count(&WEBHOOKS, &[outcome], 1);
}

/// A run whose code is at work; it is counted for as long as this lives.
pub(crate) struct Running {
    agent: Arc<str>,
    since: Instant,
}

impl Running {
    pub(crate) fn begin(agent: &Arc<str>, run: &Run) -> Self {
        if run.starts == 0 {
            let waited = Utc::now() - run.run_at.max(run.output.created_at);
            recorder::observe(&RUN_START, &[agent], waited.to_std().unwrap_or_default().as_secs_f64());
        }
        recorder::add(&RUNS_RUNNING, &[agent], 1.0);
        Self { agent: Arc::clone(agent), since: Instant::now() }
    }

    pub(crate) fn end(self, outcome: &'static str) {
        let labels = [&*self.agent, outcome];
        recorder::observe(&RUN_DURATION, &labels, self.since.elapsed().as_secs_f64());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        recorder::add(&RUNS_RUNNING, &[&self.agent], -1.0);
    }
}

/// An open event stream; it is counted for as long as this lives.
#[cfg(feature = "web")]
pub(crate) struct EventReader(());

#[cfg(feature = "web")]
impl EventReader {
    pub(crate) fn begin() -> Self {
        recorder::add(&EVENT_READERS, &[], 1.0);
        Self(())
    }
}

#[cfg(feature = "web")]
impl Drop for EventReader {
    fn drop(&mut self) {
        recorder::add(&EVENT_READERS, &[], -1.0);
    }
}

/// A count as the facade wants it.
fn float(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}
