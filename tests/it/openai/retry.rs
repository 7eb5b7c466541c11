//! What is asked again, when, and for how long.

use std::time::Duration;

use greenroom::model::ModelErrorKind;
use serde_json::Value;

use super::{KEY, QUESTION, error_of, hear, hear_reply, hear_with, model_at};
use crate::scripted_openai::Reply;

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
        (refusal().header("retry-after", "3600"), ModelErrorKind::RateLimited),
        (refusal().header("x-should-retry", "false"), ModelErrorKind::RateLimited),
        (Reply::status(429, "insufficient_quota", "pay first"), ModelErrorKind::OutOfQuota),
        (Reply::status(402, "x", "pay first"), ModelErrorKind::OutOfQuota),
    ];
    for (reply, kind) in replies {
        let (heard, server) = hear_reply(reply).await;

        assert_eq!(error_of(heard).0, kind);
        assert_eq!(kind.is_retryable(), kind == ModelErrorKind::RateLimited);
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
