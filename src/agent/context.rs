//! What user code gets to see of its run, and how it speaks to those who follow it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::AgentError;
use super::children::Offspring;
use super::memory::StepMemory;
use super::misread::read_value;
use super::needs::Needs;
use super::reports::Reporter;
use super::session_state::SessionMemory;
use crate::run::{
    Content, Exchange, Metadata, Run, RunEventKind, RunId, SessionId, StepRecord, ToolExecution, Usage, UserId,
};
use crate::telemetry::Span;

/// A run, as the code that executes it sees it. Cheap to clone.
#[derive(Clone)]
pub struct RunContext(Arc<RunContextParts>);

/// What a run context is made of.
pub(crate) struct RunContextParts {
    pub(crate) run: Arc<Run>,
    pub(crate) history: Vec<Exchange>,
    pub(crate) reports: Reporter,
    pub(crate) cancel: CancelSignal,
    pub(crate) steps: StepMemory,
    pub(crate) needs: Needs,
    pub(crate) children: Arc<dyn Offspring>,
    pub(crate) session: Arc<dyn SessionMemory>,
    pub(crate) span: Arc<Span>,
    /// The largest data of a custom event, and the largest state of a session, in bytes.
    pub(crate) max_event: usize,
}

/// What user code tells of its run, in the order in which it happened.
pub(crate) enum Report {
    Event(RunEventKind),
    /// A step was finished, and the event that says so is written together with it. Who waits for it to be durable is told;
    /// when nobody does, there is no hurry.
    Step {
        step: StepRecord,
        event: Option<RunEventKind>,
        durable: Option<oneshot::Sender<()>>,
    },
    /// An earlier attempt has made this call, and its events tell of it.
    Called(ToolExecution),
    /// An earlier attempt has said so at this cost, and its events tell of it.
    Recalled {
        text: String,
        usage: Usage,
    },
}

/// Tells user code that its run is to end, and remembers whether user code wants to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct CancelSignal {
    token: CancellationToken,
    known: Arc<Known>,
}

/// What is known of an end.
#[derive(Debug, Default)]
struct Known {
    /// User code has asked about a cancel.
    heeded: AtomicBool,
    /// No attempt follows.
    for_good: AtomicBool,
    /// With what a part of user code has panicked.
    panic: OnceLock<String>,
}

impl CancelSignal {
    pub(crate) fn send(&self) {
        self.token.cancel();
    }

    /// Waits until a part of user code has panicked that has left the rest at work, and says with what.
    pub(crate) async fn panicked(&self) -> String {
        self.token.cancelled().await;
        match self.known.panic.get() {
            Some(message) => message.clone(),
            None => std::future::pending().await,
        }
    }

    /// Says that no attempt follows.
    pub(crate) fn no_other_follows(&self) {
        self.known.for_good.store(true, Ordering::Release);
    }

    /// Whether user code has ever asked about a cancel, so that it is worth waiting for it to react.
    pub(crate) fn is_heeded(&self) -> bool {
        self.known.heeded.load(Ordering::Acquire)
    }
}

impl RunContext {
    pub(crate) fn new(parts: RunContextParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.0.run.output.run_id
    }

    /// The run whose steps this one goes on from.
    pub(super) fn origin(&self) -> Option<RunId> {
        self.0.run.origin
    }

    /// The span of this attempt.
    pub(super) fn span(&self) -> &Span {
        &self.0.span
    }

    /// The name of the agent.
    pub(super) fn agent(&self) -> &str {
        &self.0.run.output.agent
    }

