//! One turn: asks, asks again while nothing was received, then reads the answer.
//!
//! All of it happens in the stream that the caller polls. Dropping that stream drops whatever is under way, and with it the
//! connection; there is no task to be told.

use std::time::{Duration, SystemTime};

use futures_util::stream::{self, Stream};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use sse_stream::Sse;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::bytes::Bytes;

use super::body::{Events, lost, read_whole};
use super::call::{Call, Rest};
use super::failure::{Secrets, cut, protocol, read_refusal, silent};
use super::retry::{self, Again};
use crate::agent::{ModelError, ModelErrorKind, ModelEvent, ModelTurn};
use crate::run::error_chain;

/// Understands what an API says, and keeps in mind what was said so far of one answer.
pub(in crate::agent) trait Listener: Send + 'static {
    /// Takes in an event of a streamed answer; none comes of one that is of no interest.
    fn hear(&mut self, event: &Sse, secrets: &Secrets) -> Result<Option<ModelEvent>, ModelError>;

    /// The turn, when a stream that has ended was complete though it did not say so.
    fn end(&mut self, _: &Secrets) -> Option<Result<ModelTurn, ModelError>> {
        None
    }

    /// Reads an answer that came as one JSON text.
    fn read(&mut self, json: &[u8], secrets: &Secrets) -> Result<Read, ModelError>;

    /// Whether the rest of an answer may be had once its beginning was heard.
    fn may_have_rest(&self) -> bool {
        false
    }

    /// Where the rest of the answer can be had when its connection is lost, or when it is not finished yet.
    fn rest(&self) -> Option<Rest> {
        None
    }
}

/// What an answer that came as one JSON text is.
pub(in crate::agent) enum Read {
    /// The whole turn, and what of its text was not heard before although some of it was.
    Whole { turn: ModelTurn, unheard: String },
    /// An answer that goes on, and what is to be told about it.
    Unfinished(Option<ModelEvent>),
    /// An answer that has ended, and why it is no turn. However often it is looked at, it will be none.
    Failed(ModelError),
}

impl From<ModelTurn> for Read {
    fn from(turn: ModelTurn) -> Self {
        Self::Whole { turn, unheard: String::new() }
    }
}

/// The events of the turn that `call` asks for.
pub(in crate::agent) fn events<L: Listener>(
    call: Call,
    listener: L,
) -> impl Stream<Item = Result<ModelEvent, ModelError>> + Send {
    // On the heap, since the stream has room for it twice: between two events, and while it waits for one.
    let turn = Box::new(Turn { call, listener, deadline: None, phase: Phase::Asking, losses: 0 });
    stream::try_unfold(turn, |mut turn| async move {
        let event = turn.next_in_time().await?;
        Ok(event.map(|event| (event, turn)))
    })
}

struct Turn<L> {
    call: Call,
    listener: L,
    deadline: Option<Instant>,
    phase: Phase,
    /// How many times in a row the connection was lost before anything was heard.
    losses: u32,
}

enum Phase {
    Waiting(Duration),
    Asking,
    Whole(Box<Response>),
    Streamed(Box<Streamed>),
    Complete(Box<ModelTurn>),
    Over,
}

struct Streamed {
    // The event that was waited for before the request counted as answered.
    first: Option<Sse>,
    events: Events,
}

impl<L: Listener> Turn<L> {
    async fn next_in_time(&mut self) -> Result<Option<ModelEvent>, ModelError> {
        let limit = self.call.limits.whole;
        let deadline = *self.deadline.get_or_insert_with(|| deadline_in(limit));
        let late = || silent(limit, "the turn was not complete");
        // A timeout prefers what is ready: without this, a provider that never pauses would never be late.
        if Instant::now() >= deadline && !matches!(self.phase, Phase::Over) {
            return Err(late());
        }
        timeout_at(deadline, self.next()).await.map_err(|_| late())?
    }

