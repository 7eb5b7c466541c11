//! What a model notes of a turn that goes on elsewhere, so that another attempt can take it up again.

use serde_json::Value;
use tokio::runtime::Handle;

use super::{AgentError, Model, RunContext};
use crate::run::StepRecord;

/// The name of the steps that are notes. They follow upon the turn that they belong to.
const NOTE: &str = "model note";

/// The latest note of a turn. When the run ends early and for good, the model is told to abandon what was noted.
pub(super) struct Notes<'a> {
    model: &'a dyn Model,
    cx: &'a RunContext,
    latest: Option<Value>,
}

impl<'a> Notes<'a> {
    /// What earlier attempts have noted of the turn that was called last.
    pub(super) fn recall(model: &'a dyn Model, cx: &'a RunContext) -> Result<Self, AgentError> {
        let mut notes = Self { model, cx, latest: None };
        while cx.steps().is_next(NOTE) {
            let step = cx.steps().call(NOTE)?;
            // The one that says so of the others is null.
            notes.latest = cx.steps().recall::<Value>(&step)?.filter(|note| !note.is_null());
        }
        Ok(notes)
    }

    pub(super) fn latest(&self) -> Option<Value> {
        self.latest.clone()
    }

    /// Waits until the note is durable.
    pub(super) async fn remember(&mut self, note: Value) -> Result<(), AgentError> {
        let step = self.cx.steps().call(NOTE)?;
        let (record, note) = self.cx.steps().finish(&step, &note)?;
        // From here on there is something to abandon, durable or not.
        self.latest = Some(note);
        self.cx.remember(record, None).await
    }

    /// The turn is complete: nothing of it goes on.
    pub(super) fn close(&mut self) {
        self.latest = None;
    }
}

impl Drop for Notes<'_> {
    fn drop(&mut self) {
        if let Some(note) = self.latest.take()
            && self.cx.ends_for_good()
        {
            abandon(self.model, note);
        }
    }
}

/// What makes the notes of the turn that was called last void for whoever goes on from the run's steps; none when there are none, or
/// something has come after them.
pub(super) fn voiding(cx: &RunContext) -> Option<StepRecord> {
    if !cx.steps().was_latest(NOTE) {
        return None;
    }
    let step = cx.steps().call(NOTE).ok()?;
    cx.steps().finish(&step, &Value::Null).ok().map(|(record, _)| record)
}

/// Tells the model to give up what was noted. Nobody waits for it.
pub(super) fn abandon(model: &dyn Model, note: Value) {
    if let Ok(threads) = Handle::try_current() {
        threads.spawn(model.abandon(note));
    }
}
