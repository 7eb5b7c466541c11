//! The client for `OpenAI`'s Responses API, against a server that does what a script says.

#![allow(clippy::expect_used, reason = "helpers of tests are not recognised as tests")]

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use greenroom::model::{Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Role};
use greenroom::{OpenAIResponses, Usage};
use serde_json::Value;

use crate::scripted_openai::{Reply, ScriptedOpenAi};

mod answer;
mod drop;
mod limits;
mod request;
mod retry;

const KEY: &str = "sk-a-key-nobody-may-see";
const QUESTION: &str = "What is the capital of France?";

fn question() -> ModelRequest {
    let mut request = ModelRequest::default();
    request.messages.push(Message::new(Role::System, "An agent that runs in the background"));
    request.messages.push(Message::new(Role::User, QUESTION));
    request
}

fn model_at(base_url: &str) -> OpenAIResponses {
    OpenAIResponses::new("gpt-5-mini").api_key(KEY).base_url(base_url)
}

/// What a turn said, and how it ended.
type Heard = (Vec<String>, Result<(String, Usage, Option<String>), ModelError>);

async fn hear(model: &OpenAIResponses) -> Heard {
    let mut said = Vec::new();
    let mut answer = model.respond(question());
    loop {
        match soon(answer.next()).await {
            Some(Ok(ModelEvent::Text(text))) => said.push(text),
            Some(Ok(ModelEvent::Done(turn))) => {
                assert!(soon(answer.next()).await.is_none(), "nothing comes after the whole turn");
                return (said, Ok((turn.text, turn.usage, turn.response_id)));
            }
            Some(Ok(other)) => panic!("an event of an unknown kind: {other:?}"),
            Some(Err(error)) => {
                assert!(soon(answer.next()).await.is_none(), "nothing comes after an error");
                assert!(!format!("{error} {error:?}").contains(KEY) && !error.to_string().contains(QUESTION));
                return (said, Err(error));
            }
            None => panic!("the turn ended without a result"),
        }
    }
}

/// Starts a server with a script that replies to every request, and hears one turn of a model there.
async fn hear_reply(reply: Reply) -> (Heard, ScriptedOpenAi) {
    hear_with(move |_, _| reply.clone(), |model| model).await
}

async fn hear_with(
    script: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static,
    set_up: impl FnOnce(OpenAIResponses) -> OpenAIResponses,
) -> (Heard, ScriptedOpenAi) {
    let server = ScriptedOpenAi::start(script).await;
    let heard = hear(&set_up(model_at(&server.base_url()))).await;
    (heard, server)
}

fn error_of((_, end): Heard) -> (ModelErrorKind, String) {
    let error = end.expect_err("the turn must fail");
    (error.kind(), error.to_string())
}

/// Bounds what would otherwise hang a test for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing happened for 20 seconds")
}

#[tokio::test]
async fn a_connection_serves_several_turns() {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["Paris."])).await;
    let model = model_at(&server.base_url());

    hear(&model).await.1.unwrap();
    hear(&model.clone()).await.1.unwrap();

    let ports: Vec<_> = server.requests().iter().map(|request| request.peer).collect();
    assert_eq!(ports[0], ports[1]);
}

#[tokio::test]
async fn a_ready_client_is_used() {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["Paris."])).await;
    let client = reqwest::Client::builder().user_agent("mine").build().unwrap();

    hear(&model_at(&server.base_url()).http_client(client)).await.1.unwrap();

    assert_eq!(server.requests()[0].header("user-agent"), Some("mine"));
}

#[tokio::test]
async fn impossible_settings_fail_the_turn_with_clear_words() {
    let good = || model_at("http://127.0.0.1:9/v1");
    let cases = [
        (good().api_key(""), ModelErrorKind::Auth, "key is empty"),
        (good().api_key("sk\nx"), ModelErrorKind::Auth, "API key contains"),
        (good().base_url("no url"), ModelErrorKind::Request, "base URL cannot be parsed"),
        (good().base_url("file:///etc"), ModelErrorKind::Request, "neither http nor https"),
        (good().base_url("http://me:pw@127.0.0.1/"), ModelErrorKind::Request, "user or a password"),
        (good().header("a b", "c"), ModelErrorKind::Request, "header \"a b\": the name"),
        (good().header("a", "c\n"), ModelErrorKind::Request, "header \"a\": the value"),
    ];
    for (model, kind, words) in cases {
        let (found, message) = error_of(hear(&model).await);

        assert_eq!(found, kind, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn debug_shows_neither_key_nor_header_values() {
    let shown = format!("{:?}", model_at("http://h/").header("x-token", "hunter2"));

    assert!(shown.contains("gpt-5-mini") && shown.contains("x-token"), "{shown}");
    assert!(!shown.contains(KEY) && !shown.contains("hunter2"), "{shown}");
}