    async fn next(&mut self) -> Result<Option<ModelEvent>, ModelError> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Over) {
                // On the heap, since there are very many turns whose answers are being read, and of these only a few that ask.
                Phase::Asking => {
                    self.phase = Box::pin(ask(&mut self.call)).await?;
                    if matches!(self.phase, Phase::Streamed(_)) && !self.listener.may_have_rest() {
                        self.call.forget_question();
                    }
                }
                Phase::Waiting(wait) => {
                    tokio::time::sleep(wait).await;
                    self.phase = Phase::Asking;
                }
                Phase::Complete(turn) => return self.done(*turn).map(Some),
                Phase::Whole(response) => {
                    if let Some(event) = Box::pin(self.read(response)).await? {
                        return Ok(Some(event));
                    }
                }
                Phase::Streamed(answer) => {
                    if let Some(event) = self.hear(answer).await? {
                        return Ok(Some(event));
                    }
                }
                Phase::Over => return Ok(None),
            }
        }
    }

    async fn read(&mut self, response: Box<Response>) -> Result<Option<ModelEvent>, ModelError> {
        let read = match read_whole(*response, self.call.limits.idle).await {
            Ok(json) => self.listener.read(&json, &self.call.secrets),
            Err(error) => return self.go_on_after(error).map(|()| None),
        };
        let read = match read {
            // It has ended, and will call the same whoever looks at it.
            Ok(Read::Whole { turn, .. }) if self.calls_for_nothing(&turn) => Ok(Read::Failed(uncalled_for())),
            read => read,
        };
        match read {
            Ok(Read::Whole { turn, unheard }) if unheard.is_empty() => self.done(turn).map(Some),
            Ok(Read::Whole { turn, unheard }) => {
                self.phase = Phase::Complete(Box::new(turn));
                Ok(Some(ModelEvent::Text(unheard)))
            }
            Ok(Read::Unfinished(event)) => {
                let rest = self.listener.rest();
                let rest = rest.ok_or_else(|| protocol("the provider sent an answer that it has not finished"))?;
                // Whoever sends no stream when asked for one, will not send one the next time either.
                let streamed = self.call.streaming && self.call.is_picking_up();
                self.phase = if streamed { Phase::Asking } else { Phase::Waiting(rest.every) };
                self.call.go_on(rest, streamed)?;
                Ok(event)
            }
            // What an earlier attempt has asked for has failed meanwhile: this attempt is another try.
            Ok(Read::Failed(error)) if self.call.ask_anew() => {
                tracing::debug!(%error, "the model is asked anew");
                self.phase = Phase::Asking;
                Ok(None)
            }
            Ok(Read::Failed(error)) | Err(error) => Err(error),
        }
    }

    async fn hear(&mut self, mut answer: Box<Streamed>) -> Result<Option<ModelEvent>, ModelError> {
        let event = match answer.first.take() {
            Some(event) => Ok(Some(event)),
            None => answer.events.next().await,
        };
        let event = match event {
            Ok(Some(event)) => {
                self.losses = 0;
                self.listener.hear(&event, &self.call.secrets)?
            }
            Ok(None) => match self.listener.end(&self.call.secrets) {
                Some(turn) => Some(ModelEvent::Done(turn?)),
                None => return self.go_on_after(cut(None)).map(|()| None),
            },
            Err(error) => return self.go_on_after(error).map(|()| None),
        };
        if let Some(ModelEvent::Done(turn)) = event {
            return self.done(turn).map(Some);
        }
        self.phase = Phase::Streamed(answer);
        Ok(event)
    }

    /// Goes on with the rest of the answer after its connection was lost, if it can be had.
    fn go_on_after(&mut self, error: ModelError) -> Result<(), ModelError> {
        let is_lost = matches!(error.kind(), ModelErrorKind::Cut | ModelErrorKind::Timeout);
        let Some(rest) = self.listener.rest().filter(|_| is_lost) else { return Err(error) };
        let wait = usize::try_from(self.losses).ok().and_then(|losses| retry::waits(self.call.max_retries).nth(losses));
        let Some(wait) = wait else { return Err(error) };
        tracing::debug!(%error, ?wait, "the model is asked for the rest of its answer");
        self.losses += 1;
        self.phase = Phase::Waiting(wait);
        self.call.go_on(rest, self.call.streaming)
    }

    fn done(&self, turn: ModelTurn) -> Result<ModelEvent, ModelError> {
        if self.calls_for_nothing(&turn) { Err(uncalled_for()) } else { Ok(ModelEvent::Done(turn)) }
    }

    fn calls_for_nothing(&self, turn: &ModelTurn) -> bool {
        !turn.tool_calls.is_empty() && !self.call.offers_tools
    }
}

fn uncalled_for() -> ModelError {
    protocol("the model calls a tool, although it was given none")
}

/// A limit beyond what the clock can count is none that anybody will see the end of.
fn deadline_in(limit: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + FAR)
}

