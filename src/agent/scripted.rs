//! A model that says what it is told to, for examples and for users' own tests.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, BoxStream, StreamExt};

pub use self::turn::ScriptedTurn;
use super::{Model, ModelError, ModelEvent, ModelRequest};

mod turn;

/// A model that needs neither network nor key: each turn plays the next script, the last one again and again.
///
/// Clones share their place in the script and their record, so that a test can keep one and give the other to an agent.
///
/// ```
/// use futures_util::StreamExt;
/// use greenroom::model::{Message, Model, ModelEvent, ModelRequest, Role};
/// use greenroom::{ScriptedModel, ScriptedTurn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let model = ScriptedModel::new([ScriptedTurn::text("Paris, of course."), ScriptedTurn::text("As I said.").then_stall()]);
///
/// let mut request = ModelRequest::default();
/// request.messages.push(Message::new(Role::User, "What is the capital of France?"));
/// let answer: Vec<_> = model.respond(request.clone()).map(|event| event.unwrap()).collect().await;
/// assert_eq!(answer[0], ModelEvent::Text("Paris, ".to_owned()));
/// assert!(matches!(&answer[3], ModelEvent::Done(turn) if turn.text == "Paris, of course."));
///
/// let stalled = model.respond(request.clone());
/// assert_eq!(model.open_turns(), 1);
/// drop(stalled);
/// assert_eq!(model.open_turns(), 0);
/// assert_eq!(model.requests(), [request.clone(), request]);
/// # }
/// ```
#[derive(Clone)]
pub struct ScriptedModel {
    script: Script,
    record: Arc<Record>,
}

#[derive(Clone)]
enum Script {
    Turns(Arc<[ScriptedTurn]>),
    Answers(Arc<dyn Fn(&ModelRequest) -> ScriptedTurn + Send + Sync>),
}

/// What all clones of a model share.
#[derive(Default)]
struct Record {
    requests: Mutex<Vec<ModelRequest>>,
    open: AtomicUsize,
}

impl Record {
    // A list that is only pushed to is whole also after a panic.
    fn requests(&self) -> MutexGuard<'_, Vec<ModelRequest>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScriptedModel {
    /// A model that plays these turns; when there are none, it completes each turn without a word.
    #[must_use]
    pub fn new(turns: impl IntoIterator<Item = ScriptedTurn>) -> Self {
        Self { script: Script::Turns(turns.into_iter().collect()), record: Arc::default() }
    }

    /// A model whose turns are made by a function of what it is asked.
    ///
    /// Other than a list of turns it knows where a conversation stands, whoever has asked before: it plays several runs at a
    /// time, and those that go on in another process.
    ///
    /// ```
    /// use greenroom::model::Role;
    /// use greenroom::{ScriptedModel, ScriptedTurn};
    /// use serde_json::json;
    ///
    /// let model = ScriptedModel::answering(|request| match request.messages.last() {
    ///     Some(heard) if heard.role == Role::Tool => ScriptedTurn::text(format!("It says {}.", heard.content)),
    ///     _ => ScriptedTurn::default().then_call("look", json!({})),
    /// });
    /// ```
    #[must_use]
    pub fn answering(answer: impl Fn(&ModelRequest) -> ScriptedTurn + Send + Sync + 'static) -> Self {
        Self { script: Script::Answers(Arc::new(answer)), record: Arc::default() }
    }

    /// A model that says what it was told.
    #[must_use]
    pub fn echo() -> Self {
        Self::new([ScriptedTurn::echo()])
    }

    /// What the model was asked so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.record.requests().clone()
    }

    /// How many turns are under way: asked for, and neither at their end nor dropped.
    #[must_use]
    pub fn open_turns(&self) -> usize {
        self.record.open.load(Ordering::Acquire)
    }
}

impl Model for ScriptedModel {
    fn id(&self) -> &'static str {
        "scripted"
    }

    fn provider(&self) -> &'static str {
        "greenroom"
    }

    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let mut requests;
        let turn = match &self.script {
            Script::Turns(turns) => {
                requests = self.record.requests();
                turns.get(requests.len()).or(turns.last()).cloned().unwrap_or_default()
            }
            Script::Answers(answer) => {
                let turn = answer(&request);
                requests = self.record.requests();
                turn
            }
        };
        let playing = turn.play(requests.len() + 1, &request, Open::new(&self.record));
        requests.push(request);
        drop(requests);
        stream::unfold(Some(playing), |playing| async { playing?.next().await }).boxed()
    }
}

/// Counts a turn for as long as it is under way.
struct Open(Arc<Record>);

impl Open {
    fn new(record: &Arc<Record>) -> Self {
        record.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(record))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Shows neither the texts nor what was asked.
impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns = match &self.script {
            Script::Turns(turns) => Some(turns),
            Script::Answers(_) => None,
        };
        f.debug_struct("ScriptedModel")
            .field("turns", &turns)
            .field("requests", &self.record.requests().len())
            .field("open_turns", &self.open_turns())
            .finish()
    }
}

#[cfg(test)]
mod tests;
