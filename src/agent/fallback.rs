//! Models that take each other's place.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};

use super::{Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest};

/// A model that asks another one when a turn fails before it has said anything.
///
/// Each turn begins with the first model; there is no memory of who failed. When a turn fails, whatever the
/// [kind](ModelErrorKind) of its error, and after whatever retries the model has of its own, the next model is asked the same.
/// A turn that fails after it has said a piece of text fails for good: what was said cannot be unsaid. When all models have
/// failed, the error is that of the last one.
///
/// A `ModelRequestStarted` event tells of each model that is asked, and `ModelRequestCompleted` names the one that answered.
/// What a client wants to see again of a turn ([`provider_data`](super::ModelTurn::provider_data)) is no concern of the others:
/// they are told what was said and called.
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
        let request = ModelRequest { note, ..request };
        let turn = Turn { models, request, at: at.unwrap_or(0), answer: None, has_spoken: false, is_done: false };
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
    answer: Option<BoxStream<'static, Result<ModelEvent, ModelError>>>,
    has_spoken: bool,
    is_done: bool,
}

impl Turn {
    async fn next(&mut self) -> Result<Option<ModelEvent>, ModelError> {
        let (models, request, at) = (&self.models, &self.request, self.at);
        let answer = self.answer.get_or_insert_with(|| models[at].respond(request.clone()));
        let error = match answer.next().await {
            None if self.is_done => return Ok(None),
            None => ModelError::new(ModelErrorKind::Cut, "the model's answer ended before it was complete"),
            Some(Err(error)) => error,
            Some(Ok(event)) => {
                self.has_spoken |= matches!(event, ModelEvent::Text(_));
                self.is_done |= matches!(event, ModelEvent::Done(_));
                return Ok(Some(match event {
                    ModelEvent::Note(note) => ModelEvent::Note(note_of(at, &note)),
                    other @ (ModelEvent::Text(_) | ModelEvent::Done(_) | ModelEvent::Instead { .. }) => other,
                }));
            }
        };
        let Some(next) = models.get(at + 1).filter(|_| !self.has_spoken) else { return Err(error) };
        tracing::warn!(%error, model = models[at].id(), instead = next.id(), "another model is asked");
        let (model, provider) = (next.id().to_owned(), next.provider().to_owned());
        (self.at, self.answer, self.request.note) = (at + 1, None, None);
        Ok(Some(ModelEvent::Instead { model, provider }))
    }
}
