//! What is sent: `POST {base_url}/chat/completions`.

use reqwest::header::AUTHORIZATION;
use serde::Serialize;
use serde_json::{Value, json};

use super::{OpenAIChat, Parameters};
use crate::agent::http::{Call, Key, Settings, invalid};
use crate::agent::openai::{ADDRESS, KEY, reasons};
use crate::agent::parts::{Part, parts};
use crate::agent::schema::fitting_name;
use crate::agent::{Message, ModelError, ModelRequest, OutputSpec, Role, ToolCall, ToolChoice, ToolSpec};

pub(super) fn call(model: &OpenAIChat, request: ModelRequest) -> Result<Call, ModelError> {
    let OpenAIChat { model, settings, parameters, .. } = model;
    let request = settings.held(request);
    let url = settings.url(&ADDRESS, &["chat", "completions"])?;
    let key = settings.key_if_any(&KEY, &ADDRESS)?;
    let bearer = key.as_ref().map(|key| Key::value("Bearer ", key)).transpose()?;
    let headers = settings.headers(bearer.map(|bearer| (AUTHORIZATION, bearer)))?;
    let body = Body::new(model, settings, parameters, &request)?;
    Call::new(settings, key, (url, headers), &body, request)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

impl<'a> Body<'a> {
    fn new(
        model: &'a str,
        settings: &Settings,
        parameters: &'a Parameters,
        request: &ModelRequest,
    ) -> Result<Self, ModelError> {
        let most = parameters.max_output_tokens;
        Ok(Self {
            model,
            messages: request.messages.iter().map(message).collect::<Result<_, _>>()?,
            stream: settings.streaming,
            stream_options: settings.streaming.then(|| json!({"include_usage": true})),
            max_tokens: most.filter(|_| !reasons(model)),
            max_completion_tokens: most.filter(|_| reasons(model)),
            temperature: parameters.temperature,
            reasoning_effort: parameters.reasoning_effort.as_deref(),
            tools: request.tools.iter().map(tool).collect(),
            tool_choice: settings.choice(request).map(choice),
            parallel_tool_calls: settings.parallel(request),
            response_format: request.output.as_ref().map(format),
        })
    }
}

fn message(message: &Message) -> Result<Value, ModelError> {
    let text = message.content.to_string();
    Ok(match message.role {
        Role::System => json!({"role": "system", "content": text}),
        Role::User => json!({"role": "user", "content": shown(message)?}),
        Role::Tool => json!({"role": "tool", "tool_call_id": message.tool_call_id, "content": text}),
        Role::Assistant if message.tool_calls.is_empty() => json!({"role": "assistant", "content": text}),
        Role::Assistant => {
            let text = (!text.is_empty()).then_some(text);
            let calls: Vec<_> = message.tool_calls.iter().map(tool_call).collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
    })
}

fn shown(message: &Message) -> Result<Value, ModelError> {
    let Some(parts) = parts(&message.content) else { return Ok(message.content.to_string().into()) };
    let shown = parts.into_iter().map(|part| match part {
        Part::Text { text } => Ok(json!({"type": "text", "text": text})),
        Part::Image { url } => Ok(json!({"type": "image_url", "image_url": {"url": url}})),
        Part::File { .. } => Err(invalid("chat completions take no files by URL")),
    });
    shown.collect()
}

fn tool_call(call: &ToolCall) -> Value {
    let name = fitting_name(&call.name);
    json!({"id": call.id, "type": "function", "function": {"name": name, "arguments": call.arguments}})
}

fn tool(tool: &ToolSpec) -> Value {
    let mut function = json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
    // Left out, it is `false`; not every server knows it.
    if tool.strict {
        function["strict"] = true.into();
    }
    json!({"type": "function", "function": function})
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn format(output: &OutputSpec) -> Value {
    json!({"type": "json_schema", "json_schema": {
        "name": output.name, "schema": output.schema, "strict": output.strict,
    }})
}
