//! `OpenAI`'s Responses API as a model: what can be set, and one turn asked for.
//!
//! One subject per file below: what is sent ([`request`]), how it is asked and asked again ([`turn`], [`retry`]), what comes
//! back ([`body`], [`answer`]), and how all of this fails ([`failure`]).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::Client;
use secrecy::SecretString;

use self::request::Call;
use super::{Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest};
use crate::run::error_chain;

mod answer;
mod body;
mod failure;
mod request;
mod retry;
mod turn;

/// A model that is asked through `OpenAI`'s Responses API, `POST {base_url}/responses`, of `OpenAI` itself or of any server
/// that speaks it.
///
/// A setting that is impossible (a base URL that is none, a missing key) fails the turn, not the setter. The model keeps one
/// HTTP client, made when the first turn is asked for; clones share it.
///
/// Requests are asked again only while nothing of the answer has been received, see [`max_retries`](Self::max_retries).
/// Redirects are not followed: key and conversation go to the base URL and nowhere else.
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Agent, OpenAIResponses};
///
/// let model = OpenAIResponses::new("gpt-5-mini")
///     .base_url("https://llm.example.org/v1")
///     .api_key("sk-example")
///     .idle_timeout(Duration::from_secs(60));
/// assert!(!format!("{model:?}").contains("sk-example"));
///
/// let agent = Agent::builder("BackgroundAgent").model(model).build()?;
/// assert_eq!(agent.name(), "BackgroundAgent");
/// # Ok::<(), greenroom::InvalidAgent>(())
/// ```
#[derive(Clone)]
#[must_use = "a model does nothing until an agent asks it"]
pub struct OpenAIResponses {
    model: String,
    api_key: Option<SecretString>,
    base_url: Option<String>,
    organization: Option<String>,
    headers: Vec<(String, SecretString)>,
    parameters: Parameters,
    limits: Limits,
    connect_timeout: Duration,
    max_retries: u32,
    ready_client: Option<Client>,
    own_client: Arc<OnceLock<Client>>,
}

/// What the request's body says besides the conversation.
#[derive(Clone, Debug)]
struct Parameters {
    streaming: bool,
    max_output_tokens: Option<u32>,
    temperature: Option<f64>,
    reasoning_effort: Option<String>,
    store: Option<bool>,
}

/// How long the provider may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    first_byte: Duration,
    idle: Duration,
    whole: Duration,
}

impl OpenAIResponses {
    /// The model with this id, for instance `gpt-5-mini`.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            api_key: None,
            base_url: None,
            organization: None,
            headers: Vec::new(),
            parameters: Parameters {
                streaming: true,
                max_output_tokens: None,
                temperature: None,
                reasoning_effort: None,
                store: None,
            },
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

    /// The key to present; when left out, `OPENAI_API_KEY` of the environment at the time a turn is asked for.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into().into());
        self
    }

    /// Where the API is, up to and without `/responses`; when left out, `OPENAI_BASE_URL` of the environment at the time a
    /// turn is asked for, or else `https://api.openai.com/v1`.
    ///
    /// It has to be `http` or `https` and must not contain a user or a password. A query is kept.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The organization to bill, sent as `OpenAI-Organization`; when left out, the key's own.
    pub fn organization(mut self, organization: impl Into<String>) -> Self {
        self.organization = Some(organization.into());
        self
    }

    /// Sends one more header with each request; none when left out. A header that the client sends itself is replaced.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into().into()));
        self
    }

    /// Whether the answer comes piece by piece, which is so when left out, or as one JSON text at the end.
    pub const fn streaming(mut self, streaming: bool) -> Self {
        self.parameters.streaming = streaming;
        self
    }

    /// The most tokens that the answer may have, those of its reasoning included; the model's own limit when left out.
    ///
    /// An answer that reaches it is [incomplete](ModelErrorKind::Incomplete), and the turn fails.
    pub const fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.parameters.max_output_tokens = Some(tokens);
        self
    }

    /// How freely the model chooses its words, 0 to 2; the model's own default when left out. Models that reason refuse it.
    pub const fn temperature(mut self, temperature: f64) -> Self {
        self.parameters.temperature = Some(temperature);
        self
    }

    /// How much the model reasons before it answers, for instance `low`; the model's own default when left out.
    pub fn reasoning_effort(mut self, effort: impl Into<String>) -> Self {
        self.parameters.reasoning_effort = Some(effort.into());
        self
    }

    /// Whether the provider keeps the answer; when left out, `true` is sent for models that reason (ids that start with
    /// `o3`, `o4-mini`, `gpt-5` or `gpt-6`), and the provider's default applies to the others.
    pub const fn store(mut self, store: bool) -> Self {
        self.parameters.store = Some(store);
        self
    }

    /// How long making a connection may take, TLS included; 10 seconds when left out.
    ///
    /// Has no effect on a client that is [handed over](Self::http_client).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self.own_client = Arc::default();
        self
    }

    /// How long the provider may take, from the request on, until a streamed answer's first byte; 120 seconds when left out.
    ///
    /// An answer that is not [streamed](Self::streaming) begins only when it is complete: it has [`timeout`](Self::timeout)
    /// alone.
    pub const fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.limits.first_byte = timeout;
        self
    }

    /// How long the provider may be silent between two pieces of an answer; 300 seconds when left out.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle = timeout;
        self
    }

    /// How long a whole turn may take, retries and the waits before them included; 30 minutes when left out.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.whole = timeout;
        self
    }

    /// How many times a request is asked again; 2 when left out.
    ///
    /// That happens when no connection could be made or it was lost, upon status 408, 409, 429 and 5xx, and after a
    /// [`first_byte_timeout`](Self::first_byte_timeout), but never once an event of the answer was received. The wait before
    /// it is what the provider asks for in `Retry-After` or `retry-after-ms`, or else grows from half a second to 8, with
    /// jitter on top. Nobody is waited for longer than 60 seconds: the turn fails instead.
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Uses this HTTP client instead of making one, for instance for a proxy or for further roots of trust.
    ///
    /// Its own timeouts and its policy for redirects apply.
    pub fn http_client(mut self, client: Client) -> Self {
        self.ready_client = Some(client);
        self
    }

    /// The client, made when it is first needed: whoever drives the turn drives its connections too.
    fn client(&self) -> Result<&Client, ModelError> {
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
}

impl Model for OpenAIResponses {
    fn id(&self) -> &str {
        &self.model
    }

    fn provider(&self) -> &'static str {
        "OpenAI"
    }

    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        match self.client().and_then(|client| Call::new(self, client.clone(), request)) {
            Ok(call) => turn::events(call).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

/// Shows neither the key nor any header's value.
impl fmt::Debug for OpenAIResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("OpenAIResponses")
            .field("model", &self.model)
            .field("headers", &headers)
            .field("parameters", &self.parameters)
            .field("limits", &self.limits)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_retries", &self.max_retries)
            .finish_non_exhaustive()
    }
}
