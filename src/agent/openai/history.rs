//! A conversation as the input of a response, and what of an answer comes back in it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::parts::{Part, parts};
use crate::agent::schema::fitting_name;
use crate::agent::{Message, Role};

/// What the client wants to see again of an answer: [`Message::provider_data`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The id of the answer, when the next turn is to refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) response_id: Option<String>,
    /// All that the model has put out, when it has reasoned: reasoning goes back together with what came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<Value>,
}

/// What other clients have noted is of no use here, and the other way round.
const TAG: &str = "openai_responses";

impl Memory {
    fn of(message: &Message) -> Option<Self> {
        Self::deserialize(message.provider_data.as_ref()?.get(TAG)?).ok()
    }

    pub(super) fn into_provider_data(self) -> Option<Value> {
        let Self { response_id, items } = &self;
        let something = response_id.is_some() || !items.is_empty();
        something.then(|| json!({ TAG: self }))
    }

    /// Whether the items can be read by a provider that has stored none of them.
    fn stands_alone(&self) -> bool {
        let kept = |item: &Value| item["type"] != "reasoning" || item["encrypted_content"].is_string();
        self.items.iter().all(kept)
    }
}

/// The id of the latest answer, and what was said since.
pub(super) fn since_latest_answer(messages: &[Message]) -> Option<(String, &[Message])> {
    let at = messages.iter().rposition(|message| message.role == Role::Assistant)?;
    let rest = messages.get(at + 1..).filter(|rest| !rest.is_empty())?;
    Some((Memory::of(&messages[at])?.response_id?, rest))
}

/// The messages as items. What the provider was to store is left out unless it is `stored`.
pub(super) fn input(messages: &[Message], stored: bool) -> Vec<Value> {
    messages.iter().flat_map(|message| items(message, stored)).collect()
}

fn items(message: &Message, stored: bool) -> Vec<Value> {
    match message.role {
        Role::System => vec![json!({"role": "developer", "content": message.content.to_string()})],
        Role::User => vec![json!({"role": "user", "content": shown(message)})],
        Role::Tool => vec![json!({
            "type": "function_call_output", "call_id": message.tool_call_id, "output": message.content.to_string(),
        })],
        Role::Assistant => match Memory::of(message) {
            Some(memory) if !memory.items.is_empty() && (stored || memory.stands_alone()) => {
                memory.items.into_iter().map(with_a_fitting_name).collect()
            }
            Some(_) | None => said(message),
        },
    }
}

fn with_a_fitting_name(mut item: Value) -> Value {
    if item["type"] == "function_call" {
        item["name"] = fitting_name(item["name"].as_str().unwrap_or_default()).into();
    }
    item
}

/// What the model has said and called, in the words of the conversation alone.
fn said(message: &Message) -> Vec<Value> {
    let text = message.content.to_string();
    let text =
        (!text.is_empty() || message.tool_calls.is_empty()).then(|| json!({"role": "assistant", "content": text}));
    let calls = message.tool_calls.iter().map(|call| {
        let name = fitting_name(&call.name);
        json!({"type": "function_call", "call_id": call.id, "name": name, "arguments": call.arguments})
    });
    text.into_iter().chain(calls).collect()
}

fn shown(message: &Message) -> Value {
    let Some(parts) = parts(&message.content) else { return message.content.to_string().into() };
    let shown = parts.into_iter().map(|part| match part {
        Part::Text { text } => json!({"type": "input_text", "text": text}),
        Part::Image { url } => json!({"type": "input_image", "image_url": url}),
        Part::File { url } => json!({"type": "input_file", "file_url": url}),
    });
    shown.collect()
}
