//! How an agent's own code fails.

use std::error::Error;
use std::fmt;

use super::ModelError;
use super::memory::StepError;
use crate::run::{FailureKind, RunFailure, error_chain};

/// The failure of an agent's own code. Any error becomes one by `?`; the run settles as `ERROR` with its message.
///
/// The message is stored and shown to whoever may read the run: keep secrets out of it.
pub struct AgentError(RunFailure);

impl AgentError {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(RunFailure::new(FailureKind::AgentError, message))
    }

    /// What sort of failure it is.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.0.kind
    }

    pub(crate) fn into_failure(self) -> RunFailure {
        self.0
    }
}

/// The message is that of the error and of all its sources, from the outside in.
impl<E: Error + Send + Sync + 'static> From<E> for AgentError {
    fn from(error: E) -> Self {
        let outer: &(dyn Error + 'static) = &error;
        let kind = if let Some(step) = outer.downcast_ref::<StepError>() {
            step.kind()
        } else if outer.is::<ModelError>() {
            FailureKind::ModelError
        } else {
            FailureKind::AgentError
        };
        Self(RunFailure::new(kind, error_chain(outer)))
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
