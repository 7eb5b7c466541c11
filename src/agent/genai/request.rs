//! What is asked, as `genai` wants it.

use genai::chat::{
    ChatMessage, ChatRequest, ChatResponseFormat, ContentPart, JsonSpec, MessageContent, Tool, ToolCall as GenaiCall,
    ToolResponse,
};
use serde_json::{Value, json};

use crate::agent::parts::{Part, parts};
use crate::agent::schema::fitting_name;
use crate::agent::{Message, ModelRequest, OutputSpec, Role, ToolCall, ToolSpec};

/// Under this name, what `genai` wants to see again is kept with a turn.
const KEPT: &str = "genai";

pub(super) fn chat(request: &ModelRequest) -> ChatRequest {
    let chat = ChatRequest::new(request.messages.iter().map(message).collect());
    if request.tools.is_empty() { chat } else { chat.with_tools(request.tools.iter().map(tool)) }
}

/// Whether what the options say about the choice of tools holds: who has to call a tool in every turn never answers.
pub(super) fn may_choose(request: &ModelRequest) -> bool {
    !request.tools.is_empty() && request.messages.last().is_some_and(|last| last.role != Role::Tool)
}

pub(super) fn form(form: &OutputSpec) -> ChatResponseFormat {
    JsonSpec::new(form.name.as_str(), form.schema.clone()).into()
}

/// What is to be remembered of a turn for the next one: signatures of thoughts and the like.
pub(super) fn kept(content: &MessageContent) -> Option<Value> {
    let more = |part: &ContentPart| part.as_text().is_none() && part.as_tool_call().is_none();
    let signed = content.tool_calls().iter().any(|call| call.thought_signatures.is_some());
    let is_more = signed || content.parts().iter().any(more);
    is_more.then(|| serde_json::to_value(content).ok().map(|content| json!({KEPT: content}))).flatten()
}

fn message(message: &Message) -> ChatMessage {
    match message.role {
        Role::System => ChatMessage::system(message.content.to_string()),
        Role::User => ChatMessage::user(shown(message)),
        Role::Assistant => ChatMessage::assistant(said(message)),
        Role::Tool => {
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            ToolResponse::new(id, message.content.to_string()).into()
        }
    }
}

fn shown(message: &Message) -> MessageContent {
    let Some(parts) = parts(&message.content) else { return MessageContent::from_text(message.content.to_string()) };
    let shown = parts.into_iter().map(|part| match part {
        Part::Text { text } => ContentPart::from_text(text),
        Part::Image { url } => ContentPart::from_binary_url(image_type(&url), url, None),
        Part::File { url } => ContentPart::from_binary_url("application/pdf", url, None),
    });
    MessageContent::from_parts(shown.collect::<Vec<_>>())
}

/// The media type of an image, as far as its address tells it: providers look at the image itself.
fn image_type(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    match path.rsplit('.').next() {
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        _ => "image/png",
    }
}

fn said(message: &Message) -> MessageContent {
    let kept = message.provider_data.as_ref().and_then(|data| serde_json::from_value(data.get(KEPT)?.clone()).ok());
    kept.map(with_fitting_names).unwrap_or_else(|| {
        let text = message.content.to_string();
        let text = (!text.is_empty()).then(|| ContentPart::from_text(text));
        let calls = message.tool_calls.iter().map(|call| ContentPart::ToolCall(made(call)));
        MessageContent::from_parts(text.into_iter().chain(calls).collect::<Vec<_>>())
    })
}

fn with_fitting_names(kept: MessageContent) -> MessageContent {
    let mut parts = kept.into_parts();
    for part in &mut parts {
        if let ContentPart::ToolCall(call) = part {
            call.fn_name = fitting_name(&call.fn_name);
        }
    }
    MessageContent::from_parts(parts)
}

fn made(call: &ToolCall) -> GenaiCall {
    GenaiCall {
        call_id: call.id.clone(),
        fn_name: fitting_name(&call.name),
        fn_arguments: serde_json::from_str(&call.arguments).unwrap_or_else(|_| call.arguments.as_str().into()),
        thought_signatures: None,
    }
}

fn tool(tool: &ToolSpec) -> Tool {
    let made = Tool::new(tool.name.as_str()).with_description(tool.description.as_str());
    made.with_schema(tool.parameters.clone()).with_strict(tool.strict)
}
