//! The states of sessions, as they are read from outside.

use super::{Runtime, UserRuntime};
use crate::error::Error;
use crate::run::{SessionId, SessionState, UserId, check_name};
use crate::store::StoreError;
use crate::store::session::SessionKey;

impl Runtime {
    /// What the runs of a session keep together, if they have changed it ever; see
    /// [`RunContext::update_session_state`](crate::RunContext::update_session_state). It is that of runs that belong to nobody:
    /// each user's is read by [`for_user`](Self::for_user).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there can be no such session, [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn session_state(&self, session_id: impl Into<SessionId>) -> Result<Option<SessionState>, Error> {
        self.session_state_of(session_id.into(), None).await
    }

    /// The same, of the session of this user.
    pub(crate) async fn session_state_of(
        &self,
        session_id: SessionId,
        user_id: Option<UserId>,
    ) -> Result<Option<SessionState>, Error> {
        check_name("session_id", session_id.as_str())?;
        let user_id = self.own(user_id.as_ref())?.cloned().or(user_id);
        if let Some(user_id) = &user_id {
            check_name("user_id", user_id.as_str())?;
        }
        let session = SessionKey { session_id: session_id.clone(), user_id };
        let stored = self.inner.store.session_state(session, None).await?;
        let Some((state, version, updated_at)) = stored.state else { return Ok(None) };
        let unreadable = |error: serde_json::Error| {
            let place = format!("line {} column {}", error.line(), error.column());
            StoreError::Corrupt(format!("column `state`: {place}"))
        };
        let state = serde_json::from_str(&state).map_err(unreadable)?;
        Ok(Some(SessionState { session_id, state, version, updated_at }))
    }
}

impl UserRuntime {
    /// What the user's runs of a session keep together; see [`Runtime::session_state`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::session_state`].
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn session_state(&self, session_id: impl Into<SessionId>) -> Result<Option<SessionState>, Error> {
        self.runtime().session_state(session_id).await
    }
}
