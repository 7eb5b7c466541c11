//! How a turn fails, in words that hold neither the key nor the conversation.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::agent::{Message, ModelError, ModelErrorKind, ModelRequest};
use crate::run::error_chain;

/// The most characters of a provider's message that are passed on.
const LONGEST_MESSAGE: usize = 500;

/// How much of a refusal is read, in bytes, and for how long: the status alone says enough.
const LARGEST_REFUSAL: usize = 64 * 1024;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What providers call it when there is no money left.
const BILLING: [&str; 4] = ["insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"];

/// What providers call it when they have no capacity, or break down, in the middle of an answer.
const PASSING: [&str; 12] = [
    "overloaded_error",
    "api_error",
    "timeout_error",
    "server_error",
    "server_is_overloaded",
    "slow_down",
    "internal_error",
    "internal_server_error",
    "InternalServerError",
    "service_unavailable",
    "service_unavailable_error",
    "ServiceUnavailableError",
];

/// Texts shorter than this, in bytes, are not looked for in messages: they are in any text by chance.
const SHORTEST_SECRET: usize = 4;

/// What a provider may echo in its messages, and nobody is to read there.
pub(in crate::agent) struct Secrets {
    hidden: Vec<SecretString>,
    request: ModelRequest,
}

impl Secrets {
    pub(super) const fn new(hidden: Vec<SecretString>, request: ModelRequest) -> Self {
        Self { hidden, request }
    }

    /// A provider's text without what is secret, on one line, and shortened.
    pub(in crate::agent) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in self.forms() {
            text = text.replace(&form, "[...]");
        }
        let mut kept: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        if let Some((end, _)) = kept.char_indices().nth(LONGEST_MESSAGE - 3) {
            kept.truncate(end);
            kept.push_str("...");
        }
        kept
    }

    /// What is looked for, the longest first: a shorter one that is part of a longer one would leave the rest of it to be read.
    fn forms(&self) -> Vec<String> {
        let hidden = self.hidden.iter().map(|hidden| hidden.expose_secret().trim().to_owned());
        let secrets = hidden.chain(self.request.messages.iter().flat_map(texts));
        let mut forms: Vec<String> = secrets
            .flat_map(|secret| {
                let in_json = Value::from(secret.as_str()).to_string();
                let in_json = in_json.get(1..in_json.len() - 1).unwrap_or_default().to_owned();
                [in_json, secret.trim().to_owned()]
            })
            .filter(|form| form.len() >= SHORTEST_SECRET)
            .collect();
        forms.sort_unstable_by_key(|form| std::cmp::Reverse(form.len()));
        forms
    }
}

/// All that is said in a message, as a whole and in parts.
fn texts(message: &Message) -> Vec<String> {
    let mut texts = vec![message.content.to_string()];
    let mut rest = vec![message.content.as_json()];
    while let Some(value) = rest.pop() {
        match value {
            Value::String(text) => texts.push(text.clone()),
            Value::Array(values) => rest.extend(values),
            Value::Object(fields) => rest.extend(fields.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    texts.extend(message.tool_calls.iter().map(|call| call.arguments.clone()));
    texts
}

/// What a provider says about an error, in a refusal or in an answer.
#[derive(Debug, Default, Deserialize)]
pub(in crate::agent) struct ProviderError {
    message: Option<String>,
    #[serde(default, deserialize_with = "code")]
    code: Option<String>,
    /// The sort of error, which is all that some providers name.
    #[serde(default, rename = "type")]
    sort: Option<String>,
    #[serde(default)]
    param: Option<String>,
}

/// Some servers send the status as a number where `OpenAI` sends a name.
fn code<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string())))
}

