//! Tells nobody.

use super::Metric;

/// The values of a metric's labels, in their order.
type Labels<'a> = &'a [&'a str];

pub(super) const fn count(_: &Metric, _: Labels<'_>, _: u64) {}

pub(super) const fn add(_: &Metric, _: Labels<'_>, _: f64) {}

#[cfg(feature = "postgres")]
pub(super) const fn set(_: &Metric, _: Labels<'_>, _: f64) {}

pub(super) const fn observe(_: &Metric, _: Labels<'_>, _: f64) {}

pub(crate) const fn describe() {}
