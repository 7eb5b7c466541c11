//! No spans.

use std::fmt::Display;

use serde_json::Value;

use crate::run::{Run, Usage};

/// A span that nobody sees.
#[derive(Default)]
pub(crate) struct Span;

#[allow(clippy::unused_self, reason = "with the feature it is another matter")]
impl Span {
    pub(crate) const fn submit(_: &mut Run) -> Self {
        Self
    }

    pub(crate) const fn submit_child(_: &mut Run, _: &Run) -> Self {
        Self
    }

    pub(crate) const fn attempt(_: &Run, _: Option<&str>, _: bool) -> Self {
        Self
    }

    pub(crate) const fn chat(&self, _: &str, _: &str) -> Self {
        Self
    }

    pub(crate) const fn tool(&self, _: Option<&str>, _: &str) -> Self {
        Self
    }

    pub(crate) fn around<F: Future>(&self, work: F) -> F {
        work
    }

    pub(crate) fn content(&self, _: &'static str, _: impl FnOnce() -> Value) {}

    pub(crate) const fn answered(self, _: &Usage, _: Option<&str>) {}

    pub(crate) const fn succeed(&self) {}

    pub(crate) fn fail(&self, _: impl Display) {}

    pub(crate) const fn end(&self, _: &'static str) {}
}

pub(crate) const fn carried<T, F: FnOnce() -> T>(work: F) -> F {
    work
}
