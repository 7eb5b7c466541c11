//! The states of sessions: what is read and written of them.

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::run::{RunId, SessionId, UserId};

/// Whose session it is: one of a user is another than one of the same name of anybody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionKey {
    pub(crate) session_id: SessionId,
    pub(crate) user_id: Option<UserId>,
}

impl SessionKey {
    /// Its user as the store keeps it; no user has an empty id.
    pub(in crate::store) fn owner(&self) -> &str {
        self.user_id.as_ref().map_or("", UserId::as_str)
    }
}

/// One change of a state among those of a run: the same in every attempt, so that it is made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpdateId {
    pub(crate) run_id: RunId,
    pub(crate) update: Uuid,
}

/// A state as it is stored, and what the change that was asked about has returned, if it was made.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct StoredState {
    /// The state as JSON, its version, and when it was changed last.
    pub(crate) state: Option<(String, u64, DateTime<Utc>)>,
    pub(crate) result: Option<String>,
}

/// A change of a state, by the attempt that owns a run.
#[derive(Clone)]
pub(crate) struct WriteState {
    pub(crate) id: UpdateId,
    /// The fencing token: only the latest attempt may write.
    pub(crate) attempt: u32,
    pub(crate) session: SessionKey,
    /// The version that it goes on from; 0 when there is no state yet.
    pub(crate) version: u64,
    /// Both as JSON.
    pub(crate) state: String,
    pub(crate) result: String,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateWritten {
    Done,
    /// Somebody else has changed the state meanwhile, or this very change is there already.
    Stale,
    /// Another attempt has the run, or nobody.
    Fenced,
}

/// Shows no state.
impl fmt::Debug for StoredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.state.as_ref().map(|(_, version, _)| version);
        f.debug_struct("StoredState").field("version", &version).finish_non_exhaustive()
    }
}

impl fmt::Debug for WriteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteState")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
