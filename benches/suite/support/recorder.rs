//! Hears what a runtime tells in metrics: when a run has settled, without asking the store, and how it wrote.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// What has been heard, one of each process.
#[derive(Default)]
pub(crate) struct Heard {
    /// Called for every attempt whose end is durable.
    settled: Option<Box<dyn Fn() + Send + Sync>>,
    /// Writes in a batch, and seconds until it was committed.
    batch_sizes: Mutex<Vec<f64>>,
    batch_seconds: Mutex<Vec<f64>>,
}

impl Heard {
    /// The sizes of the batches, and the seconds each took.
    pub(crate) fn batches(&self) -> (Vec<f64>, Vec<f64>) {
        let read = |values: &Mutex<Vec<f64>>| values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (read(&self.batch_sizes), read(&self.batch_seconds))
    }

    /// Forgets what was heard so far.
    pub(crate) fn forget(&self) {
        for values in [&self.batch_sizes, &self.batch_seconds] {
            values.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// Listens in this process; once, before its runtime is started.
pub(crate) fn listen(settled: impl Fn() + Send + Sync + 'static) -> Arc<Heard> {
    let heard = Arc::new(Heard { settled: Some(Box::new(settled)), ..Heard::default() });
    metrics::set_global_recorder(Ear(Arc::clone(&heard))).unwrap_or_else(|_| panic!("somebody listens already"));
    heard
}

struct Ear(Arc<Heard>);

impl Recorder for Ear {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let what = match key.name() {
            "greenroom_run_duration_seconds" => What::Settled,
            "greenroom_batch_size" => What::BatchSize,
            "greenroom_batch_seconds" => What::BatchSeconds,
            _ => return Histogram::noop(),
        };
        Histogram::from_arc(Arc::new(Noted { heard: Arc::clone(&self.0), what }))
    }
}

enum What {
    Settled,
    BatchSize,
    BatchSeconds,
}

struct Noted {
    heard: Arc<Heard>,
    what: What,
}

impl HistogramFn for Noted {
    fn record(&self, value: f64) {
        let values = match self.what {
            What::Settled => return self.heard.settled.as_ref().map(|settled| settled()).unwrap_or_default(),
            What::BatchSize => &self.heard.batch_sizes,
            What::BatchSeconds => &self.heard.batch_seconds,
        };
        values.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }
}
