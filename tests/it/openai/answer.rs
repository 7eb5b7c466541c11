//! What is heard, and which endings are no answer.

use greenroom::OpenAIResponses;
use greenroom::Usage;
use greenroom::model::ModelErrorKind;
use serde_json::{Value, json};

use super::{error_of, hear_reply, hear_with};
use crate::scripted_openai::{Reply, response};

#[tokio::test]
async fn a_streamed_answer_comes_piece_by_piece_and_then_whole() {
    let ((said, end), server) = hear_reply(Reply::text(["Par", "is", "."])).await;

    assert_eq!(said, ["Par", "is", "."]);
    let usage = Usage { input_tokens: 12, output_tokens: 7, total_tokens: 19, ..Usage::default() };
    assert_eq!(end, Ok(("Paris.".to_owned(), usage, Some("resp_1".to_owned()))));
    assert_eq!(server.request_count(), 1);
}

#[tokio::test]
async fn an_answer_is_whole_however_it_is_cut_into_chunks() {
    for bytes in [1, 2, 3, 7, 1000] {
        let ((said, end), _server) = hear_reply(Reply::text(["Zürich 湖", " 🦀"]).in_chunks_of(bytes)).await;

        assert_eq!(said, ["Zürich 湖", " 🦀"]);
        assert_eq!(end.unwrap().0, "Zürich 湖 🦀");
    }
}

#[tokio::test]
async fn a_refusal_by_the_model_is_its_answer() {
    let content = json!([{"type": "refusal", "refusal": "I cannot."}]);
    let output = json!({"output": [{"type": "reasoning"}, {"type": "message", "content": content}]});
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.refusal.delta", "delta": "I cannot."}),
        json!({"type": "response.completed", "response": response(&json!({}), Some(""), &output)}),
    ];

    let ((said, end), _server) = hear_reply(Reply::events(events)).await;

    assert_eq!(said, ["I cannot."]);
    assert_eq!(end.unwrap().0, "I cannot.");
}

#[tokio::test]
async fn events_of_unknown_types_are_ignored() {
    let body = [
        ": a comment\n\n",
        "event: ping\ndata: not json\n\n",
        "data:\n\n",
        "data: {\"type\": \"response.reasoning.delta\", \"delta\": 1}\n\n",
        "event: response.output_text.delta\ndata: {\"delta\": \"Paris\"}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"output\":null,\"usage\":{\"input_tokens\":1}}}\n\n",
        "data: [DONE]\n\n",
    ];

    let ((said, end), _server) = hear_reply(Reply::http(200, "text/event-stream", body.concat())).await;

    assert_eq!(said, ["Paris"]);
    let usage = Usage { input_tokens: 1, output_tokens: 0, total_tokens: 1, ..Usage::default() };
    assert_eq!(end, Ok(("Paris".to_owned(), usage, None)));
}

#[tokio::test]
async fn a_cut_stream_is_an_error_and_never_done() {
    for reply in [Reply::text(["Par"]).then_cut(), Reply::text(["Par"]).then_end()] {
        let (heard, server) = hear_reply(reply).await;

        assert_eq!(heard.0, ["Par"]);
        assert_eq!(error_of(heard).0, ModelErrorKind::Cut);
        assert_eq!(server.request_count(), 1, "what was heard in part is not asked again");
    }
}

#[tokio::test]
async fn the_first_event_of_an_answer_is_the_end_of_retries() {
    let set_up = |model: OpenAIResponses| model.max_retries(1);
    let only_created = || Reply::text([""; 0]).then_cut();
    let only_a_comment = || Reply::http(200, "text/event-stream", ": keep-alive\n\n");
    for (reply, requests) in [(only_created(), 1), (only_a_comment(), 2)] {
        let (heard, server) = hear_with(move |_, _| reply.clone(), set_up).await;

        assert_eq!(error_of(heard).0, ModelErrorKind::Cut);
        assert_eq!(server.request_count(), requests);
    }
}

#[tokio::test]
async fn an_answer_that_failed_is_an_error_with_the_providers_words() {
    let text = || Reply::text(["Par"]);
    let replies = [text().then_failed("server_error", "it broke"), text().then_error("server_error", "it broke")];
    for reply in replies {
        let (heard, server) = hear_reply(reply).await;

        assert_eq!(heard.0, ["Par"]);
        let (kind, message) = error_of(heard);
        assert_eq!(kind, ModelErrorKind::Server);
        assert_eq!(message, "the provider says that the answer failed (server_error): it broke");
        assert_eq!(server.request_count(), 1);
    }
    let (heard, _server) = hear_reply(text().then_failed("context_length_exceeded", "too long")).await;
    assert_eq!(error_of(heard).0, ModelErrorKind::ContextTooLong);
}

