//! What can be set of every client, and what follows from it: the HTTP client, the address, the key and the headers.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

use super::failure::invalid;
use crate::agent::{ModelError, ModelErrorKind, ModelRequest, Role, ToolChoice};
use crate::run::error_chain;

/// What can be set of every client. `Debug` shows neither the key nor any header's value.
#[derive(Clone)]
pub(in crate::agent) struct Settings {
    pub(in crate::agent) api_key: Option<SecretString>,
    pub(in crate::agent) base_url: Option<String>,
    pub(in crate::agent) headers: Vec<(String, SecretString)>,
    pub(in crate::agent) streaming: bool,
    pub(in crate::agent) tool_choice: Option<ToolChoice>,
    pub(in crate::agent) parallel_tool_calls: Option<bool>,
    pub(in crate::agent) strict_schemas: bool,
    pub(in crate::agent) limits: Limits,
    pub(in crate::agent) connect_timeout: Duration,
    pub(in crate::agent) max_retries: u32,
    pub(in crate::agent) ready_client: Option<Client>,
    pub(in crate::agent) own_client: Arc<OnceLock<Client>>,
}

/// How long the provider may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) struct Limits {
    pub(in crate::agent) first_byte: Duration,
    pub(in crate::agent) idle: Duration,
    pub(in crate::agent) whole: Duration,
}

/// Where an API is when nobody says so.
pub(in crate::agent) struct Address {
    pub(in crate::agent) variable: &'static str,
    pub(in crate::agent) default: &'static str,
}

/// Where the key is when nobody says so.
pub(in crate::agent) struct Key {
    pub(in crate::agent) variable: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_key: None,
            base_url: None,
            headers: Vec::new(),
            streaming: true,
            tool_choice: None,
            parallel_tool_calls: None,
            strict_schemas: true,
            limits: Limits {
                first_byte: Duration::from_secs(120),
                idle: Duration::from_secs(300),
                whole: Duration::from_secs(30 * 60),
            },
            connect_timeout: Duration::from_secs(10),
            max_retries: 2,
            ready_client: None,
            own_client: Arc::default(),
        }
    }
}

