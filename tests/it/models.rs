//! The clients of models: one suite for all of them, against a server that speaks the API of each, and what each has of its
//! own. What they share is tried in detail in [`openai`](crate::openai).

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use greenroom::model::{
    Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelTurn, OutputSpec, Role, ToolChoice,
    ToolSpec,
};
use greenroom::{AnthropicMessages, OpenAIChat, OpenAIResponses};
use serde_json::{Value, json};

use crate::scripted_openai::{Reply, ScriptedOpenAi};

mod anthropic;
mod background;
mod chat;
mod fallback;
mod genai;
mod responses;
mod suite;

const KEY: &str = "sk-a-key-nobody-may-see";
const QUESTION: &str = "What is one and two, and what is three and four?";

/// A client, as the suite sees it.
trait Client: Model + Debug + Clone + Sized {
    /// Whether answers come piece by piece, or at once.
    const MODES: &[bool] = &[true, false];
    /// Whether an error says what the provider has said.
    const QUOTES: bool = true;
    /// Whether an answer's id is told.
    const NAMES_ANSWERS: bool = true;
    /// What can be read in a debug text.
    const SHOWN: &str = "x-token";
    /// A client with a key, at this server.
    fn at(server: &ScriptedOpenAi) -> Self;
    fn streaming(self, streaming: bool) -> Self;
    fn max_retries(self, retries: u32) -> Self;
    fn idle_timeout(self, timeout: Duration) -> Self;
    fn tool_choice(self, choice: ToolChoice) -> Self;
    fn parallel_tool_calls(self, parallel: bool) -> Self;
    fn header(self, name: &str, value: &str) -> Self;
    /// The names of the tools in a request.
    fn tools(body: &Value) -> Vec<&str>;
    /// Whether the provider is to hold the model to the first tool's schema.
    fn is_strict(body: &Value) -> bool;
    /// Ids, names and arguments of the calls in a request, and the ids and outputs that answer them.
    fn tool_round(body: &Value) -> (Vec<[String; 3]>, Vec<[String; 2]>);
    /// The schema that the answer must have.
    fn schema(body: &Value) -> &Value;
    /// What the choice of any tool, and of one at a time, looks like.
    const REQUIRED_ONE: &str;
    /// What a picture of this address looks like.
    fn picture(url: &str) -> Value;
    /// The latest message's content, or whatever it is called.
    fn latest(body: &Value) -> &Value;
}