/// An attempt that failed, and whether another one makes sense.
struct Setback {
    error: ModelError,
    again: Again,
}

impl Setback {
    const fn passing(error: ModelError) -> Self {
        Self { error, again: Again::Later }
    }

    const fn lasting(error: ModelError) -> Self {
        Self { error, again: Again::Never }
    }
}

/// Asks until there is an answer to read.
async fn ask(call: &mut Call) -> Result<Phase, ModelError> {
    let mut waits = retry::waits(call.max_retries);
    loop {
        let Setback { error, again } = match attempt(call).await {
            Ok(answer) => return Ok(answer),
            Err(setback) => setback,
        };
        if again == Again::Otherwise {
            tracing::debug!(%error, "the model is asked in another way");
            continue;
        }
        let wait = match (again, waits.next()) {
            (Again::Never | Again::Otherwise, _) | (_, None) => return Err(error),
            (Again::Later, Some(wait)) | (Again::After(wait), Some(_)) => wait,
        };
        tracing::debug!(%error, ?wait, "the model is asked again");
        tokio::time::sleep(wait).await;
    }
}

enum Opened {
    Whole(Response),
    Streamed(Response, Bytes),
}

async fn attempt(call: &mut Call) -> Result<Phase, Setback> {
    let opened = if call.streaming {
        let limit = call.limits.first_byte;
        let late = |_| Setback::passing(silent(limit, "the provider did not answer"));
        timeout(limit, open(call)).await.map_err(late)??
    } else {
        open(call).await?
    };
    let (response, chunk) = match opened {
        Opened::Whole(response) => return Ok(Phase::Whole(Box::new(response))),
        Opened::Streamed(response, chunk) => (response, chunk),
    };
    let mut events = Events::new(response, chunk, call.limits.idle);
    let first = events.next().await.and_then(|first| first.ok_or_else(|| cut(None))).map_err(|error| {
        let again = if error.kind() == ModelErrorKind::Protocol { Again::Never } else { Again::Later };
        Setback { error, again }
    })?;
    Ok(Phase::Streamed(Box::new(Streamed { first: Some(first), events })))
}

/// Sends the request and waits for an answer's first byte.
async fn open(call: &mut Call) -> Result<Opened, Setback> {
    let request = call.request().map_err(Setback::lasting)?;
    let mut response = call.client.execute(*request).await.map_err(unanswered)?;
    let status = response.status();
    if !status.is_success() {
        let again = retry::again(status, response.headers(), SystemTime::now());
        let said = read_refusal(response).await;
        let again = match again {
            Again::Never if call.ask_instead(status, &said) => Again::Otherwise,
            _ if said.is_about_money() => Again::Never,
            Again::Never | Again::Later | Again::After(_) | Again::Otherwise => again,
        };
        return Err(Setback { error: said.of_refusal(status, &call.secrets), again });
    }
    if !is_streamed(&response, call.streaming).map_err(Setback::lasting)? {
        return Ok(Opened::Whole(response));
    }
    match response.chunk().await {
        Ok(Some(chunk)) => Ok(Opened::Streamed(response, chunk)),
        Ok(None) => Err(Setback::passing(cut(None))),
        Err(error) => Err(Setback::passing(lost(error))),
    }
}

/// The request got no answer at all.
fn unanswered(error: reqwest::Error) -> Setback {
    let message = |what: &str, error: reqwest::Error| format!("{what}: {}", error_chain(&error.without_url()));
    if error.is_connect() {
        let message = message("no connection to the provider", error);
        return Setback::passing(ModelError::new(ModelErrorKind::Connect, message));
    }
    if error.is_builder() || error.is_redirect() {
        let message = message("the request cannot be sent", error);
        return Setback::lasting(ModelError::new(ModelErrorKind::Request, message));
    }
    Setback::passing(lost(error))
}

/// Whether the answer is a stream of events. A server that cannot stream may answer as a whole, and the other way round.
fn is_streamed(response: &Response, asked: bool) -> Result<bool, ModelError> {
    let Some(media_type) = response.headers().get(CONTENT_TYPE) else { return Ok(asked) };
    let media_type = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match media_type.to_ascii_lowercase().as_str() {
        "text/event-stream" => Ok(true),
        "application/json" => Ok(false),
        other => {
            let shown: String = other.chars().take(80).collect();
            Err(protocol(format!("the answer is neither JSON nor a stream of events but {shown:?}")))
        }
    }
}
