//! What is sent.

use std::collections::BTreeSet;

use greenroom::{OpenAIResponses, Usage};
use serde_json::json;

use super::{KEY, QUESTION, hear, hear_reply, hear_with, model_at};
use crate::scripted_openai::{Reply, ScriptedOpenAi};

#[tokio::test]
async fn a_streamed_request_has_the_shape_of_agnos() {
    let (_, server) = hear_reply(Reply::text(["Paris."])).await;

    let request = &server.requests()[0];
    let expected = json!({
        "model": "gpt-5-mini",
        "stream": true,
        "input": [
            {"role": "developer", "content": "An agent that runs in the background"},
            {"role": "user", "content": QUESTION},
        ],
        "reasoning": {},
        "store": true,
    });
    assert_eq!(request.body, expected);
    assert_eq!(request.path, "/v1/responses");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert!(request.header("openai-organization").is_none());
}

#[tokio::test]
async fn a_request_without_streaming_has_the_shape_of_agnos() {
    let ((said, end), server) = hear_with(|_, _| Reply::text(["Par", "is."]), |model| model.streaming(false)).await;

    assert!(said.is_empty());
    let usage = Usage { input_tokens: 12, output_tokens: 7, total_tokens: 19, ..Usage::default() };
    assert_eq!(end, Ok(("Paris.".to_owned(), usage, Some("resp_1".to_owned()))));
    let expected = json!({
        "model": "gpt-5-mini",
        "input": [
            {"role": "developer", "content": "An agent that runs in the background"},
            {"role": "user", "content": QUESTION},
        ],
        "reasoning": {},
        "store": true,
    });
    assert_eq!(server.requests()[0].body, expected);
}

#[tokio::test]
async fn what_is_set_is_sent_and_nothing_else() {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["ok"])).await;
    let plain = OpenAIResponses::new("gpt-4o").api_key(KEY).base_url(server.base_url());
    let full = model_at(&server.base_url())
        .store(false)
        .max_output_tokens(64)
        .temperature(0.3)
        .reasoning_effort("low")
        .organization("org-1")
        .header("X-Extra", "yes");

    hear(&plain).await.1.unwrap();
    hear(&full).await.1.unwrap();

    let [plain, full] = &server.requests()[..] else { panic!("two requests were made") };
    let fields: BTreeSet<_> = plain.body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.into_iter().collect::<Vec<_>>(), ["input", "model", "reasoning", "stream"]);
    assert_eq!(full.body["store"], false);
    assert_eq!(full.body["max_output_tokens"], 64);
    assert_eq!(full.body["temperature"], json!(0.3));
    assert_eq!(full.body["reasoning"], json!({"effort": "low"}));
    assert_eq!(full.header("openai-organization"), Some("org-1"));
    assert_eq!(full.header("x-extra"), Some("yes"));
}
