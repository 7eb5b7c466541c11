//! How a turn fails, in words that hold neither the key nor the conversation.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::agent::{ModelError, ModelErrorKind, ModelRequest};
use crate::run::error_chain;

/// The most characters of a provider's message that are passed on.
const LONGEST_MESSAGE: usize = 500;

/// How much of a refusal is read, in bytes, and for how long: the status alone says enough.
const LARGEST_REFUSAL: usize = 64 * 1024;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Texts shorter than this, in bytes, are not looked for in messages: they are in any text by chance.
const SHORTEST_SECRET: usize = 4;

/// What a provider may echo in its messages, and nobody is to read there.
pub(super) struct Secrets {
    key: SecretString,
    request: ModelRequest,
}

impl Secrets {
    pub(super) const fn new(key: SecretString, request: ModelRequest) -> Self {
        Self { key, request }
    }

    /// A provider's text without what is secret, on one line, and shortened.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let conversation = self.request.messages.iter().map(|message| message.content.to_string());
        for secret in [self.key.expose_secret().trim().to_owned()].into_iter().chain(conversation) {
            let in_json = serde_json::Value::from(secret.as_str()).to_string();
            let in_json = in_json.get(1..in_json.len() - 1).unwrap_or_default();
            for form in [in_json, secret.trim()] {
                if form.len() >= SHORTEST_SECRET {
                    text = text.replace(form, "[...]");
                }
            }
        }
        let mut kept: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        if let Some((end, _)) = kept.char_indices().nth(LONGEST_MESSAGE - 3) {
            kept.truncate(end);
            kept.push_str("...");
        }
        kept
    }
}

/// What a provider says about an error, in a refusal or in an answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ProviderError {
    message: Option<String>,
    #[serde(default, deserialize_with = "code")]
    code: Option<String>,
}

/// Some servers send the status as a number where `OpenAI` sends a name.
fn code<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string())))
}

impl ProviderError {
    /// The code, when it looks like one.
    fn code(&self) -> Option<&str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        self.code.as_deref().filter(|code| code.len() <= 64 && code.bytes().all(plain))
    }

    /// Whether the provider says that no retry will help: an account without money is also answered by 429.
    pub(super) fn is_final(&self) -> bool {
        self.code() == Some("insufficient_quota")
    }

    /// `context`, the code and the message, as far as there are any.
    fn describe(&self, context: &str, secrets: &Secrets) -> String {
        let mut text = context.to_owned();
        if let Some(code) = self.code() {
            text = format!("{text} ({})", secrets.clean(code));
        }
        match self.message.as_deref() {
            Some(message) if !message.trim().is_empty() => format!("{text}: {}", secrets.clean(message.trim())),
            _ => text,
        }
    }

    /// The error of an answer that says of itself that it failed.
    pub(super) fn of_answer(&self, secrets: &Secrets) -> ModelError {
        let kind = match self.code() {
            Some("context_length_exceeded") => ModelErrorKind::ContextTooLong,
            _ => ModelErrorKind::Failed,
        };
        ModelError::new(kind, self.describe("the provider says that the answer failed", secrets))
    }

    /// The error of a request that was refused with `status`.
    pub(super) fn of_refusal(&self, status: StatusCode, secrets: &Secrets) -> ModelError {
        let status = status.as_u16();
        let kind = match status {
            // The message is not passed on: it may quote the key in part, which no search for the key finds.
            401 | 403 => {
                let code = self.code().map(|code| format!(" ({})", secrets.clean(code))).unwrap_or_default();
                let message = format!("the provider refuses the key: status {status}{code}");
                return ModelError::new(ModelErrorKind::Auth, message);
            }
            408 | 409 | 500..=599 => ModelErrorKind::Server,
            429 => ModelErrorKind::RateLimited,
            _ if self.code() == Some("context_length_exceeded") => ModelErrorKind::ContextTooLong,
            _ => ModelErrorKind::Request,
        };
        ModelError::new(kind, self.describe(&format!("the provider answers with status {status}"), secrets))
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: ProviderError,
}

/// What a refusal says, if it can be read. An error here would hide the status, so there is none.
pub(super) async fn read_refusal(mut response: Response) -> ProviderError {
    let mut text = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > LARGEST_REFUSAL {
                break;
            }
        }
    };
    if tokio::time::timeout(REFUSAL_TIMEOUT, reading).await.is_err() {
        return ProviderError::default();
    }
    serde_json::from_slice::<Refusal>(&text).map(|refusal| refusal.error).unwrap_or_default()
}

/// The provider was silent for `limit`.
pub(super) fn silent(limit: Duration, what: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Timeout, format!("{what} within {limit:?}"))
}

/// The answer is none that this client understands.
pub(super) fn protocol(message: impl Into<String>) -> ModelError {
    ModelError::new(ModelErrorKind::Protocol, message)
}

/// The answer ended before it was complete.
pub(super) fn cut(reason: Option<reqwest::Error>) -> ModelError {
    let reason = reason.map(|error| format!(": {}", error_chain(&error.without_url()))).unwrap_or_default();
    ModelError::new(ModelErrorKind::Cut, format!("the answer was cut off before its end{reason}"))
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::{ProviderError, Secrets};
    use crate::agent::{Message, ModelErrorKind, ModelRequest, Role};

    fn secrets() -> Secrets {
        let messages = vec![Message::new(Role::System, "ab"), Message::new(Role::User, "line one\n\"two\"")];
        Secrets::new("sk-abcdef".into(), ModelRequest { messages, ..ModelRequest::default() })
    }

    fn refusal(status: u16, code: &str, message: &str) -> crate::agent::ModelError {
        let error = ProviderError { message: Some(message.to_owned()), code: Some(code.to_owned()) };
        error.of_refusal(StatusCode::from_u16(status).unwrap(), &secrets())
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
    }
}
