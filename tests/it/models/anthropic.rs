//! What Anthropic's Messages API has of its own.

use greenroom::model::{Message, ModelError, ModelErrorKind, OutputSpec, Role, ToolCall};
use greenroom::schemars::{self, JsonSchema};
use greenroom::{Agent, AnthropicMessages, NewRun, Store, Tool, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, KEY, QUESTION, hear, question, replying, sum, turn_of};
use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::{settled, start};

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
    let call = |id: &str, arguments: &str| ToolCall::new(id, "add", arguments);
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

/// What the API refuses in a strict schema: <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>.
const REFUSED: [&str; 11] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "$ref",
    "oneOf",
];

fn keywords(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                found.push(key.clone());
                keywords(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keywords(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only its form matters")]
struct Order {
    count: u32,
    small: u8,
    below: i8,
    perhaps: Option<usize>,
    pair: [u16; 2],
    #[schemars(range(min = 0.5), extend("multipleOf" = 0.5))]
    price: f64,
    lines: Vec<Line>,
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only its form matters")]
struct Line {
    amount: u64,
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only its form matters")]
struct Tree {
    size: u8,
    branches: Vec<Self>,
}

#[tokio::test]
async fn what_is_sent_as_strict_has_nothing_that_the_api_refuses() {
    let server = replying(Reply::text(["{}"])).await;
    let order = Tool::new("order", "Orders", |_, _: Order| async { Ok(1) });
    let tree = Tool::new("tree", "Draws", |_, _: Tree| async { Ok(1) });
    let model = AnthropicMessages::at(&server).max_retries(0);
    let agent = Agent::builder("clerk").model(model).tool(order).tool(tree).output::<Order>();
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    settled(&runtime.submit(NewRun::new("clerk", "One, please.")).await.unwrap()).await;

    let body = &server.requests()[0].body;
    let (order, tree) = (&body["tools"][0], &body["tools"][1]);
    for held in [&order["input_schema"], &body["output_config"]["format"]["schema"]] {
        let mut found = Vec::new();
        keywords(held, &mut found);
        assert!(found.contains(&"count".to_owned()), "{held}");
        assert!(found.iter().all(|keyword| !REFUSED.contains(&keyword.as_str())), "{held}");
    }
    assert_eq!((&order["strict"], &tree["strict"]), (&json!(true), &Value::Null));
    assert!(order["input_schema"]["properties"]["small"]["description"].to_string().contains("maximum: 255"));
    assert_eq!(tree["input_schema"]["properties"]["size"]["maximum"], 255);
}

#[tokio::test]
async fn a_text_without_a_word_in_it_does_not_go_back() {
    let server = replying(Reply::text(["Three."])).await;
    let call = || vec![ToolCall::new("call_1", "add", "{}")];
    let thought = json!({"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"});
    let made = json!({"type": "tool_use", "id": "call_1", "name": "functions.add", "input": {}});
    let blank = json!({"type": "text", "text": "\n\n"});
    let mut remembered = Message::calls("\n\n", call());
    remembered.provider_data = Some(json!({"anthropic_messages": {"content": [thought, blank, made]}}));
    let mut request = sum();
    request.messages.extend([Message::calls(" \n", call()), Message::tool_output("call_1", "3")]);
    request.messages.extend([remembered, Message::tool_output("call_1", "3"), Message::new(Role::Assistant, "\t")]);
    request.messages.push(Message::new(Role::User, "Well?"));

    turn_of(&AnthropicMessages::at(&server), request).await;

    let messages = server.requests()[0].body["messages"].as_array().unwrap().clone();
    let kinds = |at: usize| {
        let blocks = messages[at]["content"].as_array().unwrap().iter();
        blocks.map(|block| block["type"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!([kinds(1), kinds(3)], [vec!["tool_use"], vec!["thinking", "tool_use"]]);
    assert_eq!((messages.len(), kinds(4)), (5, vec!["tool_result", "text"]));
    assert_eq!(messages[3]["content"][1]["name"], "functions_add");
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
async fn an_answer_that_stopped_for_an_unknown_reason_is_none() {
    for (reason, expected) in [
        ("malformed_tool_use", Some(ModelErrorKind::Failed)),
        ("refusal", Some(ModelErrorKind::Incomplete)),
        ("stop_sequence", None),
    ] {
        let answer = json!({"content": [{"type": "text", "text": "Thr"}], "stop_reason": reason});
        let server = replying(Reply::http(200, "application/json", answer.to_string())).await;

        let end = hear(&AnthropicMessages::at(&server).streaming(false), question()).await.1;

        assert_eq!(end.as_ref().err().map(ModelError::kind), expected, "{reason}");
        assert!(end.is_ok() || end.unwrap_err().to_string().contains(reason));
    }
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
