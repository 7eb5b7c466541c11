//! What comes back: the events of a streamed answer, and the answer as a whole.

use serde::Deserialize;
use serde_json::Value;
use sse_stream::Sse;

use super::background::Background;
use super::history::Memory;
use crate::agent::http::{LARGEST, Listener, ProviderError, Read, Rest, Secrets, protocol, too_large, unreadable};
use crate::agent::{ModelError, ModelErrorKind, ModelEvent, ModelTurn, ToolCall};
use crate::run::Usage;

/// The events that a turn consists of; all others are ignored.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Event {
    #[serde(rename = "response.created", alias = "response.queued", alias = "response.in_progress")]
    Created { response: Created },
    #[serde(rename = "response.output_text.delta", alias = "response.refusal.delta")]
    Delta { delta: String },
    #[serde(rename = "response.reasoning_summary_part.added")]
    SummaryPart,
    #[serde(rename = "response.reasoning_summary_text.delta")]
    SummaryDelta { delta: String },
    #[serde(rename = "response.output_item.done")]
    ItemDone { item: Value },
    #[serde(rename = "response.completed")]
    Completed { response: Answer },
    #[serde(rename = "response.failed")]
    Failed { response: Answer },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Answer },
    #[serde(rename = "error")]
    Error(ErrorEvent),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Created {
    id: Option<String>,
}

/// What went wrong is said in the event itself or, by some servers, one level deeper as in a refusal.
#[derive(Deserialize)]
struct ErrorEvent {
    error: Option<ProviderError>,
    #[serde(flatten)]
    here: ProviderError,
}

/// An answer as a whole: what a request without streaming gets, and what ends a stream.
#[derive(Deserialize)]
struct Answer {
    id: Option<String>,
    status: Option<String>,
    output: Option<Vec<Value>>,
    usage: Option<Tokens>,
    error: Option<ProviderError>,
    incomplete_details: Option<IncompleteDetails>,
}

#[derive(Deserialize)]
struct IncompleteDetails {
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tokens {
    input_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
    total_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        let input_tokens = tokens.input_tokens.unwrap_or_default();
        let output_tokens = tokens.output_tokens.unwrap_or_default();
        let total_tokens = tokens.total_tokens.filter(|&total| total > 0);
        let of_input = tokens.input_tokens_details.unwrap_or_default();
        let of_output = tokens.output_tokens_details.unwrap_or_default();
        Self {
            input_tokens,
            output_tokens,
            total_tokens: total_tokens.unwrap_or_else(|| input_tokens.saturating_add(output_tokens)),
            cache_read_tokens: of_input.cached_tokens.unwrap_or_default(),
            cache_write_tokens: of_input.cache_write_tokens.unwrap_or_default(),
            reasoning_tokens: of_output.reasoning_tokens.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        content: Option<Vec<Part>>,
    },
    FunctionCall {
        call_id: String,
        name: String,
        arguments: String,
    },
    Reasoning,
    CustomToolCall,
    McpApprovalRequest,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    OutputText {
        text: String,
    },
    Refusal {
        refusal: String,
    },
    #[serde(other)]
    Other,
}

/// What was heard so far of an answer.
#[derive(Default)]
pub(super) struct Heard {
    /// Whether the next turn is to refer to the answer by its id.
    chaining: bool,
    background: Option<Background>,
    text: String,
    items: Vec<Value>,
    /// The bytes of all that was heard.
    size: usize,
    /// Whether a part of the reasoning was summed up.
    summed_up: bool,
    response_id: Option<String>,
}

impl Heard {
    pub(super) fn new(chaining: bool, background: Option<Background>) -> Self {
        Self { chaining, background, ..Self::default() }
    }

    /// What is to be remembered of an answer that goes on without this client, unless it was said before.
    fn note(&mut self, id: Option<String>) -> Option<ModelEvent> {
        self.response_id = id.or_else(|| self.response_id.take());
        let id = self.response_id.as_deref()?;
        self.background.as_mut()?.note(id).map(ModelEvent::Note)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.size = self.size.saturating_add(bytes);
        if self.size > LARGEST { Err(too_large()) } else { Ok(()) }
    }
}

impl Listener for Heard {
    fn hear(&mut self, event: &Sse, secrets: &Secrets) -> Result<Option<ModelEvent>, ModelError> {
        let (number, known) = parse_event(event)?;
        // Whoever asks for the rest of an answer may be told all of it.
        if self.background.as_mut().is_some_and(|background| background.was_heard(number)) {
            return Ok(None);
        }
        match known {
            Event::Other => Ok(None),
            Event::Created { response } => Ok(self.note(response.id)),
            // The parts are paragraphs.
            Event::SummaryPart => Ok(self.summed_up.then(|| ModelEvent::Reasoning("\n\n".to_owned()))),
            Event::SummaryDelta { delta } | Event::Delta { delta } if delta.is_empty() => Ok(None),
            Event::SummaryDelta { delta } => {
                self.grow(delta.len())?;
                self.summed_up = true;
                Ok(Some(ModelEvent::Reasoning(delta)))
            }
            Event::Delta { delta } => {
                self.grow(delta.len())?;
                self.text.push_str(&delta);
                Ok(Some(ModelEvent::Text(delta)))
            }
            Event::ItemDone { item } => {
                self.grow(event.data.as_ref().map_or(0, String::len))?;
                self.items.push(item);
                Ok(None)
            }
            Event::Completed { response } => {
                let status = response.status.clone().unwrap_or_else(|| "completed".to_owned());
                let turn = response.settle(&status, std::mem::take(self), secrets)?;
                Ok(Some(ModelEvent::Done(turn)))
            }
            // `cancelled` is the one status that such an event can sensibly bring along.
            Event::Failed { response } => match response.status.as_deref() {
                Some("cancelled") => Err(cancelled()),
                _ => Err(response.failed(secrets)),
            },
            Event::Incomplete { response } => Err(response.incomplete(secrets)),
            Event::Error(event) => Err(event.error.unwrap_or(event.here).of_answer(secrets)),
        }
    }

