//! What servers of chat completions do differently from each other.

use greenroom::model::{Message, Model, ModelErrorKind, Role};
use greenroom::{AnthropicMessages, OpenAIChat, OpenAIResponses, Usage};
use serde_json::{Value, json};

use super::{Client, error_of, question, replying, strict_form, sum, turn_of};
use crate::scripted_openai::Reply;

fn stream(chunks: &[Value], end: &str) -> Reply {
    let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    Reply::http(200, "text/event-stream", body + end)
}

#[tokio::test]
async fn a_server_that_is_named_gets_no_key_that_is_not() {
    let server = replying(Reply::text(["Three."])).await;

    turn_of(&OpenAIChat::new("qwen3:8b").base_url(server.base_url()), question()).await;
    turn_of(&OpenAIChat::at(&server), question()).await;

    let requests = server.requests();
    assert!(requests[0].header("authorization").is_none());
    assert!(requests[1].header("authorization").is_some_and(|value| value.starts_with("Bearer ")));
}

#[tokio::test]
async fn what_is_set_is_sent_and_nothing_else() {
    let server = replying(Reply::text(["Three."])).await;
    let local = || OpenAIChat::new("qwen3:8b").base_url(server.base_url());
    turn_of(&local(), question()).await;
    turn_of(&local().max_output_tokens(64).temperature(0.3).reasoning_effort("low").streaming(false), question()).await;
    turn_of(&OpenAIChat::at(&server).max_output_tokens(64), question()).await;

    let [plain, full, reasoning] = &server.requests()[..] else { panic!("three requests were made") };
    let expected = json!({
        "model": "qwen3:8b", "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": "An agent that adds"}, {"role": "user", "content": super::QUESTION},
        ],
    });
    assert_eq!(plain.path, "/v1/chat/completions");
    assert_eq!(plain.body, expected);
    assert_eq!((&full.body["max_tokens"], &full.body["temperature"]), (&json!(64), &json!(0.3)));
    assert_eq!(full.body["reasoning_effort"], "low");
    assert!(full.body.get("stream_options").is_none());
    assert_eq!(reasoning.body["max_completion_tokens"], 64);
    assert!(reasoning.body.get("max_tokens").is_none());
}

#[tokio::test]
async fn a_model_is_provided_by_whom_the_maker_says() {
    let model = OpenAIChat::new("qwen3:8b");
    assert_eq!((model.id(), Model::provider(&model)), ("qwen3:8b", "OpenAI"));
    assert_eq!(Model::provider(&model.provided_by("Ollama")), "Ollama");
}

#[tokio::test]
async fn calls_are_told_apart_by_index_by_id_or_by_nothing_but_their_beginning() {
    let piece = |call| json!({"choices": [{"delta": {"tool_calls": [call]}}]});
    let end = || json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
    let call = |id, arguments| json!({"id": id, "function": {"name": "add", "arguments": arguments}});
    let with_index = |index, mut call: Value| {
        call["index"] = index;
        call
    };
    let same_index =
        [piece(with_index(json!(0), call("a", "{1}"))), piece(with_index(json!(0), call("b", "{2}"))), end()];
    let no_index =
        [piece(call("a", "{1}")), piece(call("b", "{")), piece(json!({"function": {"arguments": "2}"}})), end()];
    let no_id = [
        piece(json!({"index": 0, "function": {"name": "add", "arguments": "{1}"}})),
        piece(json!({"index": 1, "function": {"name": "add", "arguments": "{2}"}})),
        end(),
    ];
    for chunks in [&same_index[..], &no_index, &no_id] {
        let server = replying(stream(chunks, "data: [DONE]\n\n")).await;

        let calls = turn_of(&OpenAIChat::at(&server), sum()).await.tool_calls;

        assert_eq!(calls.iter().map(|call| call.arguments.as_str()).collect::<Vec<_>>(), ["{1}", "{2}"]);
        assert!(calls.iter().all(|call| !call.id.is_empty()) && calls[0].id != calls[1].id);
    }
}

