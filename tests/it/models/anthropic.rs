//! What Anthropic's Messages API has of its own.

use greenroom::AnthropicMessages;
use greenroom::Usage;
use greenroom::model::{Message, OutputSpec, Role};
use serde_json::{Value, json};

use super::{Client, KEY, QUESTION, question, replying, sum, turn_of};
use crate::scripted_openai::{Reply, ScriptedOpenAi};

#[tokio::test]
async fn a_request_has_the_shape_of_the_api() {
    let server = replying(Reply::text(["Three."])).await;

    turn_of(&AnthropicMessages::at(&server), question()).await;
    turn_of(&AnthropicMessages::at(&server).thinking_budget(2048).max_output_tokens(4096).temperature(1.0), question())
        .await;
    turn_of(&AnthropicMessages::at(&server).adaptive_thinking().streaming(false), question()).await;

    let [plain, full, adaptive] = &server.requests()[..] else { panic!("three requests were made") };
    let expected = json!({
        "model": "gpt-5-mini", "max_tokens": 8192, "stream": true, "system": "An agent that adds",
        "messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
    });
    assert_eq!(plain.path, "/v1/messages");
    assert_eq!(plain.body, expected);
    assert_eq!(plain.header("x-api-key"), Some(KEY));
    assert_eq!(plain.header("anthropic-version"), Some("2023-06-01"));
    assert!(plain.header("authorization").is_none());
    assert_eq!(full.body["thinking"], json!({"type": "enabled", "budget_tokens": 2048}));
    assert_eq!((&full.body["max_tokens"], &full.body["temperature"]), (&json!(4096), &json!(1.0)));
    assert_eq!(adaptive.body["thinking"], json!({"type": "adaptive"}));
}

#[tokio::test]
async fn outputs_that_belong_together_are_in_one_message() {
    let server = replying(Reply::text(["Three."])).await;
    let call = |id: &str, arguments: &str| greenroom::model::ToolCall::new(id, "add", arguments);
    let mut request = sum();
    request.messages.push(Message::calls("", vec![call("a", r#"{"a":1}"#), call("b", "no JSON")]));
    request.messages.extend([Message::tool_output("a", "3"), Message::tool_output("b", "not JSON")]);
    request.messages.push(Message::new(Role::User, "Well?"));

    turn_of(&AnthropicMessages::at(&server), request).await;

    let messages = server.requests()[0].body["messages"].as_array().unwrap().clone();
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let inputs: Vec<_> = messages[1]["content"].as_array().unwrap().iter().map(|block| &block["input"]).collect();
    assert_eq!(inputs, [&json!({"a": 1}), &json!({})]);
    let kinds: Vec<_> = messages[2]["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
}

fn frames(events: &[Value]) -> Reply {
    let frame = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    Reply::http(200, "text/event-stream", events.iter().map(frame).collect::<String>())
}

fn thoughtful() -> Reply {
    let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let start =
        |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let usage =
        json!({"input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 1});
    frames(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": usage}}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "One and"})),
        delta(0, json!({"type": "thinking_delta", "thinking": " two."})),
        delta(0, json!({"type": "signature_delta", "signature": "c2lnbmVk"})),
        start(1, json!({"type": "redacted_thinking", "data": "b3BhcXVl"})),
        start(2, json!({"type": "tool_use", "id": "call_1", "name": "add", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ])
}

#[tokio::test]
async fn what_the_model_has_thought_goes_back_with_its_calls() {
    let server = ScriptedOpenAi::start(|n, _| if n == 0 { thoughtful() } else { Reply::text(["Three."]) }).await;
    let model = AnthropicMessages::at(&server);
    let mut request = sum();

    let turn = turn_of(&model, request.clone()).await;
    request.messages.extend([turn.to_message(), Message::tool_output("call_1", "3")]);
    turn_of(&model, request).await;

    assert_eq!(turn.text, "");
    let usage = Usage { input_tokens: 10, output_tokens: 9, total_tokens: 19, ..Usage::default() };
    assert_eq!(turn.usage, Usage { cache_read_tokens: 3, cache_write_tokens: 2, ..usage });
    let expected = json!([
        {"type": "thinking", "thinking": "One and two.", "signature": "c2lnbmVk"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
    ]);
    assert_eq!(server.requests()[1].body["messages"][1]["content"], expected);
}

#[tokio::test]
async fn a_form_that_cannot_be_held_is_asked_for_in_words() {
    let server = replying(Reply::text(["{}"])).await;
    let mut request = question();
    request.output = Some(OutputSpec::new("sum", json!({"type": "object"})));

    turn_of(&AnthropicMessages::at(&server), request).await;

    let body = &server.requests()[0].body;
    assert!(body.get("output_config").is_none());
    let system = body["system"].as_str().unwrap();
    assert!(system.starts_with("An agent that adds\n\n") && system.ends_with("{\"type\":\"object\"}"), "{system}");
}
