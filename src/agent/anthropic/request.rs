//! What is sent: `POST {base_url}/v1/messages`.

use reqwest::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};

use super::history::{messages, system};
use super::{AnthropicMessages, Parameters, Thinking};
use crate::agent::http::{Address, Call, Key, Settings};
use crate::agent::schema::held_by_anthropic;
use crate::agent::{ModelError, ModelRequest, OutputSpec, ToolChoice, ToolSpec};

const ADDRESS: Address = Address { variable: "ANTHROPIC_BASE_URL", default: "https://api.anthropic.com" };
const KEY: Key = Key { variable: "ANTHROPIC_API_KEY" };

pub(super) fn call(model: &AnthropicMessages, request: ModelRequest) -> Result<Call, ModelError> {
    let AnthropicMessages { model, settings, parameters } = model;
    let request = held_by_anthropic(settings.held(request));
    let url = settings.url(&ADDRESS, &["v1", "messages"])?;
    let key = settings.key(&KEY)?;
    let headers = settings.headers([
        (HeaderName::from_static("x-api-key"), Key::value("", &key)?),
        (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01")),
    ])?;
    let body = Body::new(model, settings, parameters, &request);
    Call::new(settings, Some(key), (url, headers), &body, request)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    messages: Vec<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
}

impl<'a> Body<'a> {
    fn new(model: &'a str, settings: &Settings, parameters: &Parameters, request: &ModelRequest) -> Self {
        let (held, asked) = match &request.output {
            Some(output) if output.strict => (Some(format(output)), None),
            Some(output) => (None, Some(in_words(output))),
            None => (None, None),
        };
        let system: Vec<_> = system(&request.messages).into_iter().chain(asked).collect();
        Self {
            model,
            max_tokens: parameters.max_output_tokens,
            system: (!system.is_empty()).then(|| system.join("\n\n")),
            messages: messages(&request.messages),
            stream: settings.streaming,
            temperature: parameters.temperature,
            thinking: parameters.thinking.map(|thinking| match thinking {
                Thinking::Adaptive => json!({"type": "adaptive"}),
                Thinking::Budget(tokens) => json!({"type": "enabled", "budget_tokens": tokens}),
            }),
            tools: request.tools.iter().map(tool).collect(),
            tool_choice: choice(settings, request),
            output_config: held,
        }
    }
}

fn tool(tool: &ToolSpec) -> Value {
    let mut said = json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters});
    if tool.strict {
        said["strict"] = true.into();
    }
    said
}

/// Which tools the model may call and how many at once, which the API has in one place.
fn choice(settings: &Settings, request: &ModelRequest) -> Option<Value> {
    let one_at_a_time = settings.parallel(request) == Some(false);
    let choice = settings.choice(request).or_else(|| one_at_a_time.then_some(&ToolChoice::Auto))?;
    let mut said = match choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => return Some(json!({"type": "none"})),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Tool(name) => json!({"type": "tool", "name": name}),
    };
    if one_at_a_time {
        said["disable_parallel_tool_use"] = true.into();
    }
    Some(said)
}

fn format(output: &OutputSpec) -> Value {
    json!({"format": {"type": "json_schema", "schema": output.schema}})
}

/// The API refuses schemas that it cannot hold a model to.
fn in_words(output: &OutputSpec) -> String {
    format!("Answer with nothing but JSON that is valid by this JSON schema, named {}:\n{}", output.name, output.schema)
}
