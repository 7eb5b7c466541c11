//! Models of the `genai` crate: what is asked ([`request`]), what comes back ([`answer`]), and how it fails ([`failure`]).

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use genai::Client;
use genai::adapter::AdapterKind;
use genai::chat::{ChatOptions, ChatStream};

use self::answer::Heard;
use super::schema::held_by_anthropic;
use super::{Model, ModelError, ModelEvent, ModelRequest};

mod answer;
mod failure;
mod request;

/// How long a provider may take until its answer begins, and how long it may be silent in it.
const FIRST_BYTE: Duration = Duration::from_secs(120);
const IDLE: Duration = Duration::from_secs(300);

/// A model of any of the providers that the [`genai`](https://docs.rs/genai) crate speaks to: Gemini, Mistral, Cohere, Bedrock,
/// `DeepSeek`, Groq, xAI, Ollama and others.
///
/// Which provider that is, `genai` tells by the model's name, or by what comes before `::` in it; keys are in the variables of the
/// environment that it looks at, such as `GEMINI_API_KEY`. Both can be set otherwise in a [client](Self::client).
///
/// ```
/// use greenroom::{Agent, GenaiModel};
///
/// let model = GenaiModel::new("gemini-2.5-flash");
/// let agent = Agent::builder("assistant").model(model).build()?;
/// # assert_eq!(agent.name(), "assistant");
/// # Ok::<(), greenroom::InvalidAgent>(())
/// ```
///
/// Answers are always streamed, and dropping a turn closes its connection. What differs from this crate's own clients, which are
/// the better choice where there is one:
///
/// - A request is asked once. Whether a failure may pass is in its [kind](crate::model::ModelErrorKind), for
///   [`AgentBuilder::retry`](crate::AgentBuilder::retry) and [`FallbackModel`](crate::FallbackModel).
/// - Errors name the status and not the provider's words, since these may quote the conversation.
/// - `genai` itself logs errors, under the target `genai`, and quotes in them what the provider has said: mind who reads your logs.
/// - A tool's strict schema, the form of an answer, images and files are sent as `genai` writes them for the provider; some leave
///   them out.
/// - How large a single event of an answer may be has no bound: only use providers that you trust. All of an answer together has
///   16 MiB at most.
#[derive(Clone)]
#[must_use = "a model does nothing until an agent asks it"]
pub struct GenaiModel {
    model: String,
    provider: String,
    /// None when none could be made.
    client: Option<Client>,
    options: ChatOptions,
}

impl GenaiModel {
    /// The model that `genai` knows by this name, for instance `gemini-2.5-flash` or `groq::openai/gpt-oss-20b`.
    pub fn new(model: impl Into<String>) -> Self {
        let model = model.into();
        let provider = AdapterKind::from_model(&model).map_or("genai", |kind| kind.as_str()).to_owned();
        Self { model, provider, client: Client::new().ok(), options: ChatOptions::default() }
    }

    /// Asks through this client, which knows where providers and keys are; when left out, one as `genai` makes it.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// What else is asked for: temperature, a limit of tokens, the choice of tools and so on; nothing when left out.
    ///
    /// What is captured and the form of the answer are set by the run. When a provider is given no time, its answer has to begin
    /// within 120 seconds, and must not pause for more than 300. As soon as a tool has answered, the model chooses its tools
    /// itself.
    pub fn options(mut self, options: ChatOptions) -> Self {
        self.options = options;
        self
    }

    /// Who provides the model, for events; what `genai` says when left out.
    pub fn provided_by(mut self, provider: impl Into<String>) -> Self {
        self.provider = provider.into();
        self
    }

    /// The options of one request.
    fn options_of(&self, request: &ModelRequest) -> ChatOptions {
        let mut options = self.options.clone();
        options.stream_header_timeout.get_or_insert(FIRST_BYTE);
        options.stream_read_timeout.get_or_insert(IDLE);
        if !request::may_choose(request) {
            options.tool_choice = None;
        }
        if let Some(form) = &request.output {
            options.response_format = Some(request::form(form));
        }
        options.with_capture_usage(true).with_capture_content(true).with_capture_tool_calls(true)
    }
}

impl Model for GenaiModel {
    fn id(&self) -> &str {
        &self.model
    }

    fn provider(&self) -> &str {
        &self.provider
    }

    fn respond(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let is_anthropic = matches!(AdapterKind::from_model(&self.model), Ok(AdapterKind::Anthropic));
        let request = if is_anthropic { held_by_anthropic(request) } else { request };
        let options = self.options_of(&request);
        let turn = Turn { heard: Heard::new(!request.tools.is_empty()), answer: None };
        let (client, model) = (self.client.clone(), self.model.clone());
        let begun = async move {
            let client = client.ok_or_else(failure::no_client)?;
            let asked = request::chat(&request);
            let begun = client.exec_chat_stream(&model, asked, Some(&options)).await;
            let answer = begun.map_err(|error| failure::of(&error))?.stream;
            Ok(Turn { answer: Some(answer), ..turn })
        };
        stream::once(begun).map(|begun| stream::try_unfold(begun, next)).flatten().boxed()
    }
}

struct Turn {
    heard: Heard,
    /// None when the turn is complete.
    answer: Option<ChatStream>,
}

type Next = Result<Option<(ModelEvent, Result<Turn, ModelError>)>, ModelError>;

async fn next(turn: Result<Turn, ModelError>) -> Next {
    let Turn { mut heard, answer } = turn?;
    let Some(mut answer) = answer else { return Ok(None) };
    loop {
        let event = answer.next().await.ok_or_else(failure::cut)?.map_err(|error| failure::of(&error))?;
        match heard.hear(event)? {
            Some(event @ ModelEvent::Done(_)) => return Ok(Some((event, Ok(Turn { heard, answer: None })))),
            Some(event) => return Ok(Some((event, Ok(Turn { heard, answer: Some(answer) })))),
            None => {}
        }
    }
}

/// Shows neither keys nor headers.
impl fmt::Debug for GenaiModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenaiModel")
            .field("model", &self.model)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
