//! The models of the `genai` crate: as much of the suite as they do.

use std::time::Duration;

use greenroom::GenaiModel;
use greenroom::genai::adapter::AdapterKind;
use greenroom::genai::chat::{self, ChatOptions};
use greenroom::genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
use greenroom::genai::{Client as GenaiClient, Headers, ModelIden, ServiceTarget};
use greenroom::model::{Message, Model, ModelErrorKind, ToolCall, ToolChoice};
use serde_json::{Value, json};

use super::{Client, KEY, error_of, list, question, replying, sum, text, turn_of};
use crate::scripted_openai::{Reply, ScriptedOpenAi};

impl Client for GenaiModel {
    const MODES: &[bool] = &[true];
    const QUOTES: bool = false;
    const NAMES_ANSWERS: bool = false;
    const SHOWN: &str = "gpt-5-mini";
    const REQUIRED_ONE: &str = "";

    fn at(server: &ScriptedOpenAi) -> Self {
        named("gpt-5-mini", server)
    }
    fn streaming(self, _: bool) -> Self {
        self
    }
    fn max_retries(self, _: u32) -> Self {
        self
    }
    fn idle_timeout(self, timeout: Duration) -> Self {
        self.options(ChatOptions::default().with_stream_read_timeout(timeout))
    }
    fn tool_choice(self, _: ToolChoice) -> Self {
        self.options(ChatOptions::default().with_tool_choice(chat::ToolChoice::Required))
    }
    fn parallel_tool_calls(self, _: bool) -> Self {
        self
    }
    fn header(self, name: &str, value: &str) -> Self {
        let headers = Headers::from(std::collections::HashMap::from([(name.to_owned(), value.to_owned())]));
        self.options(ChatOptions::default().with_extra_headers(headers))
    }
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
}

/// The model of this name, at a server that speaks as `OpenAI` does.
fn named(model: &str, server: &ScriptedOpenAi) -> GenaiModel {
    let url = format!("{}/", server.base_url());
    let resolver = ServiceTargetResolver::from_resolver_fn(move |target: ServiceTarget| {
        let endpoint = Endpoint::from_owned(url.as_str());
        let model = ModelIden::new(AdapterKind::OpenAI, target.model.model_name);
        Ok(ServiceTarget { endpoint, auth: AuthData::from_single(KEY), model })
    });
    let client = GenaiClient::builder().with_service_target_resolver(resolver).build().unwrap();
    GenaiModel::new(model).client(client)
}

#[tokio::test]
async fn what_may_pass_says_so_and_is_not_asked_again() {
    for (status, kind) in
        [(429, ModelErrorKind::RateLimited), (503, ModelErrorKind::Server), (529, ModelErrorKind::Server)]
    {
        let server = replying(Reply::status(status, "busy", "later")).await;

        let (found, said) = error_of(&GenaiModel::at(&server), question()).await;

        assert_eq!((found, said), (kind, format!("the provider answers with status {status}")));
        assert!(kind.is_retryable());
        assert_eq!(server.request_count(), 1);
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_of_the_connection() {
    let server = replying(Reply::text(["Three."])).await;
    let model = GenaiModel::at(&server);
    drop(server);
    assert_eq!(error_of(&model, question()).await.0, ModelErrorKind::Connect);
}

#[tokio::test]
async fn the_choice_of_tools_is_free_once_one_has_answered() {
    let server = replying(Reply::text(["Three."])).await;
    let model = GenaiModel::at(&server).tool_choice(ToolChoice::Required);
    let mut request = sum();
    turn_of(&model, request.clone()).await;
    request
        .messages
        .extend([Message::calls("", vec![ToolCall::new("call_1", "add", "{}")]), Message::tool_output("call_1", "3")]);
    turn_of(&model, request).await;
    turn_of(&model, question()).await;

    let choices: Vec<_> = server.requests().iter().map(|request| request.body["tool_choice"].clone()).collect();
    assert_eq!(choices, [json!("required"), Value::Null, Value::Null]);
}

#[tokio::test]
async fn an_answer_that_is_none_is_never_done() {
    for (media_type, body) in
        [("text/html", "<p>Welcome</p>"), ("text/event-stream", "data: Three\n\n"), ("application/json", "{}")]
    {
        let server = replying(Reply::http(200, media_type, body)).await;
        let kind = error_of(&GenaiModel::at(&server), question()).await.0;
        assert!(matches!(kind, ModelErrorKind::Protocol | ModelErrorKind::Cut), "{body}: {kind:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ended_for_an_unknown_reason_is_none() {
    let chunk = |reason: &str| json!({"choices": [{"delta": {"content": ""}, "finish_reason": reason}]});
    let ended =
        |reason: &str| Reply::http(200, "text/event-stream", format!("data: {}\n\ndata: [DONE]\n\n", chunk(reason)));
    for (reason, kind) in [
        ("MALFORMED_FUNCTION_CALL", ModelErrorKind::Failed),
        ("error", ModelErrorKind::Failed),
        ("guardrail_intervened", ModelErrorKind::Incomplete),
        ("length", ModelErrorKind::Incomplete),
    ] {
        let (found, message) = error_of(&GenaiModel::at(&replying(ended(reason)).await), question()).await;
        assert_eq!(found, kind, "{reason}: {message}");
    }
    for reason in ["stop", "TOOL_CALL", "eos", ""] {
        turn_of(&GenaiModel::at(&replying(ended(reason)).await), question()).await;
    }
}

#[tokio::test]
async fn a_model_of_anthropic_is_told_of_no_bounds_in_a_strict_schema() {
    let server = replying(Reply::text(["Three."])).await;
    let mut request = sum();
    request.tools[0].parameters["properties"]["a"]["minimum"] = 0.into();

    turn_of(&named("claude-sonnet-4-5", &server), request.clone()).await;
    turn_of(&named("gpt-5-mini", &server), request).await;

    let least = |n: usize| {
        server.requests()[n].body["tools"][0]["function"]["parameters"]["properties"]["a"]["minimum"].clone()
    };
    assert_eq!([least(0), least(1)], [Value::Null, json!(0)]);
}

#[test]
fn who_provides_a_model_is_told_by_its_name() {
    let provider = |model: &str| GenaiModel::new(model).provider().to_owned();
    assert_eq!([provider("gemini-2.5-flash"), provider("claude-sonnet-4-5")], ["Gemini", "Anthropic"]);
    assert_eq!(GenaiModel::new("mine").provided_by("me").provider(), "me");
}