#[tokio::test]
async fn an_error_that_is_wrapped_like_a_refusal_is_understood_too() {
    for (data, expected) in [
        (json!({"type": "error", "error": {"message": "it broke"}}), ModelErrorKind::Failed),
        (json!({"error": {"message": "it broke", "code": 500}}), ModelErrorKind::Server),
    ] {
        let (heard, _server) = hear_reply(Reply::http(200, "text/event-stream", format!("data: {data}\n\n"))).await;

        let (kind, message) = error_of(heard);
        assert_eq!(kind, expected);
        assert!(message.ends_with("it broke"), "{message}");
    }
}

#[tokio::test]
async fn an_incomplete_answer_is_an_error_with_its_reason() {
    for streaming in [true, false] {
        let reply = |_: usize, _: &Value| Reply::text(["Par"]).then_incomplete("max_output_tokens");
        let (heard, _server) = hear_with(reply, |model| model.streaming(streaming)).await;

        let (kind, message) = error_of(heard);
        assert_eq!(kind, ModelErrorKind::Incomplete);
        assert!(message.ends_with(": max_output_tokens"), "{message}");
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_not_completed_is_an_error() {
    let cases = [
        (Reply::text(["P"]).then_failed("server_error", "it broke"), ModelErrorKind::Server),
        (Reply::text(["P"]).then_failed("invalid_prompt", "it broke"), ModelErrorKind::Failed),
        (Reply::text(["P"]).then_cancelled(), ModelErrorKind::Failed),
        (Reply::text(["P"]).then_cut(), ModelErrorKind::Cut),
        (Reply::http(200, "application/json", r#"{"status":"in_progress"}"#), ModelErrorKind::Protocol),
        (Reply::http(200, "application/json", r#"{"status":"new"}"#), ModelErrorKind::Protocol),
        (Reply::http(200, "application/json", r#"{"output":[]}"#), ModelErrorKind::Protocol),
        (Reply::http(200, "application/json", "Paris"), ModelErrorKind::Protocol),
    ];
    for (reply, expected) in cases {
        let (heard, _server) = hear_with(move |_, _| reply.clone(), |model| model.streaming(false)).await;

        assert_eq!(error_of(heard).0, expected);
    }
}

#[tokio::test]
async fn a_cancelled_answer_is_an_error() {
    let (heard, _server) = hear_reply(Reply::text(["Par"]).then_cancelled()).await;

    let (kind, message) = error_of(heard);
    assert_eq!(kind, ModelErrorKind::Failed);
    assert!(message.contains("cancelled"), "{message}");
}

#[tokio::test]
async fn a_tool_call_that_nobody_offered_is_an_error() {
    let call = json!({"output": [{"type": "function_call", "name": "add", "arguments": "{}", "call_id": "c"}]});
    let whole = response(&json!({}), Some(""), &call);
    let streamed = Reply::events([json!({"type": "response.completed", "response": whole})]);
    for reply in [Reply::http(200, "application/json", whole.to_string()), streamed] {
        let (heard, _server) = hear_reply(reply).await;

        assert_eq!(error_of(heard).0, ModelErrorKind::Protocol);
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_an_error_and_not_asked_again() {
    let no_text = "data: {\"type\":\"response.output_text.delta\",\"delta\":7}\n\n";
    let cases = [
        (Reply::http(200, "text/html; charset=utf-8", "<p>Welcome to the proxy</p>"), "text/html"),
        (Reply::http(200, "text/event-stream", "data: Paris\n\n"), "not JSON"),
        (Reply::http(200, "text/event-stream", no_text), "form"),
    ];
    for (reply, expected) in cases {
        let (heard, server) = hear_reply(reply).await;

        let (kind, message) = error_of(heard);
        assert_eq!(kind, ModelErrorKind::Protocol);
        assert!(message.contains(expected), "{message}");
        assert_eq!(server.request_count(), 1);
    }
}

#[tokio::test]
async fn an_answer_without_bounds_is_an_error() {
    let endless_event = "x".repeat(17 * 1024 * 1024);
    let delta = json!({"type": "response.output_text.delta", "delta": "x".repeat(6 * 1024 * 1024)});
    let large_json = format!("{{\"status\":\"completed\",\"x\":\"{endless_event}\"}}");
    let replies = [
        Reply::http(200, "text/event-stream", format!("data: {endless_event}\n\n")),
        Reply::events([delta.clone(), delta.clone(), delta]),
        Reply::http(200, "application/json", large_json),
    ];
    for reply in replies {
        let (heard, _server) = hear_reply(reply).await;

        let (kind, message) = error_of(heard);
        assert_eq!(kind, ModelErrorKind::Protocol);
        assert!(message.contains("larger than"), "{message}");
    }
}
