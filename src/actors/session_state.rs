//! The state of the session of a live run: how it is read and changed.

use std::sync::Arc;

use backon::Retryable;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::run_actor::life::Surroundings;
use crate::agent::{AgentError, NewState, Remembered, SessionMemory};
use crate::run::{Run, RunId};
use crate::store::session::{SessionKey, StateWritten, UpdateId, WriteState};
use crate::store::{StoreError, StoreResult};

pub(crate) struct SessionOf {
    run_id: RunId,
    attempt: u32,
    session: SessionKey,
    around: Arc<Surroundings>,
}

impl SessionOf {
    pub(crate) fn new(run: &Run, around: Arc<Surroundings>) -> Self {
        let (session_id, user_id) = (run.output.session_id.clone(), run.output.user_id.clone());
        let session = SessionKey { session_id, user_id };
        Self { run_id: run.output.run_id, attempt: run.attempt, session, around }
    }

    fn id(&self, update: Uuid) -> UpdateId {
        UpdateId { run_id: self.run_id, update }
    }

    /// Asks the store, again and again while the database is away. To write a change again is right: it is made once.
    async fn patiently<T, F>(&self, ask: impl FnMut() -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let pauses = self.around.retry.pauses().with_total_delay(Some(self.around.retry.limit));
        ask.retry(pauses).when(StoreError::is_retryable).await
    }
}

impl SessionMemory for SessionOf {
    fn read(self: Arc<Self>, change: Option<Uuid>) -> BoxFuture<'static, Result<Remembered, AgentError>> {
        Box::pin(async move {
            let asked = change.map(|update| self.id(update));
            let read = || self.around.store.session_state(self.session.clone(), asked);
            let stored = self.patiently(read).await?;
            let (state, version) = stored.state.map(|(state, version, _)| (state, version)).unzip();
            Ok(Remembered { state, version: version.unwrap_or_default(), result: stored.result })
        })
    }

    fn write(self: Arc<Self>, change: NewState) -> BoxFuture<'static, Result<bool, AgentError>> {
        Box::pin(async move {
            let NewState { id, version, state, result } = change;
            let (id, attempt, session) = (self.id(id), self.attempt, self.session.clone());
            let write = WriteState { id, attempt, session, version, state, result };
            match self.patiently(|| self.around.store.write_session_state(write.clone())).await? {
                StateWritten::Done => Ok(true),
                StateWritten::Stale => Ok(false),
                StateWritten::Fenced => Err(AgentError::new("this attempt has no say any more")),
            }
        })
    }
}
