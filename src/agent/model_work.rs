//! What an agent with a model does: it asks for one turn, which is a step, and passes on what is said.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::context::Report;
use super::{
    AgentError, Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelTurn, Role, RunContext, Work,
};
use crate::run::{Content, RunEventKind};
use crate::telemetry;

pub(crate) struct ModelWork {
    model: Arc<dyn Model>,
    system: Option<Arc<str>>,
}

impl ModelWork {
    pub(crate) fn new(model: Arc<dyn Model>, system: Option<String>) -> Self {
        Self { model, system: system.map(Into::into) }
    }

    fn request(&self, cx: &RunContext) -> ModelRequest {
        let system = self.system.iter().map(|system| Message::new(Role::System, &**system));
        let history = cx.history().iter().flat_map(|earlier| {
            [
                Message::new(Role::User, earlier.input.to_string()),
                Message::new(Role::Assistant, earlier.content.to_string()),
            ]
        });
        let question = Message::new(Role::User, cx.input().to_string());
        ModelRequest { messages: system.chain(history).chain([question]).collect(), ..ModelRequest::default() }
    }
}

impl Work for ModelWork {
    fn run(&self, cx: RunContext) -> BoxFuture<'static, Result<Content, AgentError>> {
        let model = Arc::clone(&self.model);
        let request = self.request(&cx);
        Box::pin(async move {
            let turn = turn(&*model, request, &cx).await?;
            Ok(Content::from(turn.text))
        })
    }
}

/// The name of the steps that are turns.
const TURN: &str = "model turn";

/// The next turn: the one that an earlier attempt has had, or a new one.
async fn turn(model: &dyn Model, request: ModelRequest, cx: &RunContext) -> Result<ModelTurn, AgentError> {
    let step = cx.steps().call(TURN)?;
    if let Some(turn) = cx.steps().recall::<ModelTurn>(&step)? {
        cx.report(Report::Recalled { text: turn.text.clone(), usage: turn.usage }).await;
        return Ok(turn);
    }
    let turn = take_turn(model, request, cx).await?;
    // The run ends with this turn, so there is nothing to wait for; nor is there a reason to fail when it is too large to be
    // remembered, since what the run may say has its own bound.
    if let Ok((record, _)) = cx.steps().finish(&step, &turn) {
        cx.remember_along(record).await;
    }
    Ok(turn)
}

/// Asks for one turn, and tells those who follow the run about it.
async fn take_turn(model: &dyn Model, request: ModelRequest, cx: &RunContext) -> Result<ModelTurn, ModelError> {
    let names = || (model.id().to_owned(), model.provider().to_owned());
    let (id, provider) = names();
    cx.say(RunEventKind::ModelRequestStarted { model: id, model_provider: provider }).await;
    let asked = Instant::now();
    let mut first_piece = None;
    let mut answer = model.respond(request);
    let turn = loop {
        match answer.next().await {
            Some(Ok(ModelEvent::Text(text))) => {
                first_piece.get_or_insert_with(|| asked.elapsed());
                cx.emit_text(text).await;
            }
            Some(Ok(ModelEvent::Done(turn))) => break turn,
            Some(Err(error)) => return Err(error),
            None => {
                return Err(ModelError::new(ModelErrorKind::Cut, "the model's answer ended before it was complete"));
            }
        }
    };
    if first_piece.is_none() && !turn.text.is_empty() {
        first_piece = Some(asked.elapsed());
        cx.emit_text(turn.text.as_str()).await;
    }
    telemetry::tokens_used(cx.agent(), turn.usage.input_tokens, turn.usage.output_tokens);
    let (id, provider) = names();
    cx.say(RunEventKind::ModelRequestCompleted {
        model: id,
        model_provider: provider,
        usage: turn.usage,
        time_to_first_token: first_piece.map(|time| time.as_secs_f64()),
    })
    .await;
    Ok(turn)
}

/// What the model is told before anything else: the description, then the instructions, as a list when there are several.
pub(crate) fn system_text(description: Option<&str>, instructions: &[String]) -> Option<String> {
    let instructions = match instructions {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.iter().map(|one| format!("- {one}")).collect::<Vec<_>>().join("\n")),
    };
    match (description, instructions) {
        (None, None) => None,
        (Some(only), None) => Some(only.to_owned()),
        (None, Some(only)) => Some(only),
        (Some(description), Some(instructions)) => Some(format!("{description}\n{instructions}")),
    }
}

#[cfg(test)]
mod tests {
    use super::system_text;

    #[test]
    fn the_system_text_is_the_description_then_the_instructions() {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(system_text(None, &[]), None);
        assert_eq!(system_text(Some("A basic agent"), &[]).unwrap(), "A basic agent");
        assert_eq!(system_text(Some("A basic agent"), &texts(&["Be brief"])).unwrap(), "A basic agent\nBe brief");
        assert_eq!(system_text(None, &texts(&["Be brief", "Use markdown"])).unwrap(), "- Be brief\n- Use markdown");
    }
}
