//! A conversation as messages of blocks, and what of an answer comes back in it.

use serde_json::{Value, json};

use crate::agent::parts::{Part, parts};
use crate::agent::schema::fitting_name;
use crate::agent::{Message, Role, ToolCall};

/// What other clients have noted is of no use here, and the other way round.
const TAG: &str = "anthropic_messages";

/// What the client wants to see again of an answer: all of its blocks, when the model has thought.
pub(super) fn provider_data(blocks: &[Value]) -> Option<Value> {
    let has_thought =
        blocks.iter().any(|block| matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking")));
    has_thought.then(|| json!({ TAG: {"content": blocks} }))
}

fn remembered(message: &Message) -> Option<Vec<Value>> {
    let blocks = message.provider_data.as_ref()?.get(TAG)?.get("content")?.as_array()?;
    let said = blocks.iter().filter(|block| block["type"] != "text" || !is_blank(block["text"].as_str()));
    Some(said.cloned().map(with_a_fitting_name).collect())
}

fn with_a_fitting_name(mut block: Value) -> Value {
    if block["type"] == "tool_use" {
        block["name"] = fitting_name(block["name"].as_str().unwrap_or_default()).into();
    }
    block
}

/// The API refuses a text without a word in it, also one that it has said itself.
fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.trim().is_empty())
}

/// What the model is told before anything else; the API has no messages of the system.
pub(super) fn system(messages: &[Message]) -> Option<String> {
    let texts: Vec<_> =
        messages.iter().filter(|each| each.role == Role::System).map(|each| each.content.to_string()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

/// The rest of the conversation. Those who speak take turns: outputs of tools that belong together
/// [have to be in one message](https://platform.claude.com/docs/en/agents-and-tools/tool-use/parallel-tool-use).
pub(super) fn messages(messages: &[Message]) -> Vec<Value> {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = match message.role {
            Role::System => continue,
            Role::User => ("user", shown(message)),
            Role::Tool => ("user", vec![output(message)]),
            Role::Assistant => ("assistant", remembered(message).unwrap_or_else(|| said(message))),
        };
        match turns.last_mut() {
            Some((latest, so_far)) if *latest == role => so_far.extend(blocks),
            // The API refuses a message without anything in it.
            Some(_) | None if blocks.is_empty() => {}
            Some(_) | None => turns.push((role, blocks)),
        }
    }
    turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn said(message: &Message) -> Vec<Value> {
    let words = message.content.to_string();
    let words = (!is_blank(Some(&words))).then(|| text(&words));
    words.into_iter().chain(message.tool_calls.iter().map(tool_use)).collect()
}

/// A call. The API takes an object only: arguments that are none are a mistake of the model, which the output tells of.
fn tool_use(call: &ToolCall) -> Value {
    let input = serde_json::from_str(&call.arguments).ok().filter(Value::is_object).unwrap_or_else(|| json!({}));
    json!({"type": "tool_use", "id": call.id, "name": fitting_name(&call.name), "input": input})
}

fn output(message: &Message) -> Value {
    json!({"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content.to_string()})
}

fn shown(message: &Message) -> Vec<Value> {
    let Some(parts) = parts(&message.content) else { return vec![text(&message.content.to_string())] };
    let shown = parts.into_iter().map(|part| match part {
        Part::Text { text: words } => text(&words),
        Part::Image { url } => json!({"type": "image", "source": {"type": "url", "url": url}}),
        Part::File { url } => json!({"type": "document", "source": {"type": "url", "url": url}}),
    });
    shown.collect()
}
