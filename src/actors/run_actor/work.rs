//! User code at work, and how it comes to an end.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::Stop;
use crate::agent::{AgentError, CancelSignal, Outcome, Reports, RunContext};
use crate::run::{Content, OpenRequirement};

/// How user code came to an end.
pub(super) enum Finish {
    Returned(Result<Content, AgentError>),
    /// It can do nothing but wait for these, and was dropped.
    Waits(Vec<OpenRequirement>),
    Panicked(String),
    Stopped(Stop),
    TimedOut(Duration),
    TooLarge,
}

/// User code at work. Its future is dropped with this, wherever it is.
pub(super) struct Work {
    pub(super) task: JoinHandle<Result<Outcome, String>>,
    pub(super) reports: Reports,
    pub(super) cancel: CancelSignal,
    /// What it sees of its run.
    pub(super) cx: RunContext,
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.task.is_finished() {
            // For what user code has started beside itself.
            self.cancel.send();
        }
        self.task.abort();
    }
}

pub(super) fn finish_of(done: Result<Result<Outcome, String>, tokio::task::JoinError>) -> Finish {
    match done {
        Ok(Ok(Outcome::Returned(returned))) => Finish::Returned(returned),
        Ok(Ok(Outcome::Waits(needed))) => Finish::Waits(needed),
        Ok(Err(panic)) => Finish::Panicked(panic),
        Err(error) => Finish::Panicked(format!("user code was torn down: {error}")),
    }
}
