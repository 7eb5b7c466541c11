//! What comes back: the events of a streamed answer, and the answer as a whole.

use serde::Deserialize;
use serde_json::Value;
use sse_stream::Sse;

use super::body::{LARGEST, too_large};
use super::failure::{ProviderError, Secrets, protocol};
use crate::agent::{ModelError, ModelErrorKind, ModelEvent, ModelTurn};
use crate::run::Usage;

/// The events that a turn consists of; all others are ignored.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Event {
    #[serde(rename = "response.created")]
    Created { response: Created },
    #[serde(rename = "response.output_text.delta", alias = "response.refusal.delta")]
    Delta { delta: String },
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
    output: Option<Vec<Item>>,
    usage: Option<Usage>,
    error: Option<ProviderError>,
    incomplete_details: Option<IncompleteDetails>,
}

#[derive(Deserialize)]
struct IncompleteDetails {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        content: Option<Vec<Part>>,
    },
    FunctionCall,
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

/// What was heard so far of a streamed answer.
#[derive(Default)]
pub(super) struct Heard {
    text: String,
    response_id: Option<String>,
}

impl Heard {
    /// Takes in an event; none comes of one that is of no interest here.
    pub(super) fn hear(&mut self, event: &Sse, secrets: &Secrets) -> Result<Option<ModelEvent>, ModelError> {
        match parse_event(event)? {
            Event::Other => Ok(None),
            Event::Created { response } => {
                self.response_id = response.id;
                Ok(None)
            }
            Event::Delta { delta } if delta.is_empty() => Ok(None),
            Event::Delta { delta } => {
                if self.text.len() + delta.len() > LARGEST {
                    return Err(too_large());
                }
                self.text.push_str(&delta);
                Ok(Some(ModelEvent::Text(delta)))
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
}

/// Reads an answer that came as one JSON text.
pub(super) fn parse_whole(json: &[u8], secrets: &Secrets) -> Result<ModelTurn, ModelError> {
    let answer: Answer = serde_json::from_slice(json).map_err(|error| unreadable("the answer", &error))?;
    match answer.status.clone() {
        Some(status) => answer.settle(&status, Heard::default(), secrets),
        None if answer.error.is_some() => Err(answer.failed(secrets)),
        None => Err(protocol("the answer has no status")),
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
        let mut text = String::new();
        for item in self.output.into_iter().flatten() {
            match item {
                Item::Message { content } => {
                    for part in content.into_iter().flatten() {
                        match part {
                            Part::OutputText { text: said } | Part::Refusal { refusal: said } => text.push_str(&said),
                            Part::Other => {}
                        }
                    }
                }
                Item::FunctionCall | Item::CustomToolCall | Item::McpApprovalRequest => {
                    return Err(protocol("the model calls a tool, although it was given none"));
                }
                Item::Other => {}
            }
        }
        // Some servers end a stream without repeating what they have said.
        let text = if text.is_empty() { heard.text } else { text };
        let mut usage = self.usage.unwrap_or_default();
        if usage.total_tokens == 0 {
            usage.total_tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        }
        Ok(ModelTurn { text, usage, response_id: self.id.or(heard.response_id), ..ModelTurn::default() })
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
fn parse_event(event: &Sse) -> Result<Event, ModelError> {
    let data = event.data.as_deref().unwrap_or_default().trim();
    let named = event.event.as_deref().filter(|name| !name.is_empty() && *name != "message");
    if data.is_empty() || data == "[DONE]" {
        return Ok(Event::Other);
    }
    // Whatever an event of another name holds is not for this client, JSON or not.
    if named.is_some_and(|name| name != "error" && !name.starts_with("response.")) {
        return Ok(Event::Other);
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
    serde_json::from_value(value).map_err(|error| unreadable(what, &error))
}

/// The error's own words may quote the answer: only its class is told.
fn unreadable(what: &str, error: &serde_json::Error) -> ModelError {
    let problem = if error.is_data() { "does not have the form that the API says" } else { "is not JSON" };
    protocol(format!("{what} {problem}"))
}
