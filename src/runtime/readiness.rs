//! Whether a runtime can do its work just now.

use tokio::sync::oneshot;

use super::{Runtime, context};
use crate::actors::manager::condition::{AskCondition, Condition};
use crate::run::RunId;

/// Whether a runtime can do its work just now, and if not, what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// The database answers.
    pub store: bool,
    /// This process holds its [lease](crate::RuntimeBuilder::lease_ttl), without which it takes up no run.
    pub lease: bool,
    /// The runtime is being shut down, or is gone, and refuses new runs.
    pub draining: bool,
}

impl Readiness {
    /// Whether new runs are accepted and taken up.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        self.store && self.lease && !self.draining
    }
}

impl Runtime {
    /// Whether this runtime can do its work just now: asks its actors, and the database for one row. What does not answer
    /// within the [call timeout](crate::RuntimeBuilder::call_timeout) counts as missing.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn readiness(&self) -> Readiness {
        let (reply, condition) = oneshot::channel();
        self.inner.manager.do_send(AskCondition { reply });
        let patience = self.inner.limits.call_timeout;
        let asked = async {
            tokio::join!(
                tokio::time::timeout(patience, condition),
                tokio::time::timeout(patience, self.inner.store.facts(RunId::new())),
            )
        };
        let (condition, row) = context::anywhere(&self.inner.timers, asked).await;
        let store = row.is_ok_and(|row| row.is_ok());
        match condition {
            Ok(Ok(Condition { lease, draining })) => Readiness { store, lease, draining },
            // The actors were stopped.
            Ok(Err(_)) => Readiness { store, lease: false, draining: true },
            Err(_) => Readiness { store, lease: false, draining: false },
        }
    }
}
