//! How a turn fails, in words that quote neither the conversation nor an address.

use std::error::Error as StdError;

use genai::Error;
use serde_json::Value;

use crate::agent::{ModelError, ModelErrorKind};

pub(super) fn cut() -> ModelError {
    ModelError::new(ModelErrorKind::Cut, "the answer was cut off before its end")
}

pub(super) fn no_client() -> ModelError {
    ModelError::new(ModelErrorKind::Connect, "the HTTP client cannot be made")
}

pub(super) fn protocol(message: String) -> ModelError {
    ModelError::new(ModelErrorKind::Protocol, message)
}

/// What an error of `genai` comes to. Its own words quote bodies and addresses, so they are not passed on.
#[allow(clippy::wildcard_enum_match_arm, reason = "the crate has some forty errors, most of them of one kind")]
pub(super) fn of(error: &Error) -> ModelError {
    let inner = if let Error::WebStream { error, .. } = error { Some(&**error) } else { None };
    let of_stream = inner.and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(status) = of_stream.unwrap_or(error).status() {
        return refusal(status.as_u16(), of_stream.unwrap_or(error));
    }
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<reqwest::Error>()) {
        return unanswered(error);
    }
    let (kind, message) = match error {
        Error::RequiresApiKey { .. }
        | Error::NoAuthResolver { .. }
        | Error::NoAuthData { .. }
        | Error::Resolver { .. } => (ModelErrorKind::Auth, "there is no API key for the provider"),
        Error::ChatResponse { body, .. } => (failed(body), "the provider says that the answer failed"),
        Error::WebStream { error, .. } if is_late(&**error) => {
            (ModelErrorKind::Timeout, "the provider sent nothing more in the time that it has")
        }
        Error::WebStream { .. } => (ModelErrorKind::Cut, "the answer was cut off before its end"),
        Error::StreamParse { .. }
        | Error::InvalidJsonResponseElement { .. }
        | Error::NoChatResponse { .. }
        | Error::ChatResponseGeneration { .. }
        | Error::JsonValueExt(_)
        | Error::SerdeJson(_) => (ModelErrorKind::Protocol, "the answer does not have the form that the API says"),
        _ => (ModelErrorKind::Request, "the request cannot be made for this provider"),
    };
    ModelError::new(kind, message)
}

/// What sort of error an answer that failed names: in words, by a status, or both.
fn failed(body: &Value) -> ModelErrorKind {
    let named = |field: &str| body.get(field).and_then(Value::as_str);
    match named("code").or_else(|| named("type")).or_else(|| named("status")) {
        Some("insufficient_quota" | "billing_error") => return ModelErrorKind::OutOfQuota,
        Some("rate_limit_exceeded" | "rate_limit_error" | "RESOURCE_EXHAUSTED") => return ModelErrorKind::RateLimited,
        Some(
            "overloaded_error"
            | "api_error"
            | "timeout_error"
            | "server_error"
            | "server_is_overloaded"
            | "internal_server_error"
            | "service_unavailable"
            | "INTERNAL"
            | "UNAVAILABLE"
            | "DEADLINE_EXCEEDED",
        ) => return ModelErrorKind::Server,
        Some(_) | None => {}
    }
    let code = body.get("code");
    match code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok())) {
        Some(402) => ModelErrorKind::OutOfQuota,
        Some(429) => ModelErrorKind::RateLimited,
        Some(408 | 500..=599) => ModelErrorKind::Server,
        _ => ModelErrorKind::Failed,
    }
}

fn is_late(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<genai::webc::StreamTimeout>().is_some()
}

fn unanswered(error: &reqwest::Error) -> ModelError {
    let (kind, message) = if error.is_connect() {
        (ModelErrorKind::Connect, "no connection to the provider")
    } else if error.is_timeout() {
        (ModelErrorKind::Timeout, "the HTTP client's own timeout is over")
    } else if error.is_builder() || error.is_redirect() {
        (ModelErrorKind::Request, "the request cannot be sent")
    } else {
        (ModelErrorKind::Cut, "the answer was cut off before its end")
    };
    ModelError::new(kind, message)
}

fn refusal(status: u16, error: &Error) -> ModelError {
    // Nothing of the body is passed on: it may quote the key and the conversation.
    let said = error.to_string().to_ascii_lowercase();
    let too_long = ["context_length_exceeded", "maximum context length", "prompt is too long", "exceed_context_size"];
    let kind = match status {
        401 | 403 => ModelErrorKind::Auth,
        402 => ModelErrorKind::OutOfQuota,
        429 if said.contains("insufficient_quota") => ModelErrorKind::OutOfQuota,
        408 | 409 | 500..=599 => ModelErrorKind::Server,
        429 => ModelErrorKind::RateLimited,
        _ if too_long.iter().any(|words| said.contains(words)) => ModelErrorKind::ContextTooLong,
        _ => ModelErrorKind::Request,
    };
    ModelError::new(kind, format!("the provider answers with status {status}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::failed;
    use crate::agent::ModelErrorKind;

    #[test]
    fn what_may_pass_is_told_by_name_or_by_status() {
        for (body, kind) in [
            (json!({"code": "server_error"}), ModelErrorKind::Server),
            (json!({"code": 503, "message": "busy"}), ModelErrorKind::Server),
            (json!({"code": 503, "status": "UNAVAILABLE"}), ModelErrorKind::Server),
            (json!({"type": "unheard_of", "code": "502"}), ModelErrorKind::Server),
            (json!({"code": 429, "status": "RESOURCE_EXHAUSTED"}), ModelErrorKind::RateLimited),
            (json!({"type": "insufficient_quota", "code": null}), ModelErrorKind::OutOfQuota),
            (json!({"code": 400, "status": "INVALID_ARGUMENT"}), ModelErrorKind::Failed),
            (json!("broken"), ModelErrorKind::Failed),
        ] {
            assert_eq!(failed(&body), kind, "{body}");
        }
    }
}
