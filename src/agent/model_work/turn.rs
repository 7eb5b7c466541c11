//! A turn of the model, which is a step.

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use super::shown::{instructions, shown};
use crate::agent::context::Report;
use crate::agent::memory::CalledStep;
use crate::agent::note::Notes;
use crate::agent::step::unless_over;
use crate::agent::{
    AgentError, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelTurn, Role, RunContext,
};
use crate::run::{RunEventKind, StepRecord};
use crate::telemetry::{self, Span, names};

/// The name of the steps that are turns.
const TURN: &str = "model turn";

/// The next turn: the one that an earlier attempt has had, or a new one. One that wants tools called is durable when this
/// returns.
pub(super) async fn turn(
    model: &dyn Model,
    request: &ModelRequest,
    cx: &RunContext,
) -> Result<(ModelTurn, Answer), AgentError> {
    let step = cx.steps().call(TURN)?;
    let mut notes = Notes::recall(model, cx)?;
    // On the heap, as all that is not there while the model answers.
    if let Some(turn) = cx.steps().recall(&step)?.map(Box::new) {
        notes.close();
        return Ok((Box::pin(again(*turn, cx)).await, Answer(None)));
    }
    let _under_way = cx.begin_step();
    // On the heap, or what waits for it would have room for it twice.
    let taken = unless_over(cx, Box::pin(take(model, request, &mut notes, cx))).await??;
    Box::pin(keep(taken, &step, cx)).await
}

/// What is to be told of a turn that wants no tools called, and be remembered if it is an answer.
pub(super) struct Answer(Option<Box<(StepRecord, RunEventKind)>>);

impl Answer {
    /// Most likely the run ends with this turn, so there is nothing to wait for.
    pub(super) async fn remember(self, cx: &RunContext) {
        if let Some((record, completed)) = self.0.map(|kept| *kept) {
            cx.remember_along(record, completed).await;
        }
    }

    /// Whoever resumes the run would be given the same again.
    pub(super) async fn dismiss(self, cx: &RunContext) {
        if let Some((_, completed)) = self.0.map(|kept| *kept) {
            cx.say(completed).await;
        }
    }
}

/// A turn that an earlier attempt has had.
async fn again(turn: ModelTurn, cx: &RunContext) -> ModelTurn {
    cx.report(Report::Recalled { text: turn.text.clone(), usage: turn.usage }).await;
    turn
}

/// Has a new turn remembered, unless it may be an answer.
async fn keep(
    (turn, completed): (ModelTurn, RunEventKind),
    step: &CalledStep,
    cx: &RunContext,
) -> Result<(ModelTurn, Answer), AgentError> {
    match cx.steps().finish(step, &turn) {
        // The calls must not begin before it is certain that no other attempt will be told to make other ones.
        Ok((record, _)) if !turn.tool_calls.is_empty() => cx.remember(record, Some(completed)).await?,
        Ok((record, _)) => return Ok((turn, Answer(Some(Box::new((record, completed)))))),
        Err(problem) => {
            cx.say(completed).await;
            // What the run may say has its own bound: an answer that is too large to be remembered may still be given.
            if !turn.tool_calls.is_empty() {
                return Err(problem.into());
            }
        }
    }
    Ok((turn, Answer(None)))
}

/// Asks for one turn, and tells those who follow the run about it, except that it is complete.
async fn take(
    model: &dyn Model,
    request: &ModelRequest,
    notes: &mut Notes<'_>,
    cx: &RunContext,
) -> Result<(ModelTurn, RunEventKind), AgentError> {
    let (mut id, mut provider) = (model.id().to_owned(), model.provider().to_owned());
    cx.say(RunEventKind::ModelRequestStarted { model: id.clone(), model_provider: provider.clone() }).await;
    let asked = Instant::now();
    let mut first_piece = None;
    let mut span = asking(&id, &provider, request, cx);
    let mut answer = model.respond(ModelRequest { note: notes.latest(), ..request.clone() });
    let mut turn = loop {
        match span.around(answer.next()).await {
            Some(Ok(ModelEvent::Text(text))) => {
                first_piece.get_or_insert_with(|| asked.elapsed());
                cx.emit_text(text).await;
            }
            Some(Ok(ModelEvent::Reasoning(text))) => {
                cx.say(RunEventKind::ReasoningContentDelta { reasoning_content: text.into() }).await;
            }
            Some(Ok(ModelEvent::Done(turn))) => break turn,
            // On the heap: seldom, and while it is waited for there is room for it in every turn.
            Some(Ok(ModelEvent::Note(note))) => Box::pin(notes.remember(note)).await?,
            Some(Ok(ModelEvent::Instead { model, provider: other })) => {
                (id, provider) = (model.clone(), other.clone());
                span.fail("fallback");
                span = asking(&id, &provider, request, cx);
                cx.say(RunEventKind::ModelRequestStarted { model, model_provider: other }).await;
            }
            Some(Err(error)) => {
                span.fail(format_args!("{:?}", error.kind()));
                return Err(error.into());
            }
            None => {
                span.fail("Cut");
                let message = "the model's answer ended before it was complete";
                return Err(ModelError::new(ModelErrorKind::Cut, message).into());
            }
        }
    };
    notes.close();
    span.content(names::OUTPUT, || json!([shown(&turn.to_message())]));
    span.answered(&turn.usage, turn.response_id.as_deref());
    if first_piece.is_none() && !turn.text.is_empty() {
        first_piece = Some(asked.elapsed());
        turn = Box::pin(say_at_once(turn, cx)).await;
    }
    telemetry::tokens_used(cx.agent(), &id, turn.usage.input_tokens, turn.usage.output_tokens);
    let completed = RunEventKind::ModelRequestCompleted {
        model: id,
        model_provider: provider,
        usage: turn.usage,
        time_to_first_token: first_piece.map(|time| time.as_secs_f64()),
    };
    Ok((turn, completed))
}

/// Says what was not said in pieces.
async fn say_at_once(turn: ModelTurn, cx: &RunContext) -> ModelTurn {
    cx.emit_text(turn.text.as_str()).await;
    turn
}

/// The span of a model that is asked.
fn asking(model: &str, provider: &str, request: &ModelRequest, cx: &RunContext) -> Span {
    let span = cx.span().chat(model, provider);
    let conversation = || request.messages.iter().filter(|message| message.role != Role::System).map(shown).collect();
    span.content(names::SYSTEM, || instructions(&request.messages));
    span.content(names::INPUT, conversation);
    span
}
