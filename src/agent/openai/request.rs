//! What is sent: address, headers and body of `POST {base_url}/responses`.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Request, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::failure::Secrets;
use super::{Limits, OpenAIResponses, Parameters};
use crate::agent::{ModelError, ModelErrorKind, ModelRequest, Role};

const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// Ids of models that reason start with one of these.
const REASONING_FAMILIES: [&str; 4] = ["o3", "o4-mini", "gpt-5", "gpt-6"];

/// A turn that is ready to be asked for, as often as need be.
pub(super) struct Call {
    pub(super) client: Client,
    pub(super) limits: Limits,
    pub(super) streaming: bool,
    pub(super) max_retries: u32,
    pub(super) secrets: Secrets,
    template: Request,
}

impl Call {
    pub(super) fn new(model: &OpenAIResponses, client: Client, request: ModelRequest) -> Result<Self, ModelError> {
        let url = responses_url(model.base_url.clone().or_else(|| env("OPENAI_BASE_URL")).as_deref())?;
        let key = resolve_key(model.api_key.clone(), || env("OPENAI_API_KEY"))?;
        let template = client
            .post(url)
            .headers(headers(model, &key)?)
            .body(body(&model.model, &model.parameters, &request)?)
            .build()
            .map_err(|error| invalid(format!("the request cannot be made: {}", error.without_url())))?;
        Ok(Self {
            client,
            limits: model.limits,
            streaming: model.parameters.streaming,
            max_retries: model.max_retries,
            secrets: Secrets::new(key, request),
            template,
        })
    }

    /// The request once more; its body is shared, not copied.
    pub(super) fn request(&self) -> Result<Request, ModelError> {
        self.template.try_clone().ok_or_else(|| invalid("the request cannot be sent twice"))
    }
}

fn invalid(message: impl Into<String>) -> ModelError {
    ModelError::new(ModelErrorKind::Request, message)
}

/// A variable of the environment; one that is empty counts as not set.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn resolve_key(
    set: Option<SecretString>,
    from_environment: impl FnOnce() -> Option<String>,
) -> Result<SecretString, ModelError> {
    let auth = |message: &str| ModelError::new(ModelErrorKind::Auth, message);
    match set {
        Some(key) if key.expose_secret().trim().is_empty() => Err(auth("the API key is empty")),
        Some(key) => Ok(key),
        None => from_environment()
            .map(SecretString::from)
            .ok_or_else(|| auth("no API key: set OPENAI_API_KEY in the environment, or give the model one")),
    }
}

/// The messages never quote the URL: what is wrong with it may be that it holds a password.
fn responses_url(base: Option<&str>) -> Result<Url, ModelError> {
    let mut url = Url::parse(base.unwrap_or(DEFAULT_BASE_URL).trim())
        .map_err(|error| invalid(format!("the base URL cannot be parsed: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the base URL is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the base URL contains a user or a password; give the key separately"));
    }
    url.set_fragment(None);
    url.path_segments_mut().map_err(|()| invalid("the base URL cannot have a path"))?.pop_if_empty().push("responses");
    Ok(url)
}

fn headers(model: &OpenAIResponses, key: &SecretString) -> Result<HeaderMap, ModelError> {
    let mut headers = HeaderMap::new();
    let accepted = if model.parameters.streaming { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accepted));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let bearer = sensitive(&format!("Bearer {}", key.expose_secret().trim())).ok_or_else(|| {
        ModelError::new(ModelErrorKind::Auth, "the API key contains characters that a header cannot hold")
    })?;
    headers.insert(AUTHORIZATION, bearer);
    if let Some(organization) = &model.organization {
        let value = sensitive(organization)
            .ok_or_else(|| invalid("the organization contains characters that a header cannot hold"))?;
        headers.insert(HeaderName::from_static("openai-organization"), value);
    }
    for (name, value) in &model.headers {
        let value = sensitive(value.expose_secret())
            .ok_or_else(|| invalid(format!("header {name:?}: the value contains impossible characters")))?;
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| invalid(format!("header {name:?}: the name contains impossible characters")))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A value that no `Debug` output shows; none when a header cannot hold it.
fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Input>,
    reasoning: Reasoning<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
}

#[derive(Serialize)]
struct Input {
    role: &'static str,
    content: String,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
}

fn body(model: &str, parameters: &Parameters, request: &ModelRequest) -> Result<Vec<u8>, ModelError> {
    let reasons = REASONING_FAMILIES.iter().any(|family| model.starts_with(family));
    let input = request.messages.iter().map(|message| Input {
        role: match message.role {
            Role::System => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        },
        content: message.content.to_string(),
    });
    let body = Body {
        model,
        input: input.collect(),
        reasoning: Reasoning { effort: parameters.reasoning_effort.as_deref() },
        stream: parameters.streaming,
        store: parameters.store.or(reasons.then_some(true)),
        max_output_tokens: parameters.max_output_tokens,
        temperature: parameters.temperature,
    };
    serde_json::to_vec(&body).map_err(|error| invalid(format!("the request cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::{resolve_key, responses_url};
    use crate::agent::ModelErrorKind;

    #[test]
    fn the_path_is_appended_and_a_query_is_kept() {
        let url = |base: Option<&str>| responses_url(base).unwrap().to_string();
        assert_eq!(url(None), "https://api.openai.com/v1/responses");
        assert_eq!(url(Some("http://127.0.0.1:8000/v1/")), "http://127.0.0.1:8000/v1/responses");
        assert_eq!(url(Some("http://127.0.0.1:8000")), "http://127.0.0.1:8000/responses");
        assert_eq!(url(Some("https://a.example/v1?api-version=2#x")), "https://a.example/v1/responses?api-version=2");
    }

    #[test]
    fn an_impossible_base_url_is_refused_without_being_quoted() {
        for base in ["", "not a url", "ftp://hunter2", "https://me:hunter2@a.example/v1", "data:hunter2", "http://"] {
            let error = responses_url(Some(base)).unwrap_err();
            assert_eq!(error.kind(), ModelErrorKind::Request, "{base}");
            assert!(error.to_string().contains("base URL"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_nowhere_is_asked_for_by_the_variables_name() {
        let error = resolve_key(None, || None).unwrap_err();
        assert_eq!(error.kind(), ModelErrorKind::Auth);
        assert!(error.to_string().contains("OPENAI_API_KEY"));
    }

    #[test]
    fn a_key_that_was_given_goes_before_that_of_the_environment() {
        let other = || Some("of the environment".to_owned());
        assert_eq!(resolve_key(Some("given".into()), other).unwrap().expose_secret(), "given");
        assert_eq!(resolve_key(None, other).unwrap().expose_secret(), "of the environment");
        assert_eq!(resolve_key(Some(" ".into()), other).unwrap_err().kind(), ModelErrorKind::Auth);
    }
}
