//! A model that says what it is told to, for examples and for users' own tests.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::{Model, ModelError, ModelEvent, ModelRequest, ModelTurn};
use crate::run::Usage;

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
    turns: Arc<[ScriptedTurn]>,
    record: Arc<Record>,
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

/// What a scripted model says in one turn, and how the turn ends: completed, when nothing else is said.
#[derive(Clone, Debug)]
#[must_use = "a turn does nothing until a model plays it"]
pub struct ScriptedTurn {
    words: Words,
    delay: Duration,
    usage: Usage,
    end: End,
}

#[derive(Clone)]
enum Words {
    Text(String),
    Echo,
}

#[derive(Clone, Debug)]
enum End {
    Done,
    Stall,
    Fail(ModelError),
    Cut,
}

impl ScriptedTurn {
    /// Says `text`, word by word.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Words::Text(text.into()))
    }

    /// Says what it was told: the text of the request's last message, word by word.
    pub fn echo() -> Self {
        Self::new(Words::Echo)
    }

    fn new(words: Words) -> Self {
        Self { words, delay: Duration::ZERO, usage: Usage::default(), end: End::Done }
    }

    /// Waits this long before each piece, by tokio's clock; not at all when left out.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// What the turn costs; nothing when left out.
    pub const fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Says its text, and then nothing more for ever.
    pub fn then_stall(mut self) -> Self {
        self.end = End::Stall;
        self
    }

    /// Says its text, and then fails.
    pub fn then_fail(mut self, error: ModelError) -> Self {
        self.end = End::Fail(error);
        self
    }

    /// Says its text, and then ends without having completed the turn, as a connection does that is cut.
    pub fn then_cut(mut self) -> Self {
        self.end = End::Cut;
        self
    }
}

impl Default for ScriptedTurn {
    /// A turn that says nothing.
    fn default() -> Self {
        Self::text("")
    }
}

impl ScriptedModel {
    /// A model that plays these turns; when there are none, it completes each turn without a word.
    #[must_use]
    pub fn new(turns: impl IntoIterator<Item = ScriptedTurn>) -> Self {
        Self { turns: turns.into_iter().collect(), record: Arc::default() }
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
        let heard = request.messages.last().map(|message| message.content.to_string());
        let place = {
            let mut requests = self.record.requests();
            requests.push(request);
            requests.len() - 1
        };
        let turn = self.turns.get(place).or(self.turns.last()).cloned().unwrap_or_default();
        let text = match turn.words {
            Words::Text(text) => text,
            Words::Echo => heard.unwrap_or_default(),
        };
        let playing = Playing {
            pieces: text.split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>().into_iter(),
            text,
            delay: turn.delay,
            usage: turn.usage,
            end: turn.end,
            _open: Open::new(&self.record),
        };
        stream::unfold(Some(playing), |playing| async { playing?.next().await }).boxed()
    }
}

/// A turn under way.
struct Playing {
    pieces: std::vec::IntoIter<String>,
    text: String,
    delay: Duration,
    usage: Usage,
    end: End,
    _open: Open,
}

impl Playing {
    async fn next(mut self) -> Option<(Result<ModelEvent, ModelError>, Option<Self>)> {
        if let Some(piece) = self.pieces.next() {
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            return Some((Ok(ModelEvent::Text(piece)), Some(self)));
        }
        match self.end {
            End::Done => Some((Ok(ModelEvent::Done(ModelTurn::new(self.text, self.usage))), None)),
            End::Fail(error) => Some((Err(error), None)),
            End::Cut => None,
            End::Stall => std::future::pending().await,
        }
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
        f.debug_struct("ScriptedModel")
            .field("turns", &self.turns)
            .field("requests", &self.record.requests().len())
            .field("open_turns", &self.open_turns())
            .finish()
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Echo => f.write_str("Echo"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt, StreamExt};
    use tokio::time::Instant;

    use super::{ScriptedModel, ScriptedTurn};
    use crate::agent::{Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Role};
    use crate::run::Usage;

    fn ask(text: &str) -> ModelRequest {
        ModelRequest { messages: vec![Message::new(Role::User, text)], ..ModelRequest::default() }
    }

    async fn play(model: &ScriptedModel, text: &str) -> (String, Option<Result<ModelEvent, ModelError>>) {
        let mut said = String::new();
        let mut answer = model.respond(ask(text));
        while let Some(event) = answer.next().await {
            match event {
                Ok(ModelEvent::Text(piece)) => said.push_str(&piece),
                end => return (said, Some(end)),
            }
        }
        (said, None)
    }

    fn done(text: &str, usage: Usage) -> Option<Result<ModelEvent, ModelError>> {
        Some(Ok(ModelEvent::Done(crate::agent::ModelTurn::new(text, usage))))
    }

    #[tokio::test]
    async fn turns_are_played_in_order_and_the_last_one_for_ever() {
        let usage = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, ..Usage::default() };
        let failure = ModelError::new(ModelErrorKind::Server, "down");
        let model = ScriptedModel::new([
            ScriptedTurn::text("one two").usage(usage),
            ScriptedTurn::text("three ").then_fail(failure.clone()),
            ScriptedTurn::text("four").then_cut(),
        ]);
        let other = model.clone();

        assert_eq!(play(&model, "a").await, ("one two".to_owned(), done("one two", usage)));
        assert_eq!(play(&other, "b").await, ("three ".to_owned(), Some(Err(failure))));
        assert_eq!(play(&model, "c").await, ("four".to_owned(), None));
        assert_eq!(play(&model, "d").await, ("four".to_owned(), None));

        assert_eq!(other.requests(), ["a", "b", "c", "d"].map(ask));
        assert_eq!(model.open_turns(), 0);
    }

    #[tokio::test]
    async fn without_turns_or_messages_nothing_is_said_and_nothing_panics() {
        let model = ScriptedModel::new([]);
        assert_eq!(play(&model, "a").await, (String::new(), done("", Usage::default())));
        let mut answer = ScriptedModel::echo().respond(ModelRequest::default());
        assert!(matches!(answer.next().await, Some(Ok(ModelEvent::Done(turn))) if turn.text.is_empty()));
        assert!(answer.next().await.is_none());
        assert_eq!(play(&ScriptedModel::echo(), "hello you").await.0, "hello you");
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_is_before_each_piece_by_tokios_clock() {
        let model = ScriptedModel::new([ScriptedTurn::text("a b c").delay(Duration::from_secs(60))]);
        let start = Instant::now();
        play(&model, "go").await;
        assert_eq!(start.elapsed(), Duration::from_secs(180));
    }

    #[tokio::test]
    async fn a_stalled_turn_is_open_until_it_is_dropped() {
        let model = ScriptedModel::new([ScriptedTurn::text("a").then_stall()]);
        let mut answer = model.respond(ask("go"));
        assert_eq!(answer.next().await, Some(Ok(ModelEvent::Text("a".to_owned()))));
        assert!(answer.next().now_or_never().is_none());
        assert_eq!(model.open_turns(), 1);
        drop(answer);
        assert_eq!(model.open_turns(), 0);
        assert!(!format!("{model:?}").contains("go"));
    }
}
