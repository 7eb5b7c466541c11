//! The session's state, as tools read and change it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ToolContext;
use crate::agent::AgentError;
use crate::agent::session_state::update;

impl ToolContext {
    /// The state of the run's session as it is now; see [`RunContext::session_state`](crate::RunContext::session_state).
    ///
    /// # Errors
    ///
    /// As [`RunContext::session_state`](crate::RunContext::session_state).
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn session_state<T: DeserializeOwned + Default>(&self) -> Result<T, AgentError> {
        self.run.session_state().await
    }

    /// Changes what the runs of the session keep together, and returns what `change` returns; see
    /// [`RunContext::update_session_state`](crate::RunContext::update_session_state).
    ///
    /// It is no step of its own: the call of the tool is the step. The change is known by the call, the `name` and how often
    /// the call has used that name before, so that a call that is made again is given the same result, and changes
    /// nothing twice.
    ///
    /// # Errors
    ///
    /// As [`RunContext::update_session_state`](crate::RunContext::update_session_state), but for what is said of steps.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the change may have been made or not.
    pub async fn update_session_state<T, R, F>(&self, name: &str, change: F) -> Result<R, AgentError>
    where
        T: Serialize + DeserializeOwned + Default,
        R: Serialize + DeserializeOwned,
        F: Fn(&mut T) -> R,
    {
        update(&self.run, self.next_key(name).as_uuid(), &change).await
    }
}
