//! What comes back: the [events](https://platform.claude.com/docs/en/build-with-claude/streaming) of a streamed message, and
//! a message as a whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use sse_stream::Sse;

use super::history::provider_data;
use crate::agent::http::{LARGEST, Listener, ProviderError, Read, Secrets, cut, protocol, too_large, unreadable};
use crate::agent::{ModelError, ModelEvent, ModelTurn, ToolCall, finish};
use crate::run::Usage;

/// The events that a message consists of; all others are ignored.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Whole,
    },
    ContentBlockStart {
        index: u32,
        content_block: Value,
    },
    ContentBlockDelta {
        index: u32,
        delta: Delta,
    },
    MessageDelta {
        delta: Stop,
        usage: Option<Tokens>,
    },
    MessageStop,
    Error {
        error: ProviderError,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Stop {
    stop_reason: Option<String>,
}

/// A message as a whole, and what a stream begins with.
#[derive(Deserialize)]
struct Whole {
    id: Option<String>,
    content: Option<Vec<Value>>,
    stop_reason: Option<String>,
    usage: Option<Tokens>,
    error: Option<ProviderError>,
}

/// Counts are cumulative: what is said later replaces what was said before.
#[derive(Default, Deserialize)]
struct Tokens {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Tokens {
    fn update(&mut self, later: &Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }

    /// The API does not count those that the cache is concerned with among those that went in.
    fn usage(&self) -> Usage {
        let cache_read_tokens = self.cache_read_input_tokens.unwrap_or_default();
        let cache_write_tokens = self.cache_creation_input_tokens.unwrap_or_default();
        let input_tokens = self.input_tokens.unwrap_or_default();
        let input_tokens = input_tokens.saturating_add(cache_read_tokens).saturating_add(cache_write_tokens);
        let output_tokens = self.output_tokens.unwrap_or_default();
        Usage {
            input_tokens,
            output_tokens,
            total_tokens: input_tokens.saturating_add(output_tokens),
            cache_read_tokens,
            cache_write_tokens,
            ..Usage::default()
        }
    }
}

/// A block of which not all was heard yet.
struct Block {
    started: Value,
    /// The text, the thought or the arguments so far.
    said: String,
    signature: String,
}

impl Block {
    /// The block as it would have come in one piece.
    fn whole(self) -> Result<Value, ModelError> {
        let Self { started: mut block, said, signature } = self;
        let before = |field: &str| block[field].as_str().unwrap_or_default().to_owned();
        match block["type"].as_str() {
            Some("text") => block["text"] = (before("text") + &said).into(),
            Some("thinking") => {
                let signature = before("signature") + &signature;
                block["thinking"] = (before("thinking") + &said).into();
                block["signature"] = signature.into();
            }
            // Arguments that cannot be read stay as they are: the model is told about its mistake by whoever reads them.
            Some("tool_use") if !said.is_empty() => {
                block["input"] = serde_json::from_str(&said).unwrap_or(Value::String(said));
            }
            _ => {}
        }
        if !block.is_object() {
            return Err(protocol("a block of the answer does not have the form that the API says"));
        }
        Ok(block)
    }
}

/// What was heard so far of a message.
#[derive(Default)]
pub(super) struct Heard {
    id: Option<String>,
    blocks: BTreeMap<u32, Block>,
    stop_reason: Option<String>,
    tokens: Tokens,
    /// The bytes of all that was heard.
    size: usize,
}

impl Listener for Heard {
    fn hear(&mut self, event: &Sse, secrets: &Secrets) -> Result<Option<ModelEvent>, ModelError> {
        let data = event.data.as_deref().unwrap_or_default().trim();
        if data.is_empty() {
            return Ok(None);
        }
        let known: Event = serde_json::from_str(data).map_err(|error| unreadable("an event of the answer", &error))?;
        match known {
            Event::MessageStart { message } => {
                self.id = message.id;
                self.tokens.update(&message.usage.unwrap_or_default());
                Ok(None)
            }
            Event::ContentBlockStart { index, content_block: started } => {
                self.grow(data.len())?;
                self.blocks.insert(index, Block { started, said: String::new(), signature: String::new() });
                Ok(None)
            }
            Event::ContentBlockDelta { index, delta } => self.take_in(index, delta),
            Event::MessageDelta { delta, usage } => {
                self.stop_reason = delta.stop_reason.or_else(|| self.stop_reason.take());
                self.tokens.update(&usage.unwrap_or_default());
                Ok(None)
            }
            Event::MessageStop => {
                let heard = std::mem::take(self);
                let reason = heard.stop_reason.ok_or_else(|| cut(None))?;
                let blocks = heard.blocks.into_values().map(Block::whole).collect::<Result<_, _>>()?;
                settle(&reason, heard.id, blocks, &heard.tokens, secrets).map(|turn| Some(ModelEvent::Done(turn)))
            }
            Event::Error { error } => Err(error.of_answer(secrets)),
            Event::Other => Ok(None),
        }
    }

    fn read(&mut self, json: &[u8], secrets: &Secrets) -> Result<Read, ModelError> {
        let whole: Whole = serde_json::from_slice(json).map_err(|error| unreadable("the answer", &error))?;
        if let Some(error) = whole.error {
            return Err(error.of_answer(secrets));
        }
        let reason = whole.stop_reason.ok_or_else(|| protocol("the answer has no stop reason"))?;
        let tokens = whole.usage.unwrap_or_default();
        settle(&reason, whole.id, whole.content.unwrap_or_default(), &tokens, secrets).map(Read::from)
    }
}

impl Heard {
    fn take_in(&mut self, index: u32, delta: Delta) -> Result<Option<ModelEvent>, ModelError> {
        let (piece, is_signature, is_text) = match delta {
            Delta::Text { text } => (text, false, true),
            Delta::InputJson { partial_json: piece } | Delta::Thinking { thinking: piece } => (piece, false, false),
            Delta::Signature { signature } => (signature, true, false),
            Delta::Other => return Ok(None),
        };
        self.grow(piece.len())?;
        let block =
            self.blocks.get_mut(&index).ok_or_else(|| protocol("the answer goes on with a block it has not begun"))?;
        let so_far = if is_signature { &mut block.signature } else { &mut block.said };
        so_far.push_str(&piece);
        Ok((is_text && !piece.is_empty()).then_some(ModelEvent::Text(piece)))
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.size = self.size.saturating_add(bytes);
        if self.size > LARGEST { Err(too_large()) } else { Ok(()) }
    }
}

/// The turn that a message is, unless it [stopped](https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons)
/// too early.
fn settle(
    reason: &str,
    id: Option<String>,
    blocks: Vec<Value>,
    tokens: &Tokens,
    secrets: &Secrets,
) -> Result<ModelTurn, ModelError> {
    finish::check(reason, |reason| secrets.clean(reason))?;
    let mut turn = ModelTurn { usage: tokens.usage(), response_id: id, ..ModelTurn::default() };
    for block in &blocks {
        let field = |name: &str| block[name].as_str().unwrap_or_default();
        match field("type") {
            "text" => turn.text.push_str(field("text")),
            "tool_use" => {
                let arguments = match &block["input"] {
                    Value::String(unreadable) => unreadable.clone(),
                    Value::Null => "{}".to_owned(),
                    input @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                        input.to_string()
                    }
                };
                turn.tool_calls.push(ToolCall::new(field("id"), field("name"), arguments));
            }
            _ => {}
        }
    }
    let blocks: Vec<_> = blocks.into_iter().map(with_an_object).collect();
    turn.provider_data = provider_data(&blocks);
    Ok(turn)
}

/// The API takes no other arguments back.
fn with_an_object(mut block: Value) -> Value {
    if block["type"] == "tool_use" && !block["input"].is_object() {
        block["input"] = json!({});
    }
    block
}
