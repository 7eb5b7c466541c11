//! `OpenAI`'s Responses API as a model: what can be set, what is sent ([`request`]) and what comes back ([`answer`]).

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use secrecy::SecretString;
use serde_json::Value;

use self::answer::Heard;
use super::http::{Address, Key, Settings, client_settings, events};
use super::{Model, ModelError, ModelEvent, ModelRequest};

pub(super) use self::request::reasons;

mod answer;
mod background;
mod history;
mod request;

/// Where `OpenAI` is.
pub(super) const ADDRESS: Address = Address { variable: "OPENAI_BASE_URL", default: "https://api.openai.com/v1" };

/// Where `OpenAI`'s key is.
pub(super) const KEY: Key = Key { variable: "OPENAI_API_KEY" };

/// A model that is asked through `OpenAI`'s [Responses API](https://platform.openai.com/docs/api-reference/responses),
/// `POST {base_url}/responses`, of `OpenAI` itself or of any server that speaks it.
///
/// A setting that is impossible (a base URL that is none, a missing key) fails the turn, not the setter. The model keeps one
/// HTTP client, made when the first turn is asked for; clones share it.
///
/// Requests are asked again only while nothing of the answer has been received, see [`max_retries`](Self::max_retries).
/// Redirects are not followed: key and conversation go to the base URL and nowhere else.
///
/// Between the turns of a run, what the model has reasoned
/// [goes back to it](https://platform.openai.com/docs/guides/reasoning#keeping-reasoning-items-in-context) with its calls,
/// encrypted when the provider does not [store](Self::store) it.
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
    settings: Settings,
    parameters: Parameters,
}

/// What can be set of this API alone.
#[derive(Clone, Debug, Default)]
struct Parameters {
    organization: Option<SecretString>,
    max_output_tokens: Option<u32>,
    temperature: Option<f64>,
    reasoning_effort: Option<String>,
    reasoning_summary: Option<String>,
    store: Option<bool>,
    chaining: bool,
    background: bool,
    poll_interval: Option<Duration>,
}

client_settings!(
    OpenAIResponses,
    key: "The key to present; when left out, `OPENAI_API_KEY` of the environment at the time a turn is asked for.",
    base_url: "Where the API is, up to and without `/responses`; when left out, `OPENAI_BASE_URL` of the environment at the \
               time a turn is asked for, or else `https://api.openai.com/v1`."
);

impl OpenAIResponses {
    /// The model with this id, for instance `gpt-5-mini`.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), settings: Settings::default(), parameters: Parameters::default() }
    }

    /// The organization to bill, sent as `OpenAI-Organization`; when left out, the key's own.
    pub fn organization(mut self, organization: impl Into<String>) -> Self {
        self.parameters.organization = Some(organization.into().into());
        self
    }

    /// The most tokens that the answer may have, those of its reasoning included; the model's own limit when left out.
    ///
    /// An answer that reaches it is [incomplete](super::ModelErrorKind::Incomplete), and the turn fails.
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

    /// Has the model [sum up](https://platform.openai.com/docs/guides/reasoning#reasoning-summaries) what it has reasoned, for
    /// instance `auto`; no summary when left out.
    ///
    /// The summary is not part of the answer's text. When the answer is [streamed](Self::streaming), those who follow the run see
    /// it as it comes, in `ReasoningContentDelta` events. It is in the turn's
    /// [`provider_data`](super::ModelTurn::provider_data) as well, and goes back to the model with it.
    pub fn reasoning_summary(mut self, summary: impl Into<String>) -> Self {
        self.parameters.reasoning_summary = Some(summary.into());
        self
    }

    /// Whether the provider keeps the answer; when left out, `true` is sent for models that reason (ids that start with
    /// `o3`, `o4-mini`, `gpt-5` or `gpt-6`), and the provider's default applies to the others.
    pub const fn store(mut self, store: bool) -> Self {
        self.parameters.store = Some(store);
        self
    }

    /// Whether a turn refers to the one before by its id (`previous_response_id`), and sends only what came after it; `false`
    /// when left out.
    ///
    /// It saves sending, not tokens: the provider
    /// [counts the whole conversation](https://platform.openai.com/docs/guides/conversation-state) all the same. When the
    /// provider does not know the id any more, the turn is asked again at once with the whole conversation. Without effect
    /// when the provider is told not to [store](Self::store) anything.
    pub const fn chaining(mut self, chaining: bool) -> Self {
        self.parameters.chaining = chaining;
        self
    }
}

impl OpenAIResponses {
    /// Whether the provider answers in the [background](https://platform.openai.com/docs/guides/background); `false` when left
    /// out.
    ///
    /// The answer then goes on without a connection to this process. Its id is durable as soon as the provider has told it, and
    /// from then on nothing is asked or paid for twice: a connection that is lost is made again where it was, and another
    /// attempt of the run, after a crash or a deploy, looks after the very same answer, unless the provider does not know it
    /// any more, or it has failed, or the run has because of what it says. When a run is cancelled or times out while this process executes it, the provider is told
    /// to give the answer up, once the run's own turn is over; nobody waits for that.
    ///
    /// [`timeout`](Self::timeout) bounds such a turn as any other, and a connection that is silent for
    /// [`idle_timeout`](Self::idle_timeout) is lost and made again. A turn that takes too long fails, while the answer goes on at
    /// the provider, where an attempt that follows finds it: give a model that thinks for long the time.
    ///
    /// The provider [stores](Self::store) such answers, whatever else is set; it begins them more slowly than others.
    pub const fn background(mut self, background: bool) -> Self {
        self.parameters.background = background;
        self
    }

    /// How long to wait between two looks at an answer in the [background](Self::background) that is not streamed; 2 seconds
    /// when left out.
    pub const fn poll_interval(mut self, interval: Duration) -> Self {
        self.parameters.poll_interval = Some(interval);
        self
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
        match request::call(self, request) {
            Ok((call, background)) => events(call, Heard::new(self.parameters.chaining, background)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn abandon(&self, note: Value) -> BoxFuture<'static, ()> {
        background::cancel(self.settings.clone(), request::cancel(self), note).boxed()
    }
}

/// Shows neither the key nor any header's value.
impl fmt::Debug for OpenAIResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAIResponses")
            .field("model", &self.model)
            .field("settings", &self.settings)
            .field("parameters", &self.parameters)
            .finish()
    }
}
