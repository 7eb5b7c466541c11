//! The state of a session, as whoever asks from outside gets to see it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SessionId;

/// What the runs of a session keep together, see
/// [`RunContext::update_session_state`](crate::RunContext::update_session_state).
///
/// `Debug` does not show the state.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct SessionState {
    /// The session.
    pub session_id: SessionId,
    /// The state, as any JSON.
    pub state: Value,
    /// How many times it was changed.
    pub version: u64,
    /// When it was changed last, by the database's clock.
    pub updated_at: DateTime<Utc>,
}

impl std::fmt::Debug for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionState")
            .field("session_id", &self.session_id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