macro_rules! client {
    ($client:ty, $base:expr, { $($rest:tt)* }) => {
        impl Client for $client {
            fn at(server: &ScriptedOpenAi) -> Self {
                Self::new("gpt-5-mini").api_key(KEY).base_url($base(server))
            }
            fn streaming(self, streaming: bool) -> Self {
                Self::streaming(self, streaming)
            }
            fn max_retries(self, retries: u32) -> Self {
                Self::max_retries(self, retries)
            }
            fn idle_timeout(self, timeout: Duration) -> Self {
                Self::idle_timeout(self, timeout)
            }
            fn tool_choice(self, choice: ToolChoice) -> Self {
                Self::tool_choice(self, choice)
            }
            fn parallel_tool_calls(self, parallel: bool) -> Self {
                Self::parallel_tool_calls(self, parallel)
            }
            fn header(self, name: &str, value: &str) -> Self {
                Self::header(self, name, value)
            }
            $($rest)*
        }
    };
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

client!(OpenAIResponses, ScriptedOpenAi::base_url, {
    const REQUIRED_ONE: &str = r#"["required",false]"#;
    fn tools(body: &Value) -> Vec<&str> {
        list(&body["tools"]).filter_map(|tool| tool["name"].as_str()).collect()
    }
    fn is_strict(body: &Value) -> bool {
        body["tools"][0]["strict"] == true
    }
    fn tool_round(body: &Value) -> (Vec<[String; 3]>, Vec<[String; 2]>) {
        let of_type = |kind: &'static str| list(&body["input"]).filter(move |item| item["type"] == kind);
        let call = |item: &Value| [text(&item["call_id"]), text(&item["name"]), text(&item["arguments"])];
        let output = |item: &Value| [text(&item["call_id"]), text(&item["output"])];
        (of_type("function_call").map(call).collect(), of_type("function_call_output").map(output).collect())
    }
    fn schema(body: &Value) -> &Value {
        &body["text"]["format"]["schema"]
    }
    fn picture(url: &str) -> Value {
        json!({"type": "input_image", "image_url": url})
    }
    fn latest(body: &Value) -> &Value {
        &list(&body["input"]).last().unwrap()["content"]
    }
});

client!(OpenAIChat, ScriptedOpenAi::base_url, {
    const REQUIRED_ONE: &str = r#"["required",false]"#;
    fn tools(body: &Value) -> Vec<&str> {
        list(&body["tools"]).filter_map(|tool| tool["function"]["name"].as_str()).collect()
    }
    fn is_strict(body: &Value) -> bool {
        body["tools"][0]["function"]["strict"] == true
    }
    fn tool_round(body: &Value) -> (Vec<[String; 3]>, Vec<[String; 2]>) {
        let call =
            |call: &Value| [text(&call["id"]), text(&call["function"]["name"]), text(&call["function"]["arguments"])];
        let outputs = list(&body["messages"]).filter(|message| message["role"] == "tool");
        let output = |message: &Value| [text(&message["tool_call_id"]), text(&message["content"])];
        let calls = list(&body["messages"]).flat_map(|message| list(&message["tool_calls"]));
        (calls.map(call).collect(), outputs.map(output).collect())
    }
    fn schema(body: &Value) -> &Value {
        &body["response_format"]["json_schema"]["schema"]
    }
    fn picture(url: &str) -> Value {
        json!({"type": "image_url", "image_url": {"url": url}})
    }
    fn latest(body: &Value) -> &Value {
        &list(&body["messages"]).last().unwrap()["content"]
    }
});

client!(AnthropicMessages, |server: &ScriptedOpenAi| server.base_url().trim_end_matches("/v1").to_owned(), {
    const REQUIRED_ONE: &str = r#"[{"disable_parallel_tool_use":true,"type":"any"},null]"#;
    fn tools(body: &Value) -> Vec<&str> {
        list(&body["tools"]).filter_map(|tool| tool["name"].as_str()).collect()
    }
    fn is_strict(body: &Value) -> bool {
        body["tools"][0]["strict"] == true
    }
    fn tool_round(body: &Value) -> (Vec<[String; 3]>, Vec<[String; 2]>) {
        let blocks = |kind: &'static str| {
            let blocks = list(&body["messages"]).flat_map(|message| list(&message["content"]));
            blocks.filter(move |block| block["type"] == kind)
        };
        let call = |block: &Value| [text(&block["id"]), text(&block["name"]), block["input"].to_string()];
        let output = |block: &Value| [text(&block["tool_use_id"]), text(&block["content"])];
        (blocks("tool_use").map(call).collect(), blocks("tool_result").map(output).collect())
    }
    fn schema(body: &Value) -> &Value {
        &body["output_config"]["format"]["schema"]
    }
    fn picture(url: &str) -> Value {
        json!({"type": "image", "source": {"type": "url", "url": url}})
    }
    fn latest(body: &Value) -> &Value {
        &list(&body["messages"]).last().unwrap()["content"]
    }
});

macro_rules! conformance {
    ($($name:ident: $client:ty),*) => { $( mod $name { claims!($client); } )* };
}

