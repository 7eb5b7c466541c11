//! The client for `OpenAI`'s Responses API, against a server that does what a script says.

#![allow(clippy::expect_used, reason = "helpers of tests are not recognised as tests")]

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use greenroom::model::{Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Role};
use greenroom::{OpenAIResponses, Usage};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::scripted_openai::{Reply, ScriptedOpenAi, response};

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
    let usage = Usage { input_tokens: 12, output_tokens: 7, total_tokens: 19 };
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
    let fields: Vec<_> = plain.body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["input", "model", "reasoning", "stream"]);
    assert_eq!(full.body["store"], false);
    assert_eq!(full.body["max_output_tokens"], 64);
    assert_eq!(full.body["temperature"], json!(0.3));
    assert_eq!(full.body["reasoning"], json!({"effort": "low"}));
    assert_eq!(full.header("openai-organization"), Some("org-1"));
    assert_eq!(full.header("x-extra"), Some("yes"));
}

#[tokio::test]
async fn a_streamed_answer_comes_piece_by_piece_and_then_whole() {
    let ((said, end), server) = hear_reply(Reply::text(["Par", "is", "."])).await;

    assert_eq!(said, ["Par", "is", "."]);
    let usage = Usage { input_tokens: 12, output_tokens: 7, total_tokens: 19 };
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
    let usage = Usage { input_tokens: 1, output_tokens: 0, total_tokens: 1 };
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
        assert_eq!(kind, ModelErrorKind::Failed);
        assert_eq!(message, "the provider says that the answer failed (server_error): it broke");
        assert_eq!(server.request_count(), 1);
    }
    let (heard, _server) = hear_reply(text().then_failed("context_length_exceeded", "too long")).await;
    assert_eq!(error_of(heard).0, ModelErrorKind::ContextTooLong);
}