    /// The conversation that the run is part of.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        &self.0.run.output.session_id
    }

    /// Whom the run belongs to, when its caller said so.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        self.0.run.output.user_id.as_ref()
    }

    /// Which taking-up of the run this is, from 1. Higher after the death or a shutdown of a process that had the run, after an
    /// attempt that is followed by [another](crate::AgentBuilder::retry), and after a pause.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.run.attempt
    }

    /// What the agent was asked.
    #[must_use]
    pub fn input(&self) -> &Content {
        &self.0.run.input
    }

    /// What the agent was asked, read as a `T`.
    ///
    /// # Errors
    ///
    /// When the input does not have the form of a `T`. The error says what was expected, and of which field; it does not quote
    /// the input.
    pub fn input_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, AgentError> {
        let read = read_value(self.input().as_json());
        read.map_err(|misread| AgentError::new(format!("input: {}", misread.without_values())))
    }

    /// The caller's own notes on the run.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.run.metadata
    }

    /// Earlier runs of the session, oldest first; as many as the agent's [`history`](super::AgentBuilder::history) asks for.
    #[must_use]
    pub fn history(&self) -> &[Exchange] {
        &self.0.history
    }

    /// Says the next piece of the run's content to those who follow it, as a `RunContent` event.
    ///
    /// Pieces in quick succession are joined. What was said is kept as the partial content of a run that is cancelled or
    /// fails. Waits when events come faster than they can be stored.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the piece may not have been said.
    pub async fn emit_text(&self, text: impl Into<String>) {
        let content = Content::from(text.into());
        self.say(RunEventKind::RunContent { content }).await;
    }

    /// Tells those who follow the run something of the agent's own, as a `CustomEvent`.
    ///
    /// Waits when events come faster than they can be stored.
    ///
    /// # Errors
    ///
    /// When `data` cannot be written as JSON, or is larger than the runtime's limit for content.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the event may not have been told.
    pub async fn emit(&self, name: impl Into<String>, data: impl Serialize) -> Result<(), AgentError> {
        let data = Content::from(serde_json::to_value(data)?);
        let (size, most) = (data.size(), self.0.max_event);
        if size > most {
            return Err(AgentError::new(format!("data of an event must be at most {most} bytes, found {size}")));
        }
        self.say(RunEventKind::CustomEvent { name: name.into(), data }).await;
        Ok(())
    }

    pub(crate) fn say(&self, event: RunEventKind) -> impl Future<Output = ()> + Send {
        self.report(Report::Event(event))
    }

    pub(crate) fn report(&self, report: Report) -> impl Future<Output = ()> + Send {
        self.0.reports.send(report)
    }

    pub(crate) fn steps(&self) -> &StepMemory {
        &self.0.steps
    }

    pub(crate) fn children(&self) -> &Arc<dyn Offspring> {
        &self.0.children
    }

    pub(crate) fn session(&self) -> &Arc<dyn SessionMemory> {
        &self.0.session
    }

    /// How large the state of the session may be, in bytes.
    pub(crate) fn max_state(&self) -> usize {
        self.0.max_event
    }

    pub(crate) fn needs(&self) -> &Needs {
        &self.0.needs
    }

    /// Waits until nobody follows this code any more.
    pub(crate) async fn over(&self) {
        self.0.reports.closed().await;
    }

    /// Whether the run was ended early, and no attempt follows.
    pub(crate) fn ends_for_good(&self) -> bool {
        self.0.cancel.known.for_good.load(Ordering::Acquire)
    }

    /// Says that a part of the code has panicked: the rest is told that the run is to end, as it is by a cancel.
    pub(super) fn note_panic(&self, message: String) {
        // Of several, the first one is it.
        self.0.cancel.known.panic.get_or_init(|| message);
        self.0.cancel.send();
    }

    /// Whether nobody follows this code any more.
    pub(crate) fn is_over(&self) -> bool {
        self.0.reports.is_closed()
    }

    /// Waits until the run is to end early, without counting as asking.
    pub(crate) async fn ends_early(&self) {
        self.0.cancel.token.cancelled().await;
    }

    /// Waits until the run is to end early: cancelled, timed out, or handed back at a shutdown.
    ///
    /// Code that has asked once is not dropped at its next `await` any more, but given the runtime's cancel grace.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped and asked for again.
    pub async fn cancelled(&self) {
        self.0.cancel.known.heeded.store(true, Ordering::Release);
        self.0.cancel.token.cancelled().await;
    }

    /// Whether the run is to end early. Counts as asking, see [`cancelled`](Self::cancelled).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.known.heeded.store(true, Ordering::Release);
        self.0.cancel.token.is_cancelled()
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext")
            .field("run_id", &self.run_id())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
