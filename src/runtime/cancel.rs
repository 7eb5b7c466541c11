//! Cancels, and what they have done.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Runtime;
use crate::actors::manager::Reply;
#[cfg(feature = "web")]
use crate::actors::manager::cancel::CancelDeserted;
use crate::actors::manager::cancel::{CancelAnswer, CancelReply, CancelRun};
use crate::error::Error;
use crate::run::{RunId, RunStatus};
use crate::telemetry;

/// What a cancel has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelOutcome {
    /// The run is `CANCELLED`, by this cancel or by one at the same time.
    Cancelled,
    /// Another process has the run. The request is durable and that process will see it; the run ends `CANCELLED` unless
    /// it settles first.
    Requested,
    /// The run had settled, with this status.
    AlreadySettled(RunStatus),
    /// There is no such run. A run that is submitted with this id before the intent expires will be cancelled before it
    /// starts.
    IntentStored,
}

impl CancelOutcome {
    /// Whether the run was known and had not settled.
    #[must_use]
    pub const fn was_live(self) -> bool {
        matches!(self, Self::Cancelled | Self::Requested)
    }
}

impl Runtime {
    /// Cancels a run, also one that is not known yet, and says what that has done.
    ///
    /// A run that is live here stops at once: the connection to its model is closed, and what it has said so far is kept.
    /// The answer comes when that is durable. Cancelling again is harmless.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyIntents`] for an unknown run when as many cancels are kept as may be, [`Error::Overloaded`],
    /// [`Error::ShuttingDown`], and [`Error::Store`] when the database did not answer in time. Asking again is right.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the run is cancelled all the same.
    pub async fn cancel(&self, run_id: RunId) -> Result<CancelOutcome, Error> {
        let asked = Instant::now();
        let answer = self.ask_to_cancel(run_id).await;
        telemetry::cancel_answered(word(&answer), asked.elapsed());
        answer
    }

    async fn ask_to_cancel(&self, run_id: RunId) -> Result<CancelOutcome, Error> {
        let (to, answer) = oneshot::channel();
        let user_id = self.caller()?;
        let reply = CancelReply { user_id, reply: Reply { to, admission: Some(self.inner.admit(0)?) } };
        self.inner.manager.do_send(CancelRun { run_id, reply });
        let timeout = self.inner.limits.cancel_timeout;
        match self.inner.answered(answer, timeout, ", though the cancel goes on").await?? {
            CancelAnswer::Cancelled => Ok(CancelOutcome::Cancelled),
            CancelAnswer::Requested => Ok(CancelOutcome::Requested),
            CancelAnswer::AlreadySettled(status) => Ok(CancelOutcome::AlreadySettled(status)),
            CancelAnswer::IntentStored => Ok(CancelOutcome::IntentStored),
            CancelAnswer::TooManyIntents => Err(Error::TooManyIntents(run_id)),
        }
    }
}

#[cfg(feature = "web")]
impl Runtime {
    /// Cancels a run whose reader has gone, when that was not because this process is about to stop. Nobody is told.
    pub(crate) fn cancel_deserted(&self, run_id: RunId) {
        let Ok(user_id) = self.caller() else { return };
        let (to, _) = oneshot::channel();
        let reply = CancelReply { user_id, reply: Reply { to, admission: None } };
        self.inner.manager.do_send(CancelDeserted(CancelRun { run_id, reply }));
    }
}

/// What a cancel has come to, in a word.
const fn word(answer: &Result<CancelOutcome, Error>) -> &'static str {
    match answer {
        Ok(CancelOutcome::Cancelled) => "cancelled",
        Ok(CancelOutcome::Requested) => "requested",
        Ok(CancelOutcome::AlreadySettled(_)) => "already_settled",
        Ok(CancelOutcome::IntentStored) => "intent_stored",
        Err(_) => "failed",
    }
}
