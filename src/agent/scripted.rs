//! A model that says what it is told to, for examples and for users' own tests.

use futures_util::stream::{self, BoxStream};

use super::{Model, ModelError, ModelEvent, ModelRequest, ModelTurn};
use crate::run::Usage;

/// A model that needs neither network nor key: each turn plays the next script, the last one again and again.
#[derive(Clone, Debug)]
pub struct ScriptedModel {
    turns: Vec<ScriptedTurn>,
}

/// What a scripted model says in one turn.
#[derive(Clone, Debug)]
pub struct ScriptedTurn {
    text: String,
}

impl ScriptedTurn {
    /// Says `text`.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl ScriptedModel {
    /// A model that plays these turns.
    #[must_use]
    pub fn new(turns: impl IntoIterator<Item = ScriptedTurn>) -> Self {
        Self { turns: turns.into_iter().collect() }
    }
}

impl Model for ScriptedModel {
    fn id(&self) -> &'static str {
        "scripted"
    }

    fn provider(&self) -> &'static str {
        "greenroom"
    }

    fn respond(&self, _request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let text = self.turns[0].text.clone();
        Box::pin(stream::iter([Ok(ModelEvent::Done(ModelTurn::new(text, Usage::default())))]))
    }
}
