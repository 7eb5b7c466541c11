//! Waits for what the manager answers.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Inner, context};
use crate::store::StoreError;

/// How much longer than its deadline a call waits for the actors to say that the deadline has passed.
const SLACK: Duration = Duration::from_millis(250);

impl Inner {
    /// The answer to what the manager was asked, which has `timeout` for it. Without one nothing is known, and the error says why;
    /// `late` is what else there is to say when it did not come in time.
    pub(super) async fn answered<T>(
        &self,
        answer: oneshot::Receiver<T>,
        timeout: Duration,
        late: &str,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + timeout + SLACK;
        let answered = context::anywhere(&self.timers, async { tokio::time::timeout_at(deadline, answer).await }).await;
        let why = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            // The actors were stopped before they could answer.
            Ok(Err(_)) => "the runtime was stopped".to_owned(),
            Err(_) => format!("no answer within {timeout:?}{late}"),
        };
        Err(StoreError::Unavailable(why))
    }
}
