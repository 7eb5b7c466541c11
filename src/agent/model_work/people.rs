//! What people have to say about calls, each of which is a step before that of the call itself.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::calls::{Outcome, Placed};
use crate::agent::memory::{CalledStep, StepError};
use crate::agent::tool::people::{Needed, filled_in};
use crate::agent::{AgentError, RunContext, Tool, ToolCall};
use crate::run::{Confirmation, Content, FailureKind, InputField, RequirementKind, ToolExecution};

/// What people are asked about a call.
pub(super) struct Asked<'a> {
    tool: &'a Tool,
    needed: &'a Needed,
    step: CalledStep,
}

/// What they have said.
enum Said {
    Confirmation(Confirmation),
    Input(Map<String, Value>),
    Result(Content),
}

/// What becomes of a call.
pub(super) enum Verdict<'a> {
    /// It is executed, with these arguments.
    Execute(Cow<'a, str>),
    /// It has ended, and nothing is executed here.
    Ended(Outcome),
}

impl<'a> Asked<'a> {
    /// Takes the place of the question among the steps, when the tool needs somebody.
    pub(super) fn about(tool: Option<&'a Tool>, cx: &RunContext) -> Result<Option<Self>, StepError> {
        let Some((tool, needed)) = tool.and_then(|tool| Some((tool, tool.needed()?))) else { return Ok(None) };
        // No other step has the name of a tool: it has no space in it.
        Ok(Some(Self { tool, needed, step: cx.steps().call(tool.name())? }))
    }

    fn said(&self, cx: &RunContext) -> Result<Option<Said>, StepError> {
        let steps = cx.steps();
        Ok(match self.needed {
            Needed::Confirmation => steps.recall(&self.step)?.map(Said::Confirmation),
            Needed::Input(_) => steps.recall(&self.step)?.map(Said::Input),
            Needed::Execution => steps.recall(&self.step)?.map(Said::Result),
        })
    }

    /// The call with what people have said about it, as those who follow the run see it.
    pub(super) fn noted(&self, call: ToolExecution, cx: &RunContext) -> Result<ToolExecution, StepError> {
        Ok(match self.said(cx)? {
            None => call,
            Some(Said::Confirmation(Confirmation { confirmed, note })) => {
                let confirmation_note = note.map(|note| note.replace('\0', "\u{fffd}"));
                ToolExecution { confirmed: Some(confirmed), confirmation_note, ..call }
            }
            Some(Said::Input(added)) => ToolExecution { user_input: Some(Content::from(added).storable()), ..call },
            Some(Said::Result(_)) => ToolExecution { external_execution: true, ..call },
        })
    }

    /// What becomes of the call. When nobody has decided, this waits for people, and the call is not under way any more.
    async fn verdict<'c>(&self, placed: &mut Placed<'c>, cx: &RunContext) -> Result<Verdict<'c>, AgentError> {
        let call = placed.call;
        let Some(said) = self.said(cx)? else {
            // People are not bothered with what cannot be.
            if let Err(problem) = self.tool.check(&call.arguments) {
                return Ok(Verdict::Ended(Outcome::bad_arguments(&call.name, &problem)));
            }
            return self.wait(placed, cx).await.map(Verdict::Ended);
        };
        Ok(match said {
            Said::Confirmation(Confirmation { confirmed: true, .. }) => {
                Verdict::Execute(Cow::Borrowed(&call.arguments))
            }
            Said::Confirmation(Confirmation { confirmed: false, note }) => {
                let why = note.map_or_else(String::new, |note| format!(": {note}"));
                Verdict::Ended(Outcome::failed(format!("the call of `{}` was rejected{why}", call.name)))
            }
            Said::Input(added) => match filled_in(&call.arguments, added) {
                Ok(arguments) => Verdict::Execute(Cow::Owned(arguments)),
                Err(problem) => Verdict::Ended(Outcome::bad_arguments(&call.name, &problem)),
            },
            Said::Result(result) => Verdict::Ended(Outcome::returned(result.storable())),
        })
    }

    /// Waits for people. This ends only when they cannot be asked, or the run is to end.
    async fn wait(&self, placed: &mut Placed<'_>, cx: &RunContext) -> Result<Outcome, AgentError> {
        let (kind, question, fields): (_, _, &[InputField]) = match self.needed {
            Needed::Confirmation => (RequirementKind::Confirmation, None, &[]),
            Needed::Input(question) => (RequirementKind::UserInput, Some(&question.text), &question.fields),
            Needed::Execution => (RequirementKind::ExternalExecution, None, &[]),
        };
        let requirement = cx.requirement_of(&self.step, kind, details(placed.call, question), fields.to_vec());
        // Nothing looks at the code between this and the first poll of the wait.
        placed.under_way = None;
        let error = cx.wait_for(requirement).await;
        placed.under_way = Some(cx.begin_step());
        if error.kind() != FailureKind::InvalidStep {
            return Err(error);
        }
        Ok(Outcome::failed(format!("tool `{}` failed: nobody can be asked: {error}", placed.call.name)))
    }
}

/// What becomes of a call, after people were asked if they have to be.
pub(super) async fn verdict<'c>(placed: &mut Placed<'c>, cx: &RunContext) -> Result<Verdict<'c>, AgentError> {
    match placed.asked.take() {
        Some(asked) => asked.verdict(placed, cx).await,
        None => Ok(Verdict::Execute(Cow::Borrowed(&placed.call.arguments))),
    }
}

/// What people get to see of a call.
fn details(call: &ToolCall, question: Option<&String>) -> Value {
    let ToolExecution { tool_call_id, tool_name, tool_args, .. } =
        ToolExecution::begun(&call.id, &call.name, &call.arguments, 1);
    let mut details = json!({ "tool_call_id": tool_call_id, "tool_name": tool_name, "tool_args": tool_args });
    if let Some(question) = question {
        details["question"] = question.as_str().into();
    }
    details
}