impl Settings {
    /// The HTTP client, made when it is first needed: whoever drives the turn drives its connections too.
    pub(in crate::agent) fn client(&self) -> Result<&Client, ModelError> {
        if let Some(client) = self.ready_client.as_ref().or_else(|| self.own_client.get()) {
            return Ok(client);
        }
        let client = Client::builder()
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| {
                let chain = error_chain(&error.without_url());
                ModelError::new(ModelErrorKind::Connect, format!("the HTTP client cannot be made: {chain}"))
            })?;
        Ok(self.own_client.get_or_init(|| client))
    }

    /// The base URL with `path` appended.
    pub(in crate::agent) fn url(&self, address: &Address, path: &[&str]) -> Result<Url, ModelError> {
        let base = self.base_url.clone().or_else(|| env(address.variable));
        url(base.as_deref().unwrap_or(address.default), path)
    }

    pub(in crate::agent) fn key(&self, key: &Key) -> Result<SecretString, ModelError> {
        resolve_key(self.api_key.clone(), key.variable, || env(key.variable))
    }

    /// The key, if there is one: a server that is named in code gets none that is not.
    #[cfg(feature = "openai")]
    pub(in crate::agent) fn key_if_any(
        &self,
        key: &Key,
        address: &Address,
    ) -> Result<Option<SecretString>, ModelError> {
        match (&self.api_key, &self.base_url) {
            (None, Some(_)) => Ok(None),
            (None, None) if env(address.variable).is_some() => Ok(env(key.variable).map(SecretString::from)),
            (Some(_), _) | (None, None) => self.key(key).map(Some),
        }
    }

    /// The headers of a request, `own` among them; those that were set go before all others.
    pub(in crate::agent) fn headers(
        &self,
        own: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<HeaderMap, ModelError> {
        let mut headers = HeaderMap::new();
        let accepted = if self.streaming { "text/event-stream" } else { "application/json" };
        headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(own);
        for (name, value) in &self.headers {
            let value = sensitive(value.expose_secret())
                .ok_or_else(|| invalid(format!("header {name:?}: the value contains impossible characters")))?;
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| invalid(format!("header {name:?}: the name contains impossible characters")))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// Which tools the model may call in this turn, when it is not to choose itself.
    pub(in crate::agent) fn choice(&self, request: &ModelRequest) -> Option<&ToolChoice> {
        let answered = request.messages.last().is_some_and(|last| last.role == Role::Tool);
        self.tool_choice.as_ref().filter(|_| !request.tools.is_empty() && !answered)
    }

    /// Whether the model may call several tools in this turn, when it has any.
    pub(in crate::agent) fn parallel(&self, request: &ModelRequest) -> Option<bool> {
        self.parallel_tool_calls.filter(|_| !request.tools.is_empty())
    }

    /// The request, with nothing strict about it unless the provider is to hold the model to schemas.
    pub(in crate::agent) fn held(&self, mut request: ModelRequest) -> ModelRequest {
        if !self.strict_schemas {
            request.tools.iter_mut().for_each(|tool| tool.strict = false);
            request.output.iter_mut().for_each(|output| output.strict = false);
        }
        request
    }

    /// What nobody is to read of these settings.
    pub(super) fn hidden(&self) -> impl Iterator<Item = &SecretString> {
        self.api_key.iter().chain(self.headers.iter().map(|(_, value)| value))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Settings")
            .field("headers", &headers)
            .field("streaming", &self.streaming)
            .field("tool_choice", &self.tool_choice)
            .field("parallel_tool_calls", &self.parallel_tool_calls)
            .field("strict_schemas", &self.strict_schemas)
            .field("limits", &self.limits)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_retries", &self.max_retries)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The key as a header's value, after `prefix`.
    pub(in crate::agent) fn value(prefix: &str, key: &SecretString) -> Result<HeaderValue, ModelError> {
        sensitive(&format!("{prefix}{}", key.expose_secret().trim())).ok_or_else(|| {
            ModelError::new(ModelErrorKind::Auth, "the API key contains characters that a header cannot hold")
        })
    }
}

/// A value that no `Debug` output shows; none when a header cannot hold it.
pub(in crate::agent) fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A variable of the environment; one that is empty counts as not set.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn resolve_key(
    set: Option<SecretString>,
    variable: &str,
    from_environment: impl FnOnce() -> Option<String>,
) -> Result<SecretString, ModelError> {
    let auth = |message: String| ModelError::new(ModelErrorKind::Auth, message);
    match set {
        Some(key) if key.expose_secret().trim().is_empty() => Err(auth("the API key is empty".to_owned())),
        Some(key) => Ok(key),
        None => from_environment()
            .map(SecretString::from)
            .ok_or_else(|| auth(format!("no API key: set {variable} in the environment, or give the model one"))),
    }
}

/// The messages never quote the URL: what is wrong with it may be that it holds a password.
fn url(base: &str, path: &[&str]) -> Result<Url, ModelError> {
    let mut url =
        Url::parse(base.trim()).map_err(|error| invalid(format!("the base URL cannot be parsed: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the base URL is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the base URL contains a user or a password; give the key separately"));
    }
    url.set_fragment(None);
    url.path_segments_mut().map_err(|()| invalid("the base URL cannot have a path"))?.pop_if_empty().extend(path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::{resolve_key, url};
    use crate::agent::ModelErrorKind;

    #[test]
    fn the_path_is_appended_and_a_query_is_kept() {
        let url = |base: &str| url(base, &["chat", "completions"]).unwrap().to_string();
        assert_eq!(url("http://127.0.0.1:8000/v1/"), "http://127.0.0.1:8000/v1/chat/completions");
        assert_eq!(url("http://127.0.0.1:8000"), "http://127.0.0.1:8000/chat/completions");
        assert_eq!(url("https://a.example/v1?api-version=2#x"), "https://a.example/v1/chat/completions?api-version=2");
    }

    #[test]
    fn an_impossible_base_url_is_refused_without_being_quoted() {
        for base in ["", "not a url", "ftp://hunter2", "https://me:hunter2@a.example/v1", "data:hunter2", "http://"] {
            let error = url(base, &["responses"]).unwrap_err();
            assert_eq!(error.kind(), ModelErrorKind::Request, "{base}");
            assert!(error.to_string().contains("base URL"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_nowhere_is_asked_for_by_the_variables_name() {
        let error = resolve_key(None, "OPENAI_API_KEY", || None).unwrap_err();
        assert_eq!(error.kind(), ModelErrorKind::Auth);
        assert!(error.to_string().contains("OPENAI_API_KEY"));
    }

    #[test]
    fn a_key_that_was_given_goes_before_that_of_the_environment() {
        let other = || Some("of the environment".to_owned());
        let resolve_key = |set| resolve_key(set, "KEY", other);
        assert_eq!(resolve_key(Some("given".into())).unwrap().expose_secret(), "given");
        assert_eq!(resolve_key(None).unwrap().expose_secret(), "of the environment");
        assert_eq!(resolve_key(Some(" ".into())).unwrap_err().kind(), ModelErrorKind::Auth);
    }
}