#[tokio::test]
async fn a_stream_may_end_without_saying_so_when_its_answer_has() {
    let chunks = [
        json!({"choices": [{"delta": {"content": "Three"}, "finish_reason": "stop"}]}),
        json!({"choices": null, "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}}),
    ];
    let server = replying(stream(&chunks, ": bye\n\n")).await;

    let turn = turn_of(&OpenAIChat::at(&server), question()).await;

    let usage = Usage { input_tokens: 3, output_tokens: 2, total_tokens: 5, ..Usage::default() };
    assert_eq!(
        (turn.text.as_str(), turn.usage),
        ("Three", Usage { cache_read_tokens: 1, reasoning_tokens: 1, ..usage })
    );

    let unfinished = [json!({"choices": [{"delta": {"content": "Three"}}]})];
    let server = replying(stream(&unfinished, "data: [DONE]\n\n")).await;
    assert_eq!(error_of(&OpenAIChat::at(&server), question()).await.0, ModelErrorKind::Cut);
}

#[tokio::test]
async fn an_answer_that_ended_for_an_unknown_reason_is_none() {
    let ended = |reason: &str| json!({"choices": [{"delta": {"content": "Thr"}, "finish_reason": reason}]});
    for (reason, kind, said) in [
        ("abort", ModelErrorKind::Failed, "abort"),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", ModelErrorKind::Failed, "MALFORMED_FUNCTION_CALL"),
        ("insufficient_system_resource", ModelErrorKind::Server, "insufficient_system_resource"),
        ("model_length", ModelErrorKind::Incomplete, "model_length"),
        ("content_filter", ModelErrorKind::Incomplete, "content_filter"),
        ("null", ModelErrorKind::Cut, "cut off"),
        ("", ModelErrorKind::Cut, "cut off"),
    ] {
        for body in [stream(&[ended(reason)], "data: [DONE]\n\n"), stream(&[ended(reason)], "")] {
            let (found, message) = error_of(&OpenAIChat::at(&replying(body).await), question()).await;
            assert_eq!(found, kind, "{reason}: {message}");
            assert!(message.contains(said), "{message}");
        }
    }
    for reason in ["stop", "STOP", "eos", "eos_token", "end_turn", "tool_calls", "function_call"] {
        let server = replying(stream(&[ended(reason), ended("")], "data: [DONE]\n\n")).await;
        assert_eq!(turn_of(&OpenAIChat::at(&server), question()).await.text, "ThrThr", "{reason}");
    }
}

#[tokio::test]
async fn a_form_is_named_and_files_by_address_are_refused() {
    let server = replying(Reply::text(["{}"])).await;
    let mut request = question();
    request.output = Some(strict_form());
    turn_of(&OpenAIChat::at(&server), request.clone()).await;
    let format = &server.requests()[0].body["response_format"];
    assert_eq!((&format["type"], &format["json_schema"]["name"]), (&json!("json_schema"), &json!("sum")));

    let file = json!([{"type": "file", "url": "https://example.org/a.pdf"}]);
    request.messages.push(Message::new(Role::User, file));
    let (kind, message) = error_of(&OpenAIChat::at(&server), request).await;
    assert_eq!((kind, message.as_str()), (ModelErrorKind::Request, "chat completions take no files by URL"));
    assert_eq!(server.request_count(), 1);
}

async fn asked_without_strict_schemas<C: Client>(model: impl Fn(C) -> C) -> Value {
    let server = replying(Reply::text(["{}"])).await;
    let mut request = sum();
    request.output = Some(strict_form());
    turn_of(&model(C::at(&server)), request).await;
    let body = server.requests().remove(0).body;
    assert!(!C::is_strict(&body) && C::tools(&body) == ["add"], "{body}");
    body
}

#[tokio::test]
async fn a_provider_that_is_not_to_hold_the_model_to_schemas_is_told_of_nothing_strict() {
    let chat = asked_without_strict_schemas(|model: OpenAIChat| model.strict_schemas(false)).await;
    assert!(chat["tools"][0]["function"].get("strict").is_none(), "{chat}");
    assert_eq!(chat["response_format"]["json_schema"]["strict"], false);
    let responses = asked_without_strict_schemas(|model: OpenAIResponses| model.strict_schemas(false)).await;
    assert_eq!(
        (&responses["tools"][0]["strict"], &responses["text"]["format"]["strict"]),
        (&json!(false), &json!(false))
    );
    let messages = asked_without_strict_schemas(|model: AnthropicMessages| model.strict_schemas(false)).await;
    assert!(messages.get("output_config").is_none() && messages["system"].to_string().contains("JSON schema"));
}
