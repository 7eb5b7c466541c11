//! What is sent: `POST {base_url}/responses`.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use reqwest::{Request, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

use super::background::Background;
use super::history::{input, since_latest_answer};
use super::{ADDRESS, KEY, OpenAIResponses, Parameters};
use crate::agent::http::{Call, Key, Settings, invalid, sensitive};
use crate::agent::{ModelError, ModelRequest, OutputSpec, ToolChoice, ToolSpec};

/// Ids of models that reason start with one of these.
const REASONING_FAMILIES: [&str; 4] = ["o3", "o4-mini", "gpt-5", "gpt-6"];

/// Whether the model of this id is one of those that reason.
pub(in crate::agent) fn reasons(model: &str) -> bool {
    REASONING_FAMILIES.iter().any(|family| model.starts_with(family))
}

/// A request without a body, to be sent to another path below.
pub(super) fn cancel(model: &OpenAIResponses) -> Result<Request, ModelError> {
    let (url, headers, _) = address(model)?;
    let request = model.settings.client()?.post(url).headers(headers).build();
    request.map_err(|error| invalid(format!("the request cannot be made: {}", error.without_url())))
}

fn address(model: &OpenAIResponses) -> Result<(Url, HeaderMap, SecretString), ModelError> {
    let OpenAIResponses { settings, parameters, .. } = model;
    let url = settings.url(&ADDRESS, &["responses"])?;
    let key = settings.key(&KEY)?;
    let organization = parameters.organization.as_ref().map(|organization| {
        let value = sensitive(organization.expose_secret())
            .ok_or_else(|| invalid("the organization contains characters that a header cannot hold"))?;
        Ok::<_, ModelError>((HeaderName::from_static("openai-organization"), value))
    });
    let own = [(AUTHORIZATION, Key::value("Bearer ", &key)?)].into_iter().chain(organization.transpose()?);
    Ok((url, settings.headers(own)?, key))
}

/// The request, and what will be known of its answer if that goes on in the background.
pub(super) fn call(model: &OpenAIResponses, request: ModelRequest) -> Result<(Call, Option<Background>), ModelError> {
    let (url, headers, key) = address(model)?;
    let OpenAIResponses { model, settings, parameters } = model;
    let request = settings.held(request);
    let every = parameters.poll_interval.unwrap_or(Duration::from_secs(2));
    let background = parameters.background.then(|| Background::new(url.clone(), every, request.note.as_ref()));
    let whole = |stored| Body::new(model, settings, parameters, &request).with_input(input(&request.messages, stored));
    let chained = since_latest_answer(&request.messages).filter(|_| parameters.chaining && stores(parameters));
    let (first, instead) = match chained {
        Some((id, rest)) => {
            let body = Body::new(model, settings, parameters, &request).with_input(input(rest, true));
            (Body { previous_response_id: Some(id), ..body }, Some(whole(false)))
        }
        None => {
            let (first, instead) = (whole(true), whole(false));
            let differs = first.input != instead.input;
            (first, differs.then_some(instead))
        }
    };
    let call = Call::new(settings, Some(key), (url, headers), &first, request)?;
    let call = match instead {
        Some(body) => call.or_instead(&body, |_, refusal| refusal.is_about_an_unknown_answer())?,
        None => call,
    };
    let call = match background.as_ref().and_then(Background::rest) {
        Some(rest) => call.picking_up(rest)?,
        None => call,
    };
    Ok((call, background))
}

/// Whether the provider may keep its answers: in the background it must.
fn stores(parameters: &Parameters) -> bool {
    parameters.background || parameters.store != Some(false)
}

#[derive(Clone, Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Value>,
    reasoning: Reasoning<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    background: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_response_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
}

#[derive(Clone, Serialize)]
struct Reasoning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
}

impl<'a> Body<'a> {
    /// All but the input.
    fn new(model: &'a str, settings: &Settings, parameters: &'a Parameters, request: &ModelRequest) -> Self {
        let reasons = reasons(model);
        // What the provider does not store, it has to be told again, and only this makes it legible to it.
        let include = (reasons && !stores(parameters)).then_some("reasoning.encrypted_content");
        Self {
            model,
            input: Vec::new(),
            reasoning: Reasoning {
                effort: parameters.reasoning_effort.as_deref(),
                summary: parameters.reasoning_summary.as_deref(),
            },
            stream: settings.streaming,
            store: parameters.background.then_some(true).or(parameters.store).or(reasons.then_some(true)),
            background: parameters.background,
            max_output_tokens: parameters.max_output_tokens,
            temperature: parameters.temperature,
            previous_response_id: None,
            include: include.into_iter().collect(),
            tools: request.tools.iter().map(tool).collect(),
            tool_choice: settings.choice(request).map(choice),
            parallel_tool_calls: settings.parallel(request),
            text: request.output.as_ref().map(format),
        }
    }

    fn with_input(self, input: Vec<Value>) -> Self {
        Self { input, ..self }
    }
}

/// A tool of the caller's own. `strict` is always said: left out, the API would take it as `true`.
fn tool(tool: &ToolSpec) -> Value {
    json!({
        "type": "function", "name": tool.name, "description": tool.description,
        "parameters": tool.parameters, "strict": tool.strict,
    })
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => json!({"type": "function", "name": name}),
    }
}

fn format(output: &OutputSpec) -> Value {
    json!({"format": {
        "type": "json_schema", "name": output.name, "schema": output.schema, "strict": output.strict,
    }})
}
