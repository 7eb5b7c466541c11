//! Tells the process's recorder.

use metrics::Label;

use super::{ALL, Kind, Metric, Unit};

/// The values of a metric's labels, in their order.
type Labels<'a> = &'a [&'a str];

fn owned(metric: &Metric, labels: Labels<'_>) -> Vec<Label> {
    metric.labels.iter().zip(labels).map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
}

pub(super) fn count(metric: &Metric, labels: Labels<'_>, by: u64) {
    metrics::counter!(metric.name, owned(metric, labels)).increment(by);
}

pub(super) fn add(metric: &Metric, labels: Labels<'_>, change: f64) {
    metrics::gauge!(metric.name, owned(metric, labels)).increment(change);
}

pub(super) fn set(metric: &Metric, labels: Labels<'_>, value: f64) {
    metrics::gauge!(metric.name, owned(metric, labels)).set(value);
}

pub(super) fn observe(metric: &Metric, labels: Labels<'_>, value: f64) {
    metrics::histogram!(metric.name, owned(metric, labels)).record(value);
}

/// Tells the recorder what each metric means.
pub(crate) fn describe() {
    for metric in ALL {
        let unit = match metric.unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
        };
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
}
