//! What comes back: the chunks of a streamed completion, and a completion as a whole.

use serde::Deserialize;
use sse_stream::Sse;
use uuid::Uuid;

use crate::agent::http::{LARGEST, Listener, ProviderError, Read, Secrets, cut, protocol, too_large, unreadable};
use crate::agent::{ModelError, ModelEvent, ModelTurn, ToolCall, finish};
use crate::run::Usage;

/// A chunk of a completion, or a whole one.
#[derive(Deserialize)]
struct Completion {
    id: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Tokens>,
    error: Option<ProviderError>,
}

/// What is said: piece by piece in a `delta`, or at once in a `message`.
#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message")]
    delta: Option<Said>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Deserialize)]
struct CallPiece {
    index: Option<u32>,
    id: Option<String>,
    function: Option<FunctionPiece>,
}

#[derive(Default, Deserialize)]
struct FunctionPiece {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tokens {
    prompt_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens: Option<u64>,
    completion_tokens_details: Option<CompletionDetails>,
    total_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        let input_tokens = tokens.prompt_tokens.unwrap_or_default();
        let output_tokens = tokens.completion_tokens.unwrap_or_default();
        let total_tokens = tokens.total_tokens.filter(|&total| total > 0);
        Self {
            input_tokens,
            output_tokens,
            total_tokens: total_tokens.unwrap_or_else(|| input_tokens.saturating_add(output_tokens)),
            cache_read_tokens: tokens.prompt_tokens_details.unwrap_or_default().cached_tokens.unwrap_or_default(),
            reasoning_tokens: tokens.completion_tokens_details.unwrap_or_default().reasoning_tokens.unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// What was heard so far of a completion.
#[derive(Default)]
pub(super) struct Heard {
    turn: ModelTurn,
    /// The index of each call, as far as the server tells it.
    places: Vec<Option<u32>>,
    finish_reason: Option<String>,
    /// The bytes of all that was heard.
    size: usize,
}

impl Listener for Heard {
    fn hear(&mut self, event: &Sse, secrets: &Secrets) -> Result<Option<ModelEvent>, ModelError> {
        let data = event.data.as_deref().unwrap_or_default().trim();
        if data == "[DONE]" {
            let turn = self.end(secrets).unwrap_or_else(|| Err(cut(None)))?;
            return Ok(Some(ModelEvent::Done(turn)));
        }
        if data.is_empty() {
            return Ok(None);
        }
        let chunk = serde_json::from_str(data).map_err(|error| unreadable("a chunk of the answer", &error))?;
        let text = self.take_in(chunk, secrets)?;
        Ok((!text.is_empty()).then_some(ModelEvent::Text(text)))
    }

    fn end(&mut self, secrets: &Secrets) -> Option<Result<ModelTurn, ModelError>> {
        let reason = self.finish_reason.take()?;
        Some(self.settle(&reason, secrets))
    }

    fn read(&mut self, json: &[u8], secrets: &Secrets) -> Result<Read, ModelError> {
        let whole = serde_json::from_slice(json).map_err(|error| unreadable("the answer", &error))?;
        self.take_in(whole, secrets)?;
        self.end(secrets).unwrap_or_else(|| Err(protocol("the answer has no finish reason"))).map(Read::from)
    }
}

impl Heard {
    /// Takes in what was said, and returns what of it is text.
    fn take_in(&mut self, said: Completion, secrets: &Secrets) -> Result<String, ModelError> {
        if let Some(error) = said.error {
            return Err(error.of_answer(secrets));
        }
        if let Some(id) = said.id.filter(|id| !id.is_empty()) {
            self.turn.response_id = Some(id);
        }
        if let Some(tokens) = said.usage {
            self.turn.usage = tokens.into();
        }
        let mut text = String::new();
        // Only one answer is asked for.
        let Some(choice) = said.choices.into_iter().flatten().next() else { return Ok(text) };
        if let Some(said) = choice.delta {
            text.extend([said.content, said.refusal].into_iter().flatten());
            for piece in said.tool_calls.into_iter().flatten() {
                self.take_in_call(piece)?;
            }
        }
        // Some servers write that there is none yet as a word.
        if let Some(reason) = choice.finish_reason.filter(|reason| !matches!(reason.as_str(), "" | "null")) {
            self.finish_reason = Some(reason);
        }
        self.grow(text.len())?;
        self.turn.text.push_str(&text);
        Ok(text)
    }

    fn take_in_call(&mut self, piece: CallPiece) -> Result<(), ModelError> {
        let id = piece.id.unwrap_or_default();
        let FunctionPiece { name, arguments } = piece.function.unwrap_or_default();
        let (name, arguments) = (name.unwrap_or_default(), arguments.unwrap_or_default());
        // The fixed part is what a call costs without a word in it.
        self.grow(64 + id.len() + name.len() + arguments.len())?;
        let calls = &mut self.turn.tool_calls;
        let place = match piece.index {
            Some(index) => self.places.iter().rposition(|place| *place == Some(index)),
            None if id.is_empty() && name.is_empty() => calls.len().checked_sub(1),
            None => calls.iter().position(|call| !id.is_empty() && call.id == id),
        };
        // Some servers give every call the same index: another id is another call.
        let place = place.filter(|&place| id.is_empty() || calls[place].id.is_empty() || calls[place].id == id);
        match place {
            Some(place) => {
                let call = &mut calls[place];
                if call.id.is_empty() {
                    call.id = id;
                }
                if call.name.is_empty() {
                    call.name = name;
                }
                call.arguments.push_str(&arguments);
            }
            None => {
                self.places.push(piece.index);
                calls.push(ToolCall::new(id, name, arguments));
            }
        }
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.size = self.size.saturating_add(bytes);
        if self.size > LARGEST { Err(too_large()) } else { Ok(()) }
    }

    fn settle(&mut self, reason: &str, secrets: &Secrets) -> Result<ModelTurn, ModelError> {
        finish::check(reason, |reason| secrets.clean(reason))?;
        let mut turn = std::mem::take(&mut self.turn);
        for call in &mut turn.tool_calls {
            if call.name.is_empty() {
                return Err(protocol("the model calls a tool without a name"));
            }
            // Its output has to be given back under some id.
            if call.id.is_empty() {
                call.id = format!("call_{}", Uuid::new_v4().simple());
            }
        }
        Ok(turn)
    }
}
