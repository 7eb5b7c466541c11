//! What comes back.

use std::collections::HashMap;

use genai::chat::{ChatStreamEvent, StopReason, StreamEnd, Usage as GenaiUsage};
use serde_json::Value;
use uuid::Uuid;

use super::{failure, request};
use crate::agent::{ModelError, ModelErrorKind, ModelEvent, ModelTurn, ToolCall, finish};
use crate::run::Usage;

/// The largest answer, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// What was heard so far of an answer.
pub(super) struct Heard {
    offers_tools: bool,
    text: String,
    /// How many bytes of its arguments were heard of each call.
    calls: HashMap<String, usize>,
    /// The bytes of all that was heard.
    size: usize,
}

impl Heard {
    pub(super) fn new(offers_tools: bool) -> Self {
        Self { offers_tools, text: String::new(), calls: HashMap::new(), size: 0 }
    }

    pub(super) fn hear(&mut self, event: ChatStreamEvent) -> Result<Option<ModelEvent>, ModelError> {
        match event {
            ChatStreamEvent::Chunk(chunk) => {
                self.grow(chunk.content.len())?;
                self.text.push_str(&chunk.content);
                Ok((!chunk.content.is_empty()).then_some(ModelEvent::Text(chunk.content)))
            }
            ChatStreamEvent::ReasoningChunk(chunk) | ChatStreamEvent::ThoughtSignatureChunk(chunk) => {
                self.grow(chunk.content.len())?;
                Ok(None)
            }
            ChatStreamEvent::ToolCallChunk(chunk) => self.grow_by_call(&chunk.tool_call).map(|()| None),
            ChatStreamEvent::End(end) => self.end(end).map(|turn| Some(ModelEvent::Done(turn))),
            ChatStreamEvent::Start | ChatStreamEvent::Heartbeat => Ok(None),
        }
    }

    /// Counts what is new of a call: a chunk has all that is known of it so far.
    fn grow_by_call(&mut self, call: &genai::chat::ToolCall) -> Result<(), ModelError> {
        let now = match &call.fn_arguments {
            Value::String(text) => text.len(),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string().len()
            }
        };
        // Not every provider has ids.
        let key = if call.call_id.is_empty() { &call.fn_name } else { &call.call_id };
        let bytes = match self.calls.get_mut(key) {
            Some(before) => {
                let before = std::mem::replace(before, now);
                // What is shorter than before is another call.
                now.checked_sub(before).unwrap_or(now)
            }
            None => {
                self.calls.insert(key.clone(), now);
                // The fixed part is what a call costs without a word in it.
                64 + call.call_id.len() + call.fn_name.len() + now
            }
        };
        self.grow(bytes)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.size = self.size.saturating_add(bytes);
        if self.size > LARGEST {
            return Err(failure::protocol(format!("the answer is larger than {LARGEST} bytes")));
        }
        Ok(())
    }

    fn end(&mut self, end: StreamEnd) -> Result<ModelTurn, ModelError> {
        match end.captured_stop_reason {
            // A stream that ends without a reason was cut.
            None => return Err(failure::cut()),
            Some(reason @ (StopReason::MaxTokens(_) | StopReason::ContentFilter(_))) => {
                let why = if reason.is_max_tokens() { "max_tokens" } else { "content_filter" };
                let message = format!("the provider says that the answer is incomplete: {why}");
                return Err(ModelError::new(ModelErrorKind::Incomplete, message));
            }
            // Some servers end an answer properly without a word on why.
            Some(StopReason::Other(reason)) if reason.is_empty() => {}
            Some(StopReason::Other(reason)) => finish::check(&reason, str::to_owned)?,
            Some(StopReason::Completed(_) | StopReason::ToolCall(_) | StopReason::StopSequence(_)) => {}
        }
        let content = end.captured_content.unwrap_or_default();
        let tool_calls = content.tool_calls().into_iter().map(call).collect::<Result<Vec<_>, _>>()?;
        if !tool_calls.is_empty() && !self.offers_tools {
            return Err(failure::protocol("the model calls a tool, although it was given none".to_owned()));
        }
        Ok(ModelTurn {
            text: std::mem::take(&mut self.text),
            usage: end.captured_usage.as_ref().map(usage).unwrap_or_default(),
            response_id: end.captured_response_id,
            provider_data: if tool_calls.is_empty() { None } else { request::kept(&content) },
            tool_calls,
        })
    }
}

fn call(call: &genai::chat::ToolCall) -> Result<ToolCall, ModelError> {
    if call.fn_name.is_empty() {
        return Err(failure::protocol("the model calls a tool without a name".to_owned()));
    }
    let arguments = match &call.fn_arguments {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    };
    // Its output has to be given back under some id.
    let id = if call.call_id.is_empty() { format!("call_{}", Uuid::new_v4().simple()) } else { call.call_id.clone() };
    Ok(ToolCall::new(id, call.fn_name.as_str(), arguments))
}

fn usage(usage: &GenaiUsage) -> Usage {
    let count = |tokens: Option<i32>| u64::try_from(tokens.unwrap_or_default()).unwrap_or_default();
    let (input_tokens, output_tokens) = (count(usage.prompt_tokens), count(usage.completion_tokens));
    let read = usage.prompt_tokens_details.as_ref();
    let written = usage.completion_tokens_details.as_ref();
    Usage {
        input_tokens,
        output_tokens,
        total_tokens: count(usage.total_tokens).max(input_tokens.saturating_add(output_tokens)),
        cache_read_tokens: count(read.and_then(|read| read.cached_tokens)),
        reasoning_tokens: count(written.and_then(|written| written.reasoning_tokens)),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use genai::chat::{ChatStreamEvent, ToolCall, ToolChunk};
    use serde_json::Value;

    use super::{Heard, LARGEST};
    use crate::agent::ModelErrorKind;

    fn chunk(id: &str, arguments: usize) -> ChatStreamEvent {
        let (call_id, fn_name) = (id.to_owned(), "look".to_owned());
        let fn_arguments = Value::String("x".repeat(arguments));
        ChatStreamEvent::ToolCallChunk(ToolChunk {
            tool_call: ToolCall { call_id, fn_name, fn_arguments, thought_signatures: None },
        })
    }

    #[test]
    fn arguments_count_by_what_they_grow() {
        const MIB: usize = 1024 * 1024;
        let mut heard = Heard::new(true);
        for so_far in 1..=7 {
            heard.hear(chunk("a", so_far * MIB)).unwrap();
            heard.hear(chunk("b", so_far * MIB)).unwrap();
        }
        heard.hear(chunk("", MIB)).unwrap();

        let error = heard.hear(chunk("c", LARGEST - 15 * MIB)).unwrap_err();

        assert_eq!(error.kind(), ModelErrorKind::Protocol);
        assert!(error.to_string().contains("larger than"), "{error}");
    }
}
