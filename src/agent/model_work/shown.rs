//! Messages in the form in which spans show them, which is that of OpenTelemetry's semantic conventions.

use serde_json::{Value, json};

use crate::agent::{Message, Role, ToolCall};

/// What the model was told before the conversation.
pub(super) fn instructions(messages: &[Message]) -> Value {
    let system = messages.iter().filter(|message| message.role == Role::System);
    system.map(|message| json!({"type": "text", "content": message.content.to_string()})).collect()
}

/// A message of the conversation.
pub(super) fn shown(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let said = match &message.tool_call_id {
        Some(id) => Some(json!({"type": "tool_call_response", "id": id, "response": message.content.as_json()})),
        None if message.content.as_text() == Some("") => None,
        None => Some(json!({"type": "text", "content": message.content.to_string()})),
    };
    let parts: Vec<Value> = said.into_iter().chain(message.tool_calls.iter().map(call)).collect();
    let mut shown = json!({"role": role, "parts": parts});
    if message.role == Role::Assistant {
        shown["finish_reason"] = if message.tool_calls.is_empty() { "stop" } else { "tool_call" }.into();
    }
    shown
}

fn call(call: &ToolCall) -> Value {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| Value::from(call.arguments.as_str()));
    json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
}
