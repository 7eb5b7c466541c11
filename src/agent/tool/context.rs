//! What a tool gets to see of the run that calls it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::agent::{AgentError, RunContext};
use crate::run::{Metadata, RunId, SessionId, StepKey, UserId};

/// A call of a tool, as the tool sees it. Cheap to clone.
#[derive(Clone)]
pub struct ToolContext {
    pub(super) run: RunContext,
    call_id: Arc<str>,
    pub(super) key: StepKey,
    /// Whether the tool has ever asked about a cancel.
    heeded: Arc<AtomicBool>,
    /// How often it has used each name, for a child or for a change of the session's state.
    pub(super) names: Arc<Mutex<HashMap<String, u32>>>,
}

impl ToolContext {
    pub(crate) fn new(run: RunContext, call_id: &str, key: StepKey) -> Self {
        Self { run, call_id: call_id.into(), key, heeded: Arc::default(), names: Arc::default() }
    }

    /// The run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.run.run_id()
    }

    /// The conversation that the run is part of.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        self.run.session_id()
    }

    /// Whom the run belongs to, when its caller said so.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        self.run.user_id()
    }

    /// The caller's own notes on the run.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.run.metadata()
    }

    /// Which taking-up of the run this is, see [`RunContext::attempt`].
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.run.attempt()
    }

    /// What the model calls the call.
    #[must_use]
    pub fn tool_call_id(&self) -> &str {
        &self.call_id
    }

    /// What the call is called in the outside world: the same in every try and every attempt, and no other call's.
    #[must_use]
    pub const fn idempotency_key(&self) -> StepKey {
        self.key
    }

    /// Tells those who follow the run something of the tool's own, as a `CustomEvent`; see [`RunContext::emit`].
    ///
    /// A [blocking](crate::Tool::blocking) tool calls it by `tokio::runtime::Handle::current().block_on(…)`.
    ///
    /// # Errors
    ///
    /// When `data` cannot be written as JSON, or is larger than the runtime's limit for content.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the event may not have been told.
    pub async fn emit(&self, name: impl Into<String>, data: impl Serialize) -> Result<(), AgentError> {
        self.run.emit(name, data).await
    }

    /// Waits until the run is to end early: cancelled, timed out, or handed back at a shutdown.
    ///
    /// A tool that has asked once is not dropped then, but given the runtime's cancel grace to return; tools that have not
    /// asked are dropped, and no other one is begun. What it returns is told to nobody. Only when the run is handed back, a
    /// result is remembered for the next attempt; after an error the call is made again.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped and asked for again.
    pub async fn cancelled(&self) {
        self.heed();
        self.run.cancelled().await;
    }

    /// Whether the run is to end early. Counts as asking, see [`cancelled`](Self::cancelled).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.heed();
        self.run.is_cancelled()
    }

    fn heed(&self) {
        self.heeded.store(true, Ordering::Release);
    }

    pub(crate) fn is_heeded(&self) -> bool {
        self.heeded.load(Ordering::Acquire)
    }
}

impl fmt::Debug for ToolContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolContext")
            .field("run_id", &self.run_id())
            .field("attempt", &self.attempt())
            .field("tool_call_id", &self.call_id)
            .finish_non_exhaustive()
    }
}