/// Every claim of the suite, about one client.
macro_rules! claims {
    ($client:ty) => {
        claims!($client:
            a_text_comes_piece_by_piece_or_at_once,
            an_answer_is_whole_however_it_is_cut_into_chunks,
            calls_of_tools_are_in_the_turn_in_their_order,
            calls_without_a_word_are_a_turn_too,
            what_the_tools_have_said_goes_back_under_the_ids_of_their_calls,
            a_name_that_the_model_has_made_up_goes_back_as_one_that_the_provider_takes,
            tools_are_offered_with_their_schemas,
            a_call_that_nobody_offered_is_an_error,
            the_choice_of_tools_is_free_once_one_has_answered,
            the_form_of_an_answer_is_sent,
            images_are_sent_by_their_address,
            each_refusal_has_its_kind_and_is_not_asked_again,
            what_may_pass_is_asked_again_and_then_answered,
            retries_come_to_an_end,
            a_cut_answer_is_never_done,
            an_answer_that_failed_or_is_incomplete_is_an_error,
            a_silent_provider_is_given_up,
            an_answer_without_bounds_is_an_error,
            an_answer_of_another_form_is_an_error,
            dropping_a_turn_closes_the_connection,
            dropping_a_turn_that_waits_to_ask_again_ends_it,
            nothing_secret_is_in_an_error_or_a_debug_text
        );
    };
    ($client:ty: $($claim:ident),*) => { $(
        #[tokio::test]
        async fn $claim() {
            super::suite::$claim::<$client>().await;
        }
    )* };
}

conformance!(
    openai_responses: greenroom::OpenAIResponses,
    openai_chat: greenroom::OpenAIChat,
    anthropic_messages: greenroom::AnthropicMessages
);

/// A client of another crate, which makes no retries, always streams, and does not bound a single event.
mod genai_model {
    claims!(greenroom::GenaiModel:
        a_text_comes_piece_by_piece_or_at_once,
        an_answer_is_whole_however_it_is_cut_into_chunks,
        calls_of_tools_are_in_the_turn_in_their_order,
        calls_without_a_word_are_a_turn_too,
        what_the_tools_have_said_goes_back_under_the_ids_of_their_calls,
            a_name_that_the_model_has_made_up_goes_back_as_one_that_the_provider_takes,
        tools_are_offered_with_their_schemas,
        a_call_that_nobody_offered_is_an_error,
        the_form_of_an_answer_is_sent,
        images_are_sent_by_their_address,
        each_refusal_has_its_kind_and_is_not_asked_again,
        a_cut_answer_is_never_done,
        an_answer_that_failed_or_is_incomplete_is_an_error,
        a_silent_provider_is_given_up,
        dropping_a_turn_closes_the_connection,
        nothing_secret_is_in_an_error_or_a_debug_text
    );
}

fn question() -> ModelRequest {
    let mut request = ModelRequest::default();
    request.messages.push(Message::new(Role::System, "An agent that adds"));
    request.messages.push(Message::new(Role::User, QUESTION));
    request
}

/// A question that a tool helps with.
fn sum() -> ModelRequest {
    let parameters = json!({
        "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"], "additionalProperties": false,
    });
    let mut request = question();
    request.tools.push(ToolSpec::new("add", "Adds two numbers", parameters));
    request.tools[0].strict = true;
    request
}

/// All that was said, and how it ended.
type Heard = (Vec<String>, Result<ModelTurn, ModelError>);

async fn hear(model: &impl Model, request: ModelRequest) -> Heard {
    let mut said = Vec::new();
    let mut answer = model.respond(request);
    loop {
        match soon(answer.next()).await {
            Some(Ok(ModelEvent::Text(text))) => said.push(text),
            Some(Ok(ModelEvent::Done(turn))) => {
                assert!(soon(answer.next()).await.is_none(), "nothing comes after the whole turn");
                return (said, Ok(turn));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                assert!(soon(answer.next()).await.is_none(), "nothing comes after an error");
                return (said, Err(error));
            }
            None => panic!("the turn ended without a result"),
        }
    }
}

async fn turn_of(model: &impl Model, request: ModelRequest) -> ModelTurn {
    hear(model, request).await.1.unwrap()
}

async fn error_of(model: &impl Model, request: ModelRequest) -> (ModelErrorKind, String) {
    let error = hear(model, request).await.1.expect_err("the turn must fail");
    (error.kind(), error.to_string())
}

async fn replying(reply: Reply) -> ScriptedOpenAi {
    ScriptedOpenAi::start(move |_, _| reply.clone()).await
}

/// Bounds what would otherwise hang a test for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing happened for 20 seconds")
}

fn strict_form() -> OutputSpec {
    let schema = json!({
        "type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": false,
    });
    let mut form = OutputSpec::new("sum", schema);
    form.strict = true;
    form
}
