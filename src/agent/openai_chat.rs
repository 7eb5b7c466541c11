//! Chat completions as a model, which most servers speak: what can be set, what is sent ([`request`]) and what comes back
//! ([`answer`]).

use std::fmt;

use futures_util::stream::{self, BoxStream, StreamExt};

use self::answer::Heard;
use super::http::{Settings, client_settings, events};
use super::{Model, ModelError, ModelEvent, ModelRequest};

mod answer;
mod request;

/// A model that is asked by [chat completions], `POST {base_url}/chat/completions`.
///
/// It is for servers that do not speak the Responses API: [vLLM], [Ollama], [llama.cpp], [OpenRouter] and many others.
///
/// All of [`OpenAIResponses`](super::OpenAIResponses) that is said about settings, retries and redirects holds here too.
///
/// ```
/// use greenroom::{Agent, OpenAIChat};
///
/// let model = OpenAIChat::new("qwen3:8b").base_url("http://127.0.0.1:11434/v1").provided_by("Ollama");
/// let agent = Agent::builder("local").model(model).build()?;
/// # assert_eq!(agent.name(), "local");
/// # Ok::<(), greenroom::InvalidAgent>(())
/// ```
///
/// [chat completions]: https://platform.openai.com/docs/api-reference/chat
/// [vLLM]: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
/// [Ollama]: https://docs.ollama.com/api/openai-compatibility
/// [llama.cpp]: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
/// [OpenRouter]: https://openrouter.ai/docs/api-reference/overview
#[derive(Clone)]
#[must_use = "a model does nothing until an agent asks it"]
pub struct OpenAIChat {
    model: String,
    provider: String,
    settings: Settings,
    parameters: Parameters,
}

/// What can be set of this API alone.
#[derive(Clone, Debug, Default)]
struct Parameters {
    max_output_tokens: Option<u32>,
    temperature: Option<f64>,
    reasoning_effort: Option<String>,
}

client_settings!(
    OpenAIChat,
    key: "The key to present. When left out, `OPENAI_API_KEY` of the environment at the time a turn is asked for, unless the \
          base URL is [set here](Self::base_url): a server that is named in code gets no key that is not, for it may need \
          none, and it is not to get that of somebody else.",
    base_url: "Where the API is, up to and without `/chat/completions`; when left out, `OPENAI_BASE_URL` of the environment \
               at the time a turn is asked for, or else `https://api.openai.com/v1`."
);

impl OpenAIChat {
    /// The model that the server knows by this id.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            provider: "OpenAI".to_owned(),
            settings: Settings::default(),
            parameters: Parameters::default(),
        }
    }

    /// Who provides the model, for events; `OpenAI` when left out.
    pub fn provided_by(mut self, provider: impl Into<String>) -> Self {
        self.provider = provider.into();
        self
    }

    /// The most tokens that the answer may have; the server's own limit when left out.
    ///
    /// An answer that reaches it is [incomplete](super::ModelErrorKind::Incomplete), and the turn fails. It is sent as
    /// `max_tokens`, and as `max_completion_tokens` for `OpenAI`'s models that reason, which
    /// [refuse the other one](https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens).
    pub const fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.parameters.max_output_tokens = Some(tokens);
        self
    }

    /// How freely the model chooses its words, 0 to 2; the model's own default when left out.
    pub const fn temperature(mut self, temperature: f64) -> Self {
        self.parameters.temperature = Some(temperature);
        self
    }

    /// How much the model reasons before it answers, for instance `low`; the model's own default when left out.
    pub fn reasoning_effort(mut self, effort: impl Into<String>) -> Self {
        self.parameters.reasoning_effort = Some(effort.into());
        self
    }
}

impl Model for OpenAIChat {
    fn id(&self) -> &str {
        &self.model
    }

    fn provider(&self) -> &str {
        &self.provider
    }

    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        match request::call(self, request) {
            Ok(call) => events(call, Heard::default()).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

/// Shows neither the key nor any header's value.
impl fmt::Debug for OpenAIChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAIChat")
            .field("model", &self.model)
            .field("provider", &self.provider)
            .field("settings", &self.settings)
            .field("parameters", &self.parameters)
            .finish()
    }
}
