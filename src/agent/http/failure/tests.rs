use reqwest::StatusCode;
use serde_json::json;

use super::{ProviderError, Secrets};
use crate::agent::{Message, ModelErrorKind, ModelRequest, Role, ToolCall};

fn secrets() -> Secrets {
    let messages = vec![Message::new(Role::System, "ab"), Message::new(Role::User, "line one\n\"two\"")];
    Secrets::new(vec!["sk-abcdef".into()], ModelRequest { messages, ..ModelRequest::default() })
}

fn refusal(status: u16, code: &str, message: &str) -> crate::agent::ModelError {
    let error =
        ProviderError { message: Some(message.to_owned()), code: Some(code.to_owned()), ..ProviderError::default() };
    error.of_refusal(StatusCode::from_u16(status).unwrap(), &secrets())
}

#[test]
fn what_is_said_is_hidden_as_a_whole_and_in_parts() {
    let shown = json!([{"type": "text", "text": "which city"}, {"type": "image", "url": "https://a.example/b.png"}]);
    let calls = vec![ToolCall::new("call_1", "weather", r#"{"city":"Zürich"}"#)];
    let messages = vec![
        Message::new(Role::User, "Zürich?"),
        Message::new(Role::User, "Is it Zürich? Tell me."),
        Message::new(Role::User, shown),
        Message::calls("", calls),
        Message::tool_output("call_1", json!({"degrees": 24})),
    ];
    let secrets = Secrets::new(Vec::new(), ModelRequest { messages, ..ModelRequest::default() });
    for said in [
        "Is it Zürich? Tell me.",
        "which city",
        "https://a.example/b.png",
        r#"{"city":"Zürich"}"#,
        r#"{\"city\":\"Zürich\"}"#,
        r#"{"degrees":24}"#,
    ] {
        assert_eq!(secrets.clean(&format!("no: {said} now")), "no: [...] now", "{said}");
    }
}

#[test]
fn neither_key_nor_conversation_is_passed_on() {
    let error = refusal(400, "bad", "abandon sk-abcdef line one\n\"two\" line one\\n\\\"two\\\" now");
    assert_eq!(error.to_string(), "the provider answers with status 400 (bad): abandon [...] [...] [...] now");
}

#[test]
fn the_message_of_a_refused_key_is_not_passed_on() {
    for status in [401, 403] {
        let error = refusal(status, "invalid_api_key", "Incorrect API key provided: sk-a****ef");
        assert_eq!(error.kind(), ModelErrorKind::Auth);
        assert_eq!(error.to_string(), format!("the provider refuses the key: status {status} (invalid_api_key)"));
    }
    assert!(!refusal(401, "a code with sk-abcdef", "").to_string().contains("code"));
}

#[test]
fn a_long_message_is_shortened() {
    let text = refusal(400, "c", &"ü".repeat(10_000)).to_string();
    let message = text.strip_prefix("the provider answers with status 400 (c): ").unwrap();
    assert_eq!(message.chars().count(), 500);
    assert!(message.ends_with("ü..."));
}

#[test]
fn each_status_has_its_kind() {
    let kind = |status, code| refusal(status, code, "m").kind();
    assert_eq!(kind(400, "x"), ModelErrorKind::Request);
    assert_eq!(kind(307, "x"), ModelErrorKind::Request);
    assert_eq!(kind(400, "context_length_exceeded"), ModelErrorKind::ContextTooLong);
    assert_eq!(kind(429, "x"), ModelErrorKind::RateLimited);
    assert_eq!(kind(409, "x"), ModelErrorKind::Server);
    assert_eq!(kind(503, "x"), ModelErrorKind::Server);
    assert_eq!(kind(402, "x"), ModelErrorKind::OutOfQuota);
    assert_eq!(kind(429, "insufficient_quota"), ModelErrorKind::OutOfQuota);
    assert_eq!(kind(403, "billing_not_active"), ModelErrorKind::Auth);
}

#[test]
fn what_may_pass_may_pass_within_an_answer_too() {
    let kind = |json: serde_json::Value| {
        let error: ProviderError = serde_json::from_value(json).unwrap();
        error.of_answer(&secrets()).kind()
    };
    for code in ["server_error", "server_is_overloaded", "internal_server_error", "service_unavailable"] {
        assert_eq!(kind(json!({"code": code})), ModelErrorKind::Server, "{code}");
        assert_eq!(kind(json!({"type": code, "code": null})), ModelErrorKind::Server, "{code}");
    }
    for status in [408, 500, 502, 503, 529] {
        assert_eq!(kind(json!({"code": status, "type": "provider_error"})), ModelErrorKind::Server, "{status}");
    }
    assert_eq!(kind(json!({"code": "rate_limit_exceeded"})), ModelErrorKind::RateLimited);
    assert_eq!(kind(json!({"code": 429})), ModelErrorKind::RateLimited);
    for json in [json!({"code": "insufficient_quota", "type": "server_error"}), json!({"code": 402})] {
        assert_eq!(kind(json), ModelErrorKind::OutOfQuota);
    }
    let too_long = json!({"code": 500, "type": "server_error", "message": "Context size has been exceeded."});
    assert_eq!(kind(too_long), ModelErrorKind::ContextTooLong);
    for json in [json!({}), json!({"code": 400}), json!({"code": "invalid_prompt"}), json!({"code": 1500})] {
        assert_eq!(kind(json), ModelErrorKind::Failed);
    }
}

#[test]
fn every_servers_form_of_a_refusal_is_read() {
    let read = |json: &str| {
        let error = ProviderError::from(serde_json::from_str::<super::Refusal>(json).unwrap());
        error.of_refusal(StatusCode::BAD_REQUEST, &secrets()).to_string()
    };
    let expected = "the provider answers with status 400";
    assert_eq!(read(r#"{"error":{"message":"m","type":"t","param":null,"code":"c"}}"#), format!("{expected} (c): m"));
    assert_eq!(read(r#"{"type":"error","error":{"type":"t","message":"m"}}"#), format!("{expected} (t): m"));
    assert_eq!(read(r#"{"object":"error","message":"m","type":"t","code":400}"#), format!("{expected} (t): m"));
    assert_eq!(read(r#"{"error":{"message":"m","code":400}}"#), format!("{expected} (400): m"));
    assert_eq!(read(r#"{"error":"m"}"#), format!("{expected}: m"));
    assert_eq!(read(r#"{"detail":"m"}"#), expected);
}

#[test]
fn a_conversation_that_is_too_long_is_told_in_many_ways() {
    for (code, message) in [
        ("context_length_exceeded", "m"),
        ("exceed_context_size_error", "m"),
        ("BadRequestError", "This model's maximum context length is 4096 tokens."),
        ("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        ("request_too_large", "Request exceeds the maximum size"),
    ] {
        assert_eq!(refusal(400, code, message).kind(), ModelErrorKind::ContextTooLong, "{code}");
    }
    assert_eq!(refusal(400, "invalid_request_error", "no such model").kind(), ModelErrorKind::Request);
}
