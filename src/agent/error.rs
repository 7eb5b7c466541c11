//! How an agent's own code fails.

use std::any::Any;
use std::error::Error;
use std::fmt;

use super::ModelError;
use super::memory::StepError;
use crate::run::{FailureKind, RunFailure, error_chain};

/// The failure of an agent's own code. Any error becomes one by `?`; the run settles as `ERROR` with its message.
///
/// The message is stored and shown to whoever may read the run: keep secrets out of it.
pub struct AgentError {
    failure: RunFailure,
    permanent: bool,
}

impl AgentError {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { failure: RunFailure::new(FailureKind::AgentError, message), permanent: false }
    }

    /// A failure of this kind that trying again is of no use for.
    pub(crate) fn of_kind(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { failure: RunFailure::new(kind, message), permanent: true }
    }

    /// A failure of this kind that may be gone by the next try.
    pub(crate) fn passing(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { failure: RunFailure::new(kind, message), permanent: false }
    }

    /// Says that trying again is of no use: the run settles whatever the agent's [retries](crate::AgentBuilder::retry).
    #[must_use]
    pub fn permanent(self) -> Self {
        Self { permanent: true, ..self }
    }

    /// Whether trying again may help.
    pub(crate) const fn is_retryable(&self) -> bool {
        !self.permanent
    }

    pub(crate) const fn failure(&self) -> &RunFailure {
        &self.failure
    }

    /// What sort of failure it is.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.failure.kind
    }

    pub(crate) fn into_failure(self) -> RunFailure {
        self.failure
    }
}

/// What somebody has panicked with.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "user code panicked with something that is no text".to_owned())
}

/// The message is that of the error and of all its sources, from the outside in.
impl<E: Error + Send + Sync + 'static> From<E> for AgentError {
    fn from(error: E) -> Self {
        let outer: &(dyn Error + 'static) = &error;
        let step = outer.downcast_ref::<StepError>().map(StepError::kind);
        let of_model = outer.downcast_ref::<ModelError>();
        let kind = step.unwrap_or(if of_model.is_some() { FailureKind::ModelError } else { FailureKind::AgentError });
        let permanent = step.is_some() || of_model.is_some_and(|error| !error.kind().is_retryable());
        Self { failure: RunFailure::new(kind, error_chain(outer)), permanent }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.message)
    }
}

impl fmt::Debug for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}