    fn read(&mut self, json: &[u8], secrets: &Secrets) -> Result<Read, ModelError> {
        let answer: Answer = serde_json::from_slice(json).map_err(|error| unreadable("the answer", &error))?;
        match answer.status.clone() {
            Some(status) if self.background.is_some() && matches!(status.as_str(), "queued" | "in_progress") => {
                Ok(Read::Unfinished(self.note(answer.id)))
            }
            Some(status) => {
                // Should the answer be asked for anew, that one goes on in the background too.
                let (chaining, background) = (self.chaining, self.background.take());
                let heard = std::mem::replace(self, Self::new(chaining, background));
                let before = heard.text.clone();
                let turn = match answer.settle(&status, heard, secrets) {
                    Ok(turn) => turn,
                    Err(error) => return Ok(Read::Failed(error)),
                };
                let unheard = turn.text.strip_prefix(&before).filter(|_| !before.is_empty()).unwrap_or_default();
                let unheard = unheard.to_owned();
                Ok(Read::Whole { turn, unheard })
            }
            None if answer.error.is_some() => Ok(Read::Failed(answer.failed(secrets))),
            None => Err(protocol("the answer has no status")),
        }
    }

    fn may_have_rest(&self) -> bool {
        self.background.is_some()
    }

    fn rest(&self) -> Option<Rest> {
        self.background.as_ref()?.rest()
    }
}

impl Answer {
    fn settle(self, status: &str, heard: Heard, secrets: &Secrets) -> Result<ModelTurn, ModelError> {
        match status {
            "completed" if self.error.is_some() => Err(self.failed(secrets)),
            "completed" => self.complete(heard),
            "failed" => Err(self.failed(secrets)),
            "incomplete" => Err(self.incomplete(secrets)),
            "cancelled" => Err(cancelled()),
            "queued" | "in_progress" => Err(protocol("the provider sent an answer that it has not finished")),
            _ => Err(protocol("the answer has an unknown status")),
        }
    }

    fn complete(self, heard: Heard) -> Result<ModelTurn, ModelError> {
        // Some servers end a stream without repeating what they have said.
        let items = self.output.filter(|items| !items.is_empty()).unwrap_or(heard.items);
        let mut turn = ModelTurn::default();
        let mut has_reasoned = false;
        for item in &items {
            match Item::deserialize(item).map_err(|error| unreadable("an item of the answer", &error))? {
                Item::Message { content } => {
                    for part in content.into_iter().flatten() {
                        match part {
                            Part::OutputText { text: said } | Part::Refusal { refusal: said } => {
                                turn.text.push_str(&said);
                            }
                            Part::Other => {}
                        }
                    }
                }
                Item::FunctionCall { call_id, name, arguments } => {
                    turn.tool_calls.push(ToolCall::new(call_id, name, arguments));
                }
                Item::Reasoning => has_reasoned = true,
                Item::CustomToolCall | Item::McpApprovalRequest => {
                    return Err(protocol("the model calls a tool, although it was given none"));
                }
                Item::Other => {}
            }
        }
        if turn.text.is_empty() {
            turn.text = heard.text;
        }
        turn.usage = self.usage.map(Usage::from).unwrap_or_default();
        turn.response_id = self.id.or(heard.response_id);
        let memory = Memory {
            response_id: turn.response_id.clone().filter(|_| heard.chaining),
            items: if has_reasoned { items } else { Vec::new() },
        };
        turn.provider_data = memory.into_provider_data();
        Ok(turn)
    }

    fn failed(self, secrets: &Secrets) -> ModelError {
        self.error.unwrap_or_default().of_answer(secrets)
    }

    fn incomplete(self, secrets: &Secrets) -> ModelError {
        let reason = self.incomplete_details.and_then(|details| details.reason);
        let reason = reason.map(|reason| format!(": {}", secrets.clean(&reason))).unwrap_or_default();
        ModelError::new(ModelErrorKind::Incomplete, format!("the provider says that the answer is incomplete{reason}"))
    }
}

fn cancelled() -> ModelError {
    ModelError::new(ModelErrorKind::Failed, "the provider says that the answer was cancelled")
}

/// Reads an event, which is named in its data or, by some servers, in the frame alone.
fn parse_event(event: &Sse) -> Result<(Option<u64>, Event), ModelError> {
    let data = event.data.as_deref().unwrap_or_default().trim();
    let named = event.event.as_deref().filter(|name| !name.is_empty() && *name != "message");
    if data.is_empty() || data == "[DONE]" {
        return Ok((None, Event::Other));
    }
    // Whatever an event of another name holds is not for this client, JSON or not.
    if named.is_some_and(|name| name != "error" && !name.starts_with("response.")) {
        return Ok((None, Event::Other));
    }
    let what = "an event of the answer";
    let mut value: Value = serde_json::from_str(data).map_err(|error| unreadable(what, &error))?;
    if let Some(fields) = value.as_object_mut()
        && !fields.contains_key("type")
    {
        let failed = fields.get("error").is_some_and(Value::is_object);
        let name = named.unwrap_or(if failed { "error" } else { "unknown" });
        fields.insert("type".to_owned(), name.into());
    }
    let number = value.get("sequence_number").and_then(Value::as_u64);
    let event = serde_json::from_value(value).map_err(|error| unreadable(what, &error))?;
    Ok((number, event))
}
