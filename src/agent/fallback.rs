//! Models that take each other's place.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};

use super::note::abandon;
use super::{Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelTurn};

/// A model that asks another one when a turn fails before it has said anything.
///
/// Each turn begins with the first model; there is no memory of who failed. When a turn fails, whatever the
/// [kind](ModelErrorKind) of its error, and after whatever retries the model has of its own, the next model is asked the same.
/// A turn that fails after it has said a piece of text fails for good: what was said cannot be unsaid. When all models have
/// failed, the error is that of the last one.
///
/// A `ModelRequestStarted` event tells of each model that is asked, and `ModelRequestCompleted` names the one that answered.
/// What a client wants to see again of a turn ([`provider_data`](super::ModelTurn::provider_data)) is no concern of the others,
/// not even of the same sort: they are told what was said and called. A model that has [noted](ModelEvent::Note) something of
/// its turn before it failed is told to [abandon](Model::abandon) it.
///
/// ```
/// use greenroom::model::{Model, ModelError, ModelErrorKind};
/// use greenroom::{Agent, FallbackModel, ScriptedModel, ScriptedTurn};
///
/// let down = ScriptedModel::new([ScriptedTurn::text("").then_fail(ModelError::new(ModelErrorKind::Server, "down"))]);
/// let spare = ScriptedModel::new([ScriptedTurn::text("Paris.")]);
/// let model = FallbackModel::new(down).or(spare);
/// assert_eq!(model.id(), "scripted");
///
/// let agent = Agent::builder("assistant").model(model).build()?;
/// # assert_eq!(agent.name(), "assistant");
/// # Ok::<(), greenroom::InvalidAgent>(())
/// ```
#[derive(Clone)]
#[must_use = "a model does nothing until an agent asks it"]
pub struct FallbackModel {
    first: Arc<dyn Model>,
    others: Vec<Arc<dyn Model>>,
}

impl FallbackModel {
    /// Asks `first`, and nobody else yet.
    pub fn new(first: impl Model) -> Self {
        Self { first: Arc::new(first), others: Vec::new() }
    }

    /// Asks `next` when all models before it have failed.
    pub fn or(mut self, next: impl Model) -> Self {
        self.others.push(Arc::new(next));
        self
    }

    fn models(&self) -> impl Iterator<Item = &Arc<dyn Model>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The id and the provider are those of the first model; events name the one that is asked.
impl Model for FallbackModel {
    fn id(&self) -> &str {
        self.first.id()
    }

    fn provider(&self) -> &str {
        self.first.provider()
    }

    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let models: Vec<_> = self.models().cloned().collect();
        let (at, note) = request.note.as_ref().and_then(noted).filter(|(at, _)| *at < models.len()).unzip();
        let (at, request) = (at.unwrap_or(0), ModelRequest { note: None, ..request });
        let turn = Turn { models, request, at, note, answer: None, has_spoken: false, is_done: false };
        stream::try_unfold(turn, |mut turn| async move {
            let event = turn.next().await?;
            Ok(event.map(|event| (event, turn)))
        })
        .boxed()
    }

    fn abandon(&self, note: Value) -> BoxFuture<'static, ()> {
        let noted = noted(&note).and_then(|(at, note)| Some((self.models().nth(at)?, note)));
        noted.map_or_else(
            || Box::pin(std::future::ready(())) as BoxFuture<'static, ()>,
            |(model, note)| model.abandon(note),
        )
    }
}

/// A note of the model at this place.
fn note_of(at: usize, note: &Value) -> Value {
    json!({"fallback": at, "note": note})
}

/// Whose note it is, and what it says.
fn noted(note: &Value) -> Option<(usize, Value)> {
    let at = usize::try_from(note.get("fallback")?.as_u64()?).ok()?;
    Some((at, note.get("note")?.clone()))
}

/// What the client of the model at this place wants to see again.
fn data_of(at: usize, data: &Value) -> Value {
    json!({"fallback": at, "data": data})
}

/// What that was, if it is the model at this place that wants it.
fn data_for(at: usize, data: &Value) -> Option<Value> {
    (data.get("fallback")?.as_u64()? == at as u64).then(|| data.get("data").cloned()).flatten()
}

impl fmt::Debug for FallbackModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.models().map(|model| (model.provider(), model.id()))).finish()
    }
}

struct Turn {
    models: Vec<Arc<dyn Model>>,
    request: ModelRequest,
    /// The one that is asked.
    at: usize,
    /// What it has noted.
    note: Option<Value>,
    answer: Option<BoxStream<'static, Result<ModelEvent, ModelError>>>,
    has_spoken: bool,
    is_done: bool,
}

impl Turn {
    async fn next(&mut self) -> Result<Option<ModelEvent>, ModelError> {
        let error = match self.answer().next().await {
            None if self.is_done => return Ok(None),
            None => ModelError::new(ModelErrorKind::Cut, "the model's answer ended before it was complete"),
            Some(Err(error)) => error,
            Some(Ok(event)) => return Ok(Some(self.told(event))),
        };
        let Some(next) = self.models.get(self.at + 1).filter(|_| !self.has_spoken) else { return Err(error) };
        let failed = &self.models[self.at];
        tracing::warn!(%error, model = failed.id(), instead = next.id(), "another model is asked");
        let (model, provider) = (next.id().to_owned(), next.provider().to_owned());
        self.answer = None;
        if let Some(note) = self.note.take() {
            abandon(&**failed, note);
        }
        self.at += 1;
        Ok(Some(ModelEvent::Instead { model, provider }))
    }

    /// The answer of the model that is asked.
    fn answer(&mut self) -> &mut BoxStream<'static, Result<ModelEvent, ModelError>> {
        let (models, request, at, note) = (&self.models, &self.request, self.at, &self.note);
        self.answer.get_or_insert_with(|| models[at].respond(request_for(at, request, note.clone())))
    }

    /// An event of the model that is asked, as one of this model.
    fn told(&mut self, event: ModelEvent) -> ModelEvent {
        match event {
            ModelEvent::Note(note) => {
                let told = ModelEvent::Note(note_of(self.at, &note));
                self.note = Some(note);
                told
            }
            ModelEvent::Done(turn) => {
                self.is_done = true;
                let provider_data = turn.provider_data.as_ref().map(|data| data_of(self.at, data));
                ModelEvent::Done(ModelTurn { provider_data, ..turn })
            }
            ModelEvent::Text(text) => {
                self.has_spoken = true;
                ModelEvent::Text(text)
            }
            other @ (ModelEvent::Reasoning(_) | ModelEvent::Instead { .. }) => other,
        }
    }
}

/// What the model at this place is asked.
fn request_for(at: usize, request: &ModelRequest, note: Option<Value>) -> ModelRequest {
    let mut request = ModelRequest { note, ..request.clone() };
    for message in &mut request.messages {
        message.provider_data = message.provider_data.as_ref().and_then(|data| data_for(at, data));
    }
    request
}
