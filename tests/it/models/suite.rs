//! What every client does.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use greenroom::Usage;
use greenroom::model::{Message, ModelErrorKind, ModelEvent, Role, ToolCall, ToolChoice};
use serde_json::{Value, json};

use super::{Client, KEY, QUESTION, error_of, hear, question, replying, soon, strict_form, sum, turn_of};
use crate::scripted_openai::{Reply, ScriptedOpenAi};

const CALLS: [(&str, &str, &str); 2] = [("call_1", "add", r#"{"a":1,"b":2}"#), ("call_2", "add", r#"{"a":3,"b":4}"#)];

pub(super) async fn a_text_comes_piece_by_piece_or_at_once<C: Client>() {
    for &streaming in C::MODES {
        let server = replying(Reply::text(["Three", " and seven."])).await;

        let (said, end) = hear(&C::at(&server).streaming(streaming), question()).await;

        let turn = end.unwrap();
        assert_eq!(turn.text, "Three and seven.");
        assert_eq!(said, if streaming { vec!["Three", " and seven."] } else { vec![] });
        let usage = Usage { input_tokens: 12, output_tokens: 7, total_tokens: 19, ..Usage::default() };
        assert_eq!(turn.usage, usage);
        assert!(turn.response_id.is_some() == C::NAMES_ANSWERS && turn.tool_calls.is_empty());
        assert_eq!(server.request_count(), 1);
    }
}

pub(super) async fn an_answer_is_whole_however_it_is_cut_into_chunks<C: Client>() {
    for bytes in [1, 3, 7] {
        let server = replying(Reply::text(["Zürich 湖", " 🦀"]).calling(CALLS).in_chunks_of(bytes)).await;

        let (said, end) = hear(&C::at(&server), sum()).await;

        assert_eq!(said, ["Zürich 湖", " 🦀"]);
        let turn = end.unwrap();
        assert_eq!((turn.text.as_str(), turn.tool_calls.len()), ("Zürich 湖 🦀", 2));
    }
}

pub(super) async fn calls_of_tools_are_in_the_turn_in_their_order<C: Client>() {
    for &streaming in C::MODES {
        let server = replying(Reply::text(["Let me see."]).calling(CALLS)).await;

        let turn = turn_of(&C::at(&server).streaming(streaming), sum()).await;

        let calls: Vec<_> = turn.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, CALLS);
        assert_eq!(turn.text, "Let me see.");
    }
}

pub(super) async fn calls_without_a_word_are_a_turn_too<C: Client>() {
    for &streaming in C::MODES {
        let server = replying(Reply::text([""; 0]).calling([CALLS[0]])).await;

        let (said, end) = hear(&C::at(&server).streaming(streaming), sum()).await;

        let turn = end.unwrap();
        assert_eq!((said.len(), turn.text.as_str(), turn.tool_calls.len()), (0, "", 1));
    }
}

pub(super) async fn what_the_tools_have_said_goes_back_under_the_ids_of_their_calls<C: Client>() {
    let server = ScriptedOpenAi::start(|n, _| match n {
        0 => Reply::text(["Let me see."]).calling(CALLS),
        _ => Reply::text(["Three and seven."]),
    })
    .await;
    let model = C::at(&server);
    let mut request = sum();

    let turn = turn_of(&model, request.clone()).await;
    // What is remembered of a turn is all that is known of it after a rescue.
    let turn: greenroom::model::ModelTurn = serde_json::from_value(serde_json::to_value(turn).unwrap()).unwrap();
    request.messages.push(turn.to_message());
    request.messages.extend([Message::tool_output("call_1", "3"), Message::tool_output("call_2", "7")]);
    let answer = turn_of(&model, request).await;

    assert_eq!(answer.text, "Three and seven.");
    let (calls, outputs) = C::tool_round(&server.requests()[1].body);
    assert_eq!(calls, CALLS.map(|(id, name, arguments)| [id, name, arguments].map(str::to_owned)));
    assert_eq!(outputs, [["call_1", "3"], ["call_2", "7"]].map(|pair| pair.map(str::to_owned)));
}

pub(super) async fn a_name_that_the_model_has_made_up_goes_back_as_one_that_the_provider_takes<C: Client>() {
    let server = replying(Reply::text(["Three."])).await;
    let mut request = sum();
    let (long, call) = ("ü".repeat(80), |id: &str, name: &str| ToolCall::new(id, name, "{}"));
    let calls = vec![call("call_1", "functions.add"), call("call_2", &long), call("call_3", "multi tool/use")];
    request.messages.push(Message::calls("", calls));
    let ids = ["call_1", "call_2", "call_3"];
    request.messages.extend(ids.map(|id| Message::tool_output(id, "unknown tool")));

    turn_of(&C::at(&server), request).await;

    let (calls, outputs) = C::tool_round(&server.requests()[0].body);
    let names: Vec<_> = calls.iter().map(|[_, name, _]| name.as_str()).collect();
    assert_eq!(names, ["functions_add", "_".repeat(64).as_str(), "multi_tool_use"]);
    assert!(calls.iter().map(|[id, ..]| id).eq(ids) && outputs.iter().map(|[id, _]| id).eq(ids));
}

pub(super) async fn tools_are_offered_with_their_schemas<C: Client>() {
    let server = replying(Reply::text(["Three."])).await;
    let mut request = sum();
    turn_of(&C::at(&server), request.clone()).await;
    request.tools[0].strict = false;
    turn_of(&C::at(&server), request.clone()).await;
    turn_of(&C::at(&server), question()).await;

    let [strict, lax, none] = &server.requests()[..] else { panic!("three requests were made") };
    assert_eq!(C::tools(&strict.body), ["add"]);
    assert!(strict.body["tools"].to_string().contains(&request.tools[0].parameters.to_string()));
    assert!(C::is_strict(&strict.body) && !C::is_strict(&lax.body));
    for field in ["tools", "tool_choice", "parallel_tool_calls"] {
        assert!(none.body.get(field).is_none(), "{field}");
    }
}

pub(super) async fn a_call_that_nobody_offered_is_an_error<C: Client>() {
    for &streaming in C::MODES {
        let server = replying(Reply::text([""; 0]).calling(CALLS)).await;

        let (kind, message) = error_of(&C::at(&server).streaming(streaming), question()).await;

        assert_eq!(kind, ModelErrorKind::Protocol, "{message}");
    }
}

pub(super) async fn the_choice_of_tools_is_free_once_one_has_answered<C: Client>() {
    let server = replying(Reply::text(["Three."])).await;
    let model = C::at(&server).tool_choice(ToolChoice::Required).parallel_tool_calls(false);
    let mut request = sum();
    turn_of(&model, request.clone()).await;
    let calls = vec![ToolCall::new("call_1", "add", "{}")];
    request.messages.extend([Message::calls("", calls), Message::tool_output("call_1", "3")]);
    turn_of(&model, request).await;
    turn_of(&model, question()).await;

    let [first, later, without] = &server.requests()[..] else { panic!("three requests were made") };
    let chosen = |body: &Value| json!([body["tool_choice"], body["parallel_tool_calls"]]);
    let choice = |body: &Value| chosen(body).to_string();
    assert_eq!(chosen(&first.body), serde_json::from_str::<Value>(C::REQUIRED_ONE).unwrap());
    assert!(!choice(&later.body).contains("required") && !choice(&later.body).contains("any"));
    assert!(choice(&later.body).contains("false") || choice(&later.body).contains("disable_parallel_tool_use"));
    assert_eq!(choice(&without.body), "[null,null]");
}

pub(super) async fn the_form_of_an_answer_is_sent<C: Client>() {
    let server = replying(Reply::text([r#"{"sum":3}"#])).await;
    let mut request = question();
    request.output = Some(strict_form());

    let turn = turn_of(&C::at(&server), request).await;

    assert_eq!(turn.text, r#"{"sum":3}"#);
    assert_eq!(*C::schema(&server.requests()[0].body), strict_form().schema);
}

pub(super) async fn images_are_sent_by_their_address<C: Client>() {
    let server = replying(Reply::text(["A cat."])).await;
    let (url, words) = ("https://example.org/a.png", json!({"type": "text", "text": "What is this?"}));
    let mut request = question();
    request.messages.push(Message::new(Role::User, json!([words, {"type": "image", "url": url}])));
    let mut other = question();
    other.messages.push(Message::new(Role::User, json!([{"type": "invoice", "url": url}])));

    turn_of(&C::at(&server), request).await;
    turn_of(&C::at(&server), other).await;

    let requests = server.requests();
    let shown = C::latest(&requests[0].body).as_array().unwrap();
    assert_eq!(*shown.last().unwrap(), C::picture(url));
    assert!(C::latest(&requests[1].body).to_string().contains("invoice"), "other JSON is written out");
}

pub(super) async fn each_refusal_has_its_kind_and_is_not_asked_again<C: Client>() {
    for (status, code, message, kind) in [
        (400, "invalid_request_error", "no such field", ModelErrorKind::Request),
        (400, "context_length_exceeded", "too long", ModelErrorKind::ContextTooLong),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", ModelErrorKind::ContextTooLong),
        (401, "authentication_error", "wrong key", ModelErrorKind::Auth),
        (403, "permission_error", "not yours", ModelErrorKind::Auth),
        (404, "not_found_error", "no such model", ModelErrorKind::Request),
    ] {
        let server = replying(Reply::status(status, code, message)).await;

        let (found, said) = error_of(&C::at(&server), question()).await;

        assert_eq!(found, kind, "{said}");
        assert!(said.contains(&status.to_string()) && (said.contains(code) || !C::QUOTES), "{said}");
        assert_eq!(said.contains(message), C::QUOTES && kind != ModelErrorKind::Auth, "{said}");
        assert_eq!(server.request_count(), 1);
    }
}

pub(super) async fn what_may_pass_is_asked_again_and_then_answered<C: Client>() {
    for status in [429, 500, 503, 529] {
        let server = ScriptedOpenAi::start(move |n, _| match n {
            0 => Reply::status(status, "rate_limit_error", "later").header("retry-after", "0.01"),
            _ => Reply::text(["Three."]),
        })
        .await;

        assert_eq!(turn_of(&C::at(&server), question()).await.text, "Three.");
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].body, requests[1].body);
    }
}

pub(super) async fn retries_come_to_an_end<C: Client>() {
    for (status, code, kind) in
        [(429, "rate_limit_error", ModelErrorKind::RateLimited), (529, "overloaded_error", ModelErrorKind::Server)]
    {
        let server = replying(Reply::status(status, code, "later").header("retry-after-ms", "5")).await;

        assert_eq!(error_of(&C::at(&server).max_retries(1), question()).await.0, kind);
        assert_eq!(server.request_count(), 2);
    }
}

pub(super) async fn a_cut_answer_is_never_done<C: Client>() {
    for reply in [Reply::text(["Thr"]).then_cut(), Reply::text(["Thr"]).then_end()] {
        let server = replying(reply).await;

        let (said, end) = hear(&C::at(&server), question()).await;

        assert_eq!(said, ["Thr"]);
        assert_eq!(end.unwrap_err().kind(), ModelErrorKind::Cut);
        assert_eq!(server.request_count(), 1, "what was heard in part is not asked again");
    }
    let server = replying(Reply::text(["Three"]).then_cut()).await;
    for &streaming in C::MODES {
        assert_eq!(error_of(&C::at(&server).streaming(streaming), question()).await.0, ModelErrorKind::Cut);
    }
}

pub(super) async fn an_answer_that_failed_or_is_incomplete_is_an_error<C: Client>() {
    let text = || Reply::text(["Thr"]);
    for (reply, kind) in [
        (text().then_failed("broken", "it broke"), ModelErrorKind::Failed),
        (text().then_error("overloaded_error", "Overloaded"), ModelErrorKind::Server),
        (text().then_incomplete("max_output_tokens"), ModelErrorKind::Incomplete),
    ] {
        let server = replying(reply).await;

        let (said, end) = hear(&C::at(&server), question()).await;

        assert_eq!(said, ["Thr"]);
        assert_eq!(end.unwrap_err().kind(), kind);
    }
    let whole = |reply| async { error_of(&C::at(&replying(reply).await).streaming(false), question()).await.0 };
    if C::MODES.contains(&false) {
        assert_eq!(whole(text().then_incomplete("max_output_tokens")).await, ModelErrorKind::Incomplete);
        assert_eq!(whole(text().then_failed("broken", "it broke")).await, ModelErrorKind::Failed);
    }
}

pub(super) async fn a_silent_provider_is_given_up<C: Client>() {
    for &streaming in C::MODES {
        let server = replying(Reply::text(["Thr"]).then_stall()).await;
        let model = C::at(&server).streaming(streaming).idle_timeout(Duration::from_millis(50));

        assert_eq!(error_of(&model, question()).await.0, ModelErrorKind::Timeout);
        soon(server.closed(0)).await;
    }
}

pub(super) async fn an_answer_without_bounds_is_an_error<C: Client>() {
    let piece = "x".repeat(6 * 1024 * 1024);
    for reply in [
        Reply::text([piece.as_str(); 3]),
        Reply::http(200, "text/event-stream", format!("data: {}\n\n", "x".repeat(17 * 1024 * 1024))),
    ] {
        let (kind, message) = error_of(&C::at(&replying(reply).await), question()).await;

        assert_eq!(kind, ModelErrorKind::Protocol);
        assert!(message.contains("larger than"), "{message}");
    }
}

pub(super) async fn an_answer_of_another_form_is_an_error<C: Client>() {
    for (media_type, body) in [
        ("text/html", "<p>Welcome to the proxy</p>"),
        ("text/event-stream", "data: Three\n\n"),
        ("application/json", "Three"),
        ("application/json", "{}"),
        ("application/json", "[]"),
    ] {
        let server = replying(Reply::http(200, media_type, body)).await;

        assert_eq!(error_of(&C::at(&server), question()).await.0, ModelErrorKind::Protocol, "{body}");
        assert_eq!(server.request_count(), 1);
    }
}

pub(super) async fn dropping_a_turn_closes_the_connection<C: Client>() {
    let server = replying(Reply::stall()).await;
    let mut turn = C::at(&server).respond(question());
    let waiting = async {
        tokio::select! { _ = turn.next() => panic!("no answer was sent"), () = server.wait_for_requests(1) => {} }
    };
    soon(waiting).await;
    drop(turn);
    soon(server.closed(0)).await;

    let server = replying(Reply::text(["Thr"]).then_stall()).await;
    let mut turn = C::at(&server).respond(question());
    assert_eq!(soon(turn.next()).await, Some(Ok(ModelEvent::Text("Thr".to_owned()))));
    assert!(turn.next().now_or_never().is_none());
    drop(turn);
    soon(server.closed(0)).await;
}

pub(super) async fn dropping_a_turn_that_waits_to_ask_again_ends_it<C: Client>() {
    // Time enough for the drop before the third request.
    let wait = |n: usize| if n == 0 { "10" } else { "3000" };
    let refusal = move |n| Reply::status(503, "busy", "later").header("retry-after-ms", wait(n));
    let server = ScriptedOpenAi::start(move |n, _| refusal(n)).await;
    let mut turn = C::at(&server).respond(question());
    let waiting = async {
        tokio::select! { _ = turn.next() => panic!("no answer was sent"), () = server.wait_for_requests(2) => {} }
    };
    soon(waiting).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), turn.next()).await.is_err());

    drop(turn);

    let third = tokio::time::timeout(Duration::from_secs(4), server.wait_for_requests(3)).await;
    assert!(third.is_err(), "nobody is left to ask again");
}

