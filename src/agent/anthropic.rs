//! Anthropic's Messages API as a model: what can be set, what is sent ([`request`]) and what comes back ([`answer`]).

use std::fmt;

use futures_util::stream::{self, BoxStream, StreamExt};

use self::answer::Heard;
use super::http::{Settings, client_settings, events};
use super::{Model, ModelError, ModelEvent, ModelRequest};

mod answer;
mod history;
mod request;

/// A model that is asked through Anthropic's [Messages API](https://platform.claude.com/docs/en/api/messages), `POST
/// {base_url}/v1/messages`.
///
/// A setting that is impossible (a base URL that is none, a missing key) fails the turn, not the setter. The model keeps one
/// HTTP client, made when the first turn is asked for; clones share it.
///
/// Requests are asked again only while nothing of the answer has been received, see [`max_retries`](Self::max_retries).
/// Redirects are not followed: key and conversation go to the base URL and nowhere else.
///
/// Between the turns of a run, what the model has thought
/// [goes back to it](https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks)
/// with its calls. The form of an answer is
/// [held by the provider](https://platform.claude.com/docs/en/build-with-claude/structured-outputs) when its schema is
/// [strict](super::OutputSpec::strict) and refers nowhere to itself, and asked for in words otherwise. Bounds of numbers and
/// lists the provider does not hold: the model is told of them in words, in schemas of tools too. Of these, no more are sent as
/// strict than the API takes at once.
///
/// ```
/// use greenroom::{Agent, AnthropicMessages};
///
/// let model = AnthropicMessages::new("claude-sonnet-4-5").api_key("sk-ant-example").max_output_tokens(20_000);
/// assert!(!format!("{model:?}").contains("sk-ant-example"));
///
/// let agent = Agent::builder("assistant").model(model).build()?;
/// assert_eq!(agent.name(), "assistant");
/// # Ok::<(), greenroom::InvalidAgent>(())
/// ```
#[derive(Clone)]
#[must_use = "a model does nothing until an agent asks it"]
pub struct AnthropicMessages {
    model: String,
    settings: Settings,
    parameters: Parameters,
}

/// What can be set of this API alone.
#[derive(Clone, Debug)]
struct Parameters {
    max_output_tokens: u32,
    temperature: Option<f64>,
    thinking: Option<Thinking>,
}

#[derive(Clone, Copy, Debug)]
enum Thinking {
    Adaptive,
    Budget(u32),
}

client_settings!(
    AnthropicMessages,
    key: "The key to present; when left out, `ANTHROPIC_API_KEY` of the environment at the time a turn is asked for.",
    base_url: "Where the API is, up to and without `/v1/messages`; when left out, `ANTHROPIC_BASE_URL` of the environment at \
               the time a turn is asked for, or else `https://api.anthropic.com`."
);

impl AnthropicMessages {
    /// The model with this id, for instance `claude-sonnet-4-5`.
    pub fn new(model: impl Into<String>) -> Self {
        let parameters = Parameters { max_output_tokens: 8192, temperature: None, thinking: None };
        Self { model: model.into(), settings: Settings::default(), parameters }
    }

    /// The most tokens that the answer may have, those of its thinking included; 8,192 when left out, for the API wants a
    /// limit.
    ///
    /// An answer that reaches it is [incomplete](super::ModelErrorKind::Incomplete), and the turn fails.
    pub const fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.parameters.max_output_tokens = tokens;
        self
    }

    /// How freely the model chooses its words, 0 to 1; the model's own default when left out. Models that think refuse it.
    pub const fn temperature(mut self, temperature: f64) -> Self {
        self.parameters.temperature = Some(temperature);
        self
    }

    /// Has the model [think](https://platform.claude.com/docs/en/build-with-claude/extended-thinking) before it answers, with
    /// at most so many tokens, 1,024 at least; the model's own default when left out.
    pub const fn thinking_budget(mut self, tokens: u32) -> Self {
        self.parameters.thinking = Some(Thinking::Budget(tokens));
        self
    }

    /// Has the model [think as much as it likes](https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking)
    /// before it answers; the model's own default when left out.
    pub const fn adaptive_thinking(mut self) -> Self {
        self.parameters.thinking = Some(Thinking::Adaptive);
        self
    }
}

impl Model for AnthropicMessages {
    fn id(&self) -> &str {
        &self.model
    }

    fn provider(&self) -> &'static str {
        "Anthropic"
    }

    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        match request::call(self, request) {
            Ok(call) => events(call, Heard::default()).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

/// Shows neither the key nor any header's value.
impl fmt::Debug for AnthropicMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicMessages")
            .field("model", &self.model)
            .field("settings", &self.settings)
            .field("parameters", &self.parameters)
            .finish()
    }
}