impl ProviderError {
    /// The most exact of the names that the provider has for the error, if it looks like one: some send a number as the code,
    /// others have no code at all.
    fn code(&self) -> Option<&str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let plain = |code: &&str| !code.is_empty() && code.len() <= 64 && code.bytes().all(plain);
        let named = |code: &&str| !code.bytes().all(|byte| byte.is_ascii_digit());
        let (code, sort) = (self.code.as_deref().filter(plain), self.sort.as_deref().filter(plain));
        code.filter(named).or(sort).or(code)
    }

    /// Whether the account has no money left, or may not spend it: nobody but people can change that.
    pub(super) fn is_about_money(&self) -> bool {
        let named = |name: &Option<String>| name.as_deref().is_some_and(|name| BILLING.contains(&name));
        named(&self.code) || named(&self.sort)
    }

    /// The status that the error would have had as a refusal, where servers send it as the code.
    fn status(&self) -> Option<u16> {
        self.code.as_deref()?.parse().ok()
    }

    /// Whether the request refers to an answer that the provider does not know any more. It is told by a code, by the field
    /// that is wrong, or in words alone.
    pub(in crate::agent) fn is_about_an_unknown_answer(&self) -> bool {
        let said = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        self.code() == Some("previous_response_not_found")
            || self.param.as_deref() == Some("previous_response_id")
            || said.contains("previous_response_id")
            || (said.contains("not found") && (said.contains("previous response") || said.contains("item with id")))
    }

    /// Servers of their own say in words alone that the conversation is too long.
    fn is_about_length(&self) -> bool {
        let named =
            matches!(self.code(), Some("context_length_exceeded" | "exceed_context_size_error" | "request_too_large"));
        let said = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        named
            || [
                "maximum context length",
                "prompt is too long",
                "exceed context limit",
                "context size has been exceeded",
            ]
            .iter()
            .any(|words| said.contains(words))
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
    pub(in crate::agent) fn of_answer(&self, secrets: &Secrets) -> ModelError {
        let kind = match (self.code(), self.status()) {
            _ if self.is_about_money() => ModelErrorKind::OutOfQuota,
            // Some servers say of this too that they broke down.
            _ if self.is_about_length() => ModelErrorKind::ContextTooLong,
            (Some("rate_limit_exceeded" | "rate_limit_error"), _) | (_, Some(429)) => ModelErrorKind::RateLimited,
            (_, Some(402)) => ModelErrorKind::OutOfQuota,
            (_, Some(408 | 500..=599)) => ModelErrorKind::Server,
            (Some(code), _) if PASSING.contains(&code) => ModelErrorKind::Server,
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
            402 => ModelErrorKind::OutOfQuota,
            _ if self.is_about_money() => ModelErrorKind::OutOfQuota,
            408 | 409 | 500..=599 => ModelErrorKind::Server,
            429 => ModelErrorKind::RateLimited,
            _ if self.is_about_length() => ModelErrorKind::ContextTooLong,
            _ => ModelErrorKind::Request,
        };
        ModelError::new(kind, self.describe(&format!("the provider answers with status {status}"), secrets))
    }
}

/// The error is an object, or nothing but its message, or the whole body.
#[derive(Deserialize)]
#[serde(untagged)]
enum Refusal {
    Object { error: ProviderError },
    Text { error: String },
    Flat(ProviderError),
}

impl From<Refusal> for ProviderError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Object { error } | Refusal::Flat(error) => error,
            Refusal::Text { error } => Self { message: Some(error), ..Self::default() },
        }
    }
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
    serde_json::from_slice::<Refusal>(&text).map(ProviderError::from).unwrap_or_default()
}

/// The provider was silent for `limit`.
pub(super) fn silent(limit: Duration, what: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Timeout, format!("{what} within {limit:?}"))
}

/// The request is impossible.
pub(in crate::agent) fn invalid(message: impl Into<String>) -> ModelError {
    ModelError::new(ModelErrorKind::Request, message)
}

/// The error's own words may quote the answer: only its class is told.
pub(in crate::agent) fn unreadable(what: &str, error: &serde_json::Error) -> ModelError {
    let problem = if error.is_data() { "does not have the form that the API says" } else { "is not JSON" };
    protocol(format!("{what} {problem}"))
}

/// The answer is none that this client understands.
pub(in crate::agent) fn protocol(message: impl Into<String>) -> ModelError {
    ModelError::new(ModelErrorKind::Protocol, message)
}

/// The answer ended before it was complete.
pub(in crate::agent) fn cut(reason: Option<reqwest::Error>) -> ModelError {
    let reason = reason.map(|error| format!(": {}", error_chain(&error.without_url()))).unwrap_or_default();
    ModelError::new(ModelErrorKind::Cut, format!("the answer was cut off before its end{reason}"))
}

#[cfg(test)]
mod tests;