pub(super) async fn nothing_secret_is_in_an_error_or_a_debug_text<C: Client>() {
    let secrets = [KEY, QUESTION, "a-part-of-a-question", "4711", "an-argument", "hunter2-in-a-header"];
    let mut request = sum();
    let parts = json!([{"type": "text", "text": "a-part-of-a-question"}]);
    let calls = vec![ToolCall::new("call_1", "add", r#"{"a":"an-argument"}"#)];
    let output = Message::tool_output("call_1", json!({"account": 4711}));
    request.messages.extend([Message::new(Role::User, parts), Message::calls("", calls), output]);
    let echo = format!(
        "no: {KEY} {QUESTION} a-part-of-a-question {{\"account\":4711}} {{\"a\":\"an-argument\"}} hunter2-in-a-header"
    );
    for reply in [
        Reply::status(400, "bad", &echo),
        Reply::status(401, "bad", &echo),
        Reply::status(500, "bad", &echo),
        Reply::text(["Thr"]).then_failed("bad", &echo),
        Reply::http(400, "application/json", json!({"error": echo}).to_string()),
    ] {
        let model = C::at(&replying(reply).await).header("x-token", "hunter2-in-a-header").max_retries(0);

        let error = hear(&model, request.clone()).await.1.unwrap_err();

        let shown = format!("{error} {error:?} {model:?}");
        assert!(shown.contains(C::SHOWN), "{shown}");
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}
