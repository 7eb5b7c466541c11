//! What the runs of a session keep together.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{AgentError, RunContext};

/// Where the state of a run's session is kept. What is behind it is no business of an agent.
pub(crate) trait SessionMemory: Send + Sync {
    /// The state, and what the change has returned that has this id, if it was made.
    fn read(self: Arc<Self>, change: Option<Uuid>) -> BoxFuture<'static, Result<Remembered, AgentError>>;

    /// Makes a change; `false` when somebody else has made one meanwhile.
    fn write(self: Arc<Self>, change: NewState) -> BoxFuture<'static, Result<bool, AgentError>>;
}

/// The state of a session, as JSON.
#[derive(Default)]
pub(crate) struct Remembered {
    pub(crate) state: Option<String>,
    pub(crate) version: u64,
    pub(crate) result: Option<String>,
}

/// A change of the state.
pub(crate) struct NewState {
    pub(crate) id: Uuid,
    /// The version that it goes on from.
    pub(crate) version: u64,
    pub(crate) state: String,
    pub(crate) result: String,
}

impl RunContext {
    /// The state of the run's session as it is now, as a `T`; the default one when there is none.
    ///
    /// It is no step: another attempt may read something else. What decides about the next steps is better read
    /// within one, or by [`update_session_state`](Self::update_session_state), which says all about the state.
    ///
    /// # Errors
    ///
    /// When the state does not have the form of a `T`, or the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn session_state<T: DeserializeOwned + Default>(&self) -> Result<T, AgentError> {
        state_of(Arc::clone(self.session()).read(None).await?.state.as_deref())
    }

    /// Changes what the runs of the session keep together, as a step, and returns what `change` returns.
    ///
    /// ```
    /// use greenroom::{Agent, CrashPolicy, RunContext};
    ///
    /// #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// struct Cart {
    ///     items: Vec<String>,
    /// }
    ///
    /// let shop = Agent::builder("shop").on_crash(CrashPolicy::Resume).code(|cx: RunContext| async move {
    ///     let item = cx.input().to_string();
    ///     let count = cx.update_session_state("add", move |cart: &mut Cart| {
    ///         cart.items.push(item.clone());
    ///         cart.items.len()
    ///     });
    ///     Ok(format!("{} in the cart", count.await?))
    /// });
    /// # shop.build().unwrap();
    /// ```
    ///
    /// **Whose it is.** The state belongs to a session and a user, as the run does: runs of other users with the same session
    /// id have another one, and so have those of nobody. Children see that of their session. It is any JSON; before the first
    /// change it is what `T::default()` gives.
    ///
    /// **No change is lost.** A change goes on from the state that it has read, and is made only if nobody else has changed it
    /// meanwhile; otherwise `change` is called again, with the state as it is then. So it may be called several times, and must
    /// do nothing but change the state.
    ///
    /// **Once.** The change and the note that it was made are one write, by the attempt that owns the run and no other. It is
    /// known by its step: a later attempt is given the same result, and does not make it again, whatever the agent's
    /// [`CrashPolicy`](crate::CrashPolicy). A change stands, however the run ends.
    ///
    /// The state as JSON is at most as large as the runtime's [`max_output`](crate::RuntimeBuilder::max_output). It is deleted by
    /// [`retention`](crate::RuntimeBuilder::retention) once it has not changed for so long and no run of its session is left.
    ///
    /// # Errors
    ///
    /// When the state does not have the form of a `T`, is too large, or the database is away for too long. Otherwise as
    /// [`step`](Self::step).
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the change may have been made or not.
    pub fn update_session_state<T, R, F>(
        &self,
        name: &str,
        change: F,
    ) -> impl Future<Output = Result<R, AgentError>> + Send + use<T, R, F>
    where
        T: Serialize + DeserializeOwned + Default,
        R: Serialize + DeserializeOwned + Send,
        F: Fn(&mut T) -> R + Send + Sync,
    {
        let cx = self.clone();
        self.step_with_key(name, move |key| async move { update(&cx, key.as_uuid(), &change).await })
    }
}

/// Changes the state, as often as others come first.
pub(super) async fn update<T, R, F>(cx: &RunContext, id: Uuid, change: &F) -> Result<R, AgentError>
where
    T: Serialize + DeserializeOwned + Default,
    R: Serialize + DeserializeOwned,
    F: Fn(&mut T) -> R,
{
    let pauses = ExponentialBuilder::new().with_min_delay(Duration::from_millis(1)).with_jitter();
    let mut pauses = pauses.with_max_delay(Duration::from_millis(50)).without_max_times().build();
    loop {
        let found = Arc::clone(cx.session()).read(Some(id)).await?;
        if let Some(result) = found.result {
            return Ok(serde_json::from_str(&result)?);
        }
        let (state, result) = changed(found.state.as_deref(), change, cx.max_state())?;
        let new = NewState { id, version: found.version, state, result: result.clone() };
        if Arc::clone(cx.session()).write(new).await? {
            return Ok(serde_json::from_str(&result)?);
        }
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// The state after a change, and what the change returns, both as JSON.
fn changed<T, R>(state: Option<&str>, change: impl Fn(&mut T) -> R, most: usize) -> Result<(String, String), AgentError>
where
    T: Serialize + DeserializeOwned + Default,
    R: Serialize,
{
    let mut state: T = state_of(state)?;
    let result = serde_json::to_string(&change(&mut state))?;
    let state = serde_json::to_string(&state)?;
    // Nested too deeply, for example: then no run could read it any more.
    serde_json::from_str::<T>(&state)
        .map_err(|_| AgentError::new("the state of the session, as changed, cannot be read again").permanent())?;
    for (what, size) in [("state of the session", state.len()), ("result of its change", result.len())] {
        if size > most {
            let problem = format!("the {what} as JSON must be at most {most} bytes, found {size}");
            return Err(AgentError::new(problem).permanent());
        }
    }
    Ok((state, result))
}

/// The rest of what serde says may quote the state.
fn state_of<T: DeserializeOwned + Default>(state: Option<&str>) -> Result<T, AgentError> {
    let Some(state) = state else { return Ok(T::default()) };
    serde_json::from_str(state).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let problem = format!("the state of the session is not what the code expects (line {line} column {column})");
        AgentError::new(problem).permanent()
    })
}

/// A session that remembers nothing.
#[cfg(test)]
pub(crate) struct Forgetful;

#[cfg(test)]
impl SessionMemory for Forgetful {
    fn read(self: Arc<Self>, _: Option<Uuid>) -> BoxFuture<'static, Result<Remembered, AgentError>> {
        Box::pin(async { Ok(Remembered::default()) })
    }

    fn write(self: Arc<Self>, _: NewState) -> BoxFuture<'static, Result<bool, AgentError>> {
        Box::pin(async { Ok(true) })
    }
}
