//! What an agent with a model does: it asks for turns and makes the tool calls that they want, until a turn is an answer.

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub(crate) use self::calls::Tools;
pub(crate) use self::form::Form;
pub(crate) use self::limits::Limits;
use self::limits::Spent;
use self::turn::turn;
use super::{AgentError, Message, Model, ModelRequest, Role, RunContext, Work, note};
use crate::run::{Content, StepRecord};

mod calls;
mod form;
mod history;
mod limits;
mod people;
mod shown;
#[cfg(test)]
mod tests;
mod turn;

pub(crate) struct ModelWork(Arc<Parts>);

/// What a run of a model needs.
pub(crate) struct Parts {
    pub(crate) model: Arc<dyn Model>,
    pub(crate) system: Option<String>,
    pub(crate) tools: Tools,
    pub(crate) form: Option<Form>,
    /// Whether the model is told once of an answer that does not have the form.
    pub(crate) repair: bool,
    pub(crate) limits: Limits,
}

impl ModelWork {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Work for ModelWork {
    fn run(&self, cx: RunContext) -> BoxFuture<'static, Result<Content, AgentError>> {
        let parts = Arc::clone(&self.0);
        Box::pin(async move { parts.converse(&cx).await })
    }

    fn voiding(&self, cx: &RunContext) -> Option<StepRecord> {
        note::voiding(cx)
    }
}

impl Parts {
    /// Turn after turn, each of them and each of their calls a step, up to the one that answers.
    async fn converse(&self, cx: &RunContext) -> Result<Content, AgentError> {
        let mut request = self.request(cx);
        let mut spent = Spent::default();
        let mut may_repair = self.repair;
        loop {
            let (turn, kept) = turn(&*self.model, &request, cx).await?;
            spent.note(&turn);
            if turn.tool_calls.is_empty() {
                let read = self.form.as_ref().map(|form| form.read(&turn.text)).transpose();
                if read.is_err() && !may_repair {
                    kept.dismiss(cx).await;
                } else {
                    kept.remember(cx).await;
                }
                let misfit = match read {
                    Ok(None) => return Ok(Content::from(turn.text)),
                    Ok(Some(answer)) => return Ok(Content::from(answer)),
                    Err(misfit) if !may_repair => return Err(misfit.into_failure()),
                    Err(misfit) => misfit,
                };
                may_repair = false;
                spent.allows_more(&self.limits)?;
                request.messages.extend([turn.to_message(), Message::new(Role::User, misfit.to_model())]);
            } else {
                spent.allows_more(&self.limits)?;
                // On the heap: while the model answers, which is most of the time, there is no room for it.
                let outputs = Box::pin(self.tools.call_all(&turn.tool_calls, spent.turns(), cx)).await?;
                request.messages.push(turn.to_message());
                request.messages.extend(outputs);
            }
        }
    }

    /// What the model is asked first.
    fn request(&self, cx: &RunContext) -> ModelRequest {
        let system = self.system.iter().map(|system| Message::new(Role::System, system.as_str()));
        let known = |name: &str| self.tools.find(name).is_some();
        let history = cx.history().iter().flat_map(|earlier| history::messages(earlier, known));
        let question = Message::new(Role::User, cx.input().clone());
        let mut messages: Vec<Message> = system.chain(history).chain([question]).collect();
        // Most conversations are short, and stay for as long as the model takes.
        messages.shrink_to_fit();
        ModelRequest {
            messages,
            tools: self.tools.specs(),
            output: self.form.as_ref().map(|form| form.spec.clone()),
            note: None,
        }
    }
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