#[tokio::test]
async fn an_error_that_is_wrapped_like_a_refusal_is_understood_too() {
    for data in [
        json!({"type": "error", "error": {"message": "it broke"}}),
        json!({"error": {"message": "it broke", "code": 500}}),
    ] {
        let (heard, _server) = hear_reply(Reply::http(200, "text/event-stream", format!("data: {data}\n\n"))).await;

        let (kind, message) = error_of(heard);
        assert_eq!(kind, ModelErrorKind::Failed);
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
        (Reply::text(["P"]).then_failed("server_error", "it broke"), ModelErrorKind::Failed),
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

#[tokio::test]
async fn what_may_pass_is_asked_again_and_then_answered() {
    for status in [408, 409, 429, 500, 503] {
        let script = move |n: usize, _: &Value| match n {
            0 | 1 => Reply::status(status, "busy", "come back later").header("retry-after-ms", "5"),
            _ => Reply::text(["Paris."]),
        };

        let ((said, end), server) = hear_with(script, |model| model).await;

        assert_eq!(said, ["Paris."], "status {status}");
        assert!(end.is_ok());
        assert_eq!(server.request_count(), 3);
        assert_eq!(server.requests()[0].body, server.requests()[2].body);
    }
}

#[tokio::test]
async fn retries_come_to_an_end() {
    for (status, kind) in [(429, ModelErrorKind::RateLimited), (500, ModelErrorKind::Server)] {
        for retries in [0, 2] {
            let script =
                move |_: usize, _: &Value| Reply::status(status, "busy", "later").header("retry-after-ms", "5");
            let (heard, server) = hear_with(script, |model| model.max_retries(retries)).await;

            let (found, message) = error_of(heard);
            assert_eq!(found, kind);
            assert_eq!(message, format!("the provider answers with status {status} (busy): later"));
            assert_eq!(server.request_count(), 1 + retries as usize);
        }
    }
}

#[tokio::test]
async fn the_provider_is_not_asked_again_before_it_says_so() {
    let script = |n: usize, _: &Value| match n {
        // Longer than the client would wait of itself.
        0 => Reply::status(429, "busy", "later").header("retry-after", "1.1"),
        _ => Reply::text(["Paris."]),
    };

    let (heard, server) = hear_with(script, |model| model).await;

    heard.1.unwrap();
    let requests = server.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(1_100));
}

#[tokio::test]
async fn what_would_take_too_long_or_never_help_is_not_waited_for() {
    let refusal = || Reply::status(429, "busy", "later");
    let replies = [
        refusal().header("retry-after", "3600"),
        refusal().header("x-should-retry", "false"),
        Reply::status(429, "insufficient_quota", "pay first"),
    ];
    for reply in replies {
        let (heard, server) = hear_reply(reply).await;

        assert_eq!(error_of(heard).0, ModelErrorKind::RateLimited);
        assert_eq!(server.request_count(), 1);
    }
}

#[tokio::test]
async fn what_will_not_pass_is_not_asked_again() {
    let cases = [
        (400, "bad", ModelErrorKind::Request),
        (400, "context_length_exceeded", ModelErrorKind::ContextTooLong),
        (401, "invalid_api_key", ModelErrorKind::Auth),
        (403, "forbidden", ModelErrorKind::Auth),
        (404, "model_not_found", ModelErrorKind::Request),
        (307, "moved", ModelErrorKind::Request),
    ];
    for (status, code, kind) in cases {
        let message = format!("no: {KEY} asked {QUESTION}");
        let reply = Reply::status(status, code, &message).header("location", "/v1/elsewhere");
        let (heard, server) = hear_reply(reply).await;

        let (found, message) = error_of(heard);
        assert_eq!(found, kind, "{status} {code}");
        assert!(message.contains(&status.to_string()) && message.contains(code), "{message}");
        assert_eq!(server.request_count(), 1);
    }
}

#[tokio::test]
async fn a_refused_key_is_not_told_even_in_part() {
    let reply = Reply::status(401, "invalid_api_key", "Incorrect API key provided: sk-a-k*******-see");
    let (heard, _server) = hear_reply(reply).await;

    let (_, message) = error_of(heard);
    assert_eq!(message, "the provider refuses the key: status 401 (invalid_api_key)");
}

#[tokio::test]
async fn a_refusal_without_a_readable_body_is_told_by_its_status() {
    let (heard, _server) = hear_reply(Reply::http(404, "text/html", "<p>no such page</p>")).await;

    assert_eq!(error_of(heard).1, "the provider answers with status 404");
}

#[tokio::test]
async fn a_connection_lost_before_the_answer_is_made_again() {
    let script = |n: usize, _: &Value| match n {
        0 => Reply::cut(),
        _ => Reply::text(["Paris."]),
    };

    let ((said, _), server) = hear_with(script, |model| model).await;

    assert_eq!(said, ["Paris."]);
    assert_eq!(server.request_count(), 2);
}

#[tokio::test]
async fn no_connection_is_an_error_without_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    let heard = hear(&model_at(&format!("http://{address}/v1?token=hunter2")).max_retries(1)).await;

    let (kind, message) = error_of(heard);
    assert_eq!(kind, ModelErrorKind::Connect);
    assert!(message.starts_with("no connection to the provider: "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_provider_that_does_not_begin_is_asked_again_and_then_given_up() {
    let set_up = |model: OpenAIResponses| model.first_byte_timeout(Duration::from_millis(50)).max_retries(1);
    let (heard, server) = hear_with(|_, _| Reply::stall(), set_up).await;

    let (kind, message) = error_of(heard);
    assert_eq!(kind, ModelErrorKind::Timeout);
    assert_eq!(message, "the provider did not answer within 50ms");
    assert_eq!(server.request_count(), 2);
    soon(server.closed(0)).await;
    soon(server.closed(1)).await;
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    for streaming in [true, false] {
        let set_up = |model: OpenAIResponses| model.idle_timeout(Duration::from_millis(50)).streaming(streaming);
        let (heard, server) = hear_with(|_, _| Reply::text(["Par"]).then_stall(), set_up).await;

        assert_eq!(error_of(heard).0, ModelErrorKind::Timeout);
        assert_eq!(server.request_count(), 1);
        soon(server.closed(0)).await;
    }
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_given_up_in_any_phase() {
    let trickle = || Reply::text(vec!["x"; 10_000]).delay(Duration::from_millis(5));
    let busy = || Reply::status(503, "busy", "later").header("retry-after", "30");
    for reply in [trickle(), busy(), Reply::stall()] {
        let set_up = |model: OpenAIResponses| model.timeout(Duration::from_millis(100));
        let (heard, server) = hear_with(move |_, _| reply.clone(), set_up).await;

        assert_eq!(error_of(heard).0, ModelErrorKind::Timeout);
        assert_eq!(server.request_count(), 1);
    }
}

#[tokio::test]
async fn limits_beyond_all_time_are_none() {
    let for_ever = |model: OpenAIResponses| {
        let most = Duration::MAX;
        model.timeout(most).first_byte_timeout(most).idle_timeout(most).connect_timeout(most)
    };
    let (heard, _server) = hear_with(|_, _| Reply::text(["Paris."]), for_ever).await;

    assert!(heard.1.is_ok());
}

#[tokio::test]
async fn dropping_a_turn_that_awaits_its_answer_closes_the_connection() {
    let server = ScriptedOpenAi::start(|_, _| Reply::stall()).await;
    let mut turn = model_at(&server.base_url()).respond(question());
    let waiting = async {
        tokio::select! { _ = turn.next() => panic!("no answer was sent"), () = server.wait_for_requests(1) => {} }
    };
    soon(waiting).await;

    let dropped = Instant::now();
    drop(turn);

    assert!(soon(server.closed(0)).await - dropped < Duration::from_secs(1));
}

#[tokio::test]
async fn dropping_a_turn_whose_answer_stalls_closes_the_connection() {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["Par"]).then_stall()).await;
    let mut turn = model_at(&server.base_url()).respond(question());
    assert_eq!(soon(turn.next()).await, Some(Ok(ModelEvent::Text("Par".to_owned()))));
    assert!(turn.next().now_or_never().is_none());

    let dropped = Instant::now();
    drop(turn);

    assert!(soon(server.closed(0)).await - dropped < Duration::from_secs(1));
}

#[tokio::test]
async fn dropping_a_turn_that_waits_to_ask_again_ends_it() {
    let script = |_: usize, _: &Value| Reply::status(503, "busy", "later").header("retry-after-ms", "150");
    let server = ScriptedOpenAi::start(script).await;
    let mut turn = model_at(&server.base_url()).respond(question());
    let waiting = async {
        tokio::select! { _ = turn.next() => panic!("no answer was sent"), () = server.wait_for_requests(2) => {} }
    };
    // The second request shows that there would be a third; by then its refusal is on the way, and soon waited upon.
    soon(waiting).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), turn.next()).await.is_err());

    drop(turn);

    let third = tokio::time::timeout(Duration::from_millis(450), server.wait_for_requests(3)).await;
    assert!(third.is_err(), "nobody is left to ask again");
}

#[tokio::test]
async fn dropping_a_turn_that_is_connecting_closes_the_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}/v1", listener.local_addr().unwrap());
    let mut turn = model_at(&base_url).respond(question());
    let mut hello = [0; 1];
    // The client has sent the first byte of its TLS greeting, and gets no answer.
    let connecting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut hello).await.unwrap();
        stream
    };
    let mut stream =
        tokio::select! { _ = turn.next() => panic!("nobody answered"), stream = soon(connecting) => stream };

    drop(turn);

    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.ok();
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
