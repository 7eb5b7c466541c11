//! What a caller asks for.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::Value;

use super::{Content, Metadata, RunId, SessionId, TraceParent, UserId, text};

/// The longest timeout: what a millisecond count in the database and `chrono` both hold with ease.
const MAX_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A run to be submitted.
///
/// ```
/// use greenroom::NewRun;
///
/// let run = NewRun::new("BackgroundAgent", "What is the capital of France?").session_id("trip").priority(5);
/// ```
///
/// `Debug` does not show the input.
#[derive(Clone, Debug)]
#[must_use = "a run does nothing until it is submitted"]
pub struct NewRun {
    pub(crate) agent: String,
    pub(crate) input: Content,
    pub(crate) run_id: Option<RunId>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) user_id: Option<UserId>,
    pub(crate) metadata: Metadata,
    pub(crate) traceparent: Option<TraceParent>,
    pub(crate) priority: i16,
    pub(crate) run_at: Option<DateTime<Utc>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) max_attempts: Option<u32>,
    /// As it was given; a secret, since paths of such URLs often are.
    pub(crate) webhook: Option<SecretString>,
}

impl NewRun {
    /// A run of `agent` with `input`, a text or any JSON. A model is shown images and files when it is an array of parts, such as
    /// `[{"type": "text", "text": "What is it?"}, {"type": "image", "url": "https://example.org/it.png"}]`; see
    /// [`Message::content`](crate::model::Message::content).
    pub fn new(agent: impl Into<String>, input: impl Into<Content>) -> Self {
        Self {
            agent: agent.into(),
            input: input.into(),
            run_id: None,
            idempotency_key: None,
            session_id: None,
            user_id: None,
            metadata: Metadata::new(),
            traceparent: None,
            priority: 0,
            run_at: None,
            timeout: None,
            queue_timeout: None,
            max_attempts: None,
            webhook: None,
        }
    }

    /// The id of the run; made up when left out. Submitting the same run with the same id again gives the run that is
    /// already there; another run with that id is refused.
    pub const fn run_id(mut self, run_id: RunId) -> Self {
        self.run_id = Some(run_id);
        self
    }

    /// A key of the caller's own, 1 to 255 bytes without control characters, under which this run is submitted once: the same
    /// run with the same key again gives the run that is already there, whatever id was made up for the second one. Another
    /// run with the same key, of the same agent and user, is refused. The key lives as long as the run is kept.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The conversation that the run is part of; a new one is made up when left out.
    pub fn session_id(mut self, session_id: impl Into<SessionId>) -> Self {
        self.session_id = Some(session_id.into());
        self
    }

    /// Whom the run belongs to; nobody in particular when left out.
    pub fn user_id(mut self, user_id: impl Into<UserId>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// The caller's own notes on the run; empty when left out.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The trace that the run is part of, kept with the run for all of its attempts. When left out and with the feature `otel`,
    /// it is that of the current OpenTelemetry context.
    ///
    /// It does not tell runs apart: a run that is submitted again is the same one, whatever trace it is submitted in.
    pub fn traceparent(mut self, parent: TraceParent) -> Self {
        self.traceparent = Some(parent);
        self
    }

    /// Among runs that wait for room, a higher priority starts first; 0 when left out.
    pub const fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// The run does not start before this time, at most 366 days ahead; at once when left out, or when it has passed.
    pub const fn run_at(mut self, run_at: DateTime<Utc>) -> Self {
        self.run_at = Some(run_at);
        self
    }

    /// How long an attempt may run before the run settles as `ERROR`, 1 ms to 366 days; the agent's timeout when left out.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long the run may wait to be started for the first time, 1 ms to 366 days, counted from its submit, or from
    /// [`run_at`](Self::run_at) when that is later; the agent's time when left out. A run that was not started by then settles
    /// as `ERROR`.
    pub const fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.queue_timeout = Some(timeout);
        self
    }

    /// How many times user code may be started for this run, 1 to 1,000; the agent's number when left out. See
    /// [`AgentBuilder::max_attempts`](crate::AgentBuilder::max_attempts).
    pub const fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = Some(max_attempts);
        self
    }

    /// A URL that is told, by a signed `POST`, when the run settles or waits for people; the agent's when left out. The runtime
    /// has to have [`RuntimeBuilder::webhooks`](crate::RuntimeBuilder::webhooks), which says what is sent and how.
    ///
    /// It has to be `http` or `https`, with at most 2,048 bytes, and must not contain a user or a password.
    #[cfg(feature = "webhooks")]
    pub fn webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook = Some(url.into().into());
        self
    }

    /// Checks everything that can be checked without knowing the agent or the store.
    pub(crate) fn check(&self, max_input: usize) -> Result<(), InvalidRun> {
        if let Some(session_id) = &self.session_id {
            check_name("session_id", session_id.as_str())?;
        }
        if let Some(key) = &self.idempotency_key {
            check_name("idempotency_key", key)?;
        }
        if let Some(user_id) = &self.user_id {
            check_name("user_id", user_id.as_str())?;
        }
        let input = self.input.size();
        if input > max_input {
            let problem = format!("must be at most {max_input} bytes, found {input}");
            return Err(InvalidRun { field: "input", problem });
        }
        check_json("input", self.input.as_json())?;
        let metadata = Value::Object(self.metadata.clone());
        check_json("metadata", &metadata)?;
        let metadata = metadata.to_string().len();
        if metadata > max_input {
            let problem = format!("must be at most {max_input} bytes, found {metadata}");
            return Err(InvalidRun { field: "metadata", problem });
        }
        if let Some(run_at) = self.run_at
            && (run_at - Utc::now()).num_days() > 366
        {
            let problem = "must be within the next 366 days".to_owned();
            return Err(InvalidRun { field: "run_at", problem });
        }
        #[cfg(feature = "webhooks")]
        self.webhook_url()?;
        check_timeout("queue_timeout", self.queue_timeout)?;
        check_limits(self.timeout, self.max_attempts)
    }
}

#[cfg(feature = "webhooks")]
impl NewRun {
    /// The URL that is told when the run settles or waits for people, when the caller gave one.
    pub(crate) fn webhook_url(&self) -> Result<Option<super::WebhookUrl>, InvalidRun> {
        use secrecy::ExposeSecret;

        self.webhook.as_ref().map(|url| super::WebhookUrl::parse(url.expose_secret())).transpose()
    }
}

/// Checks the limits that a run and an agent can both set.
pub(crate) fn check_limits(timeout: Option<Duration>, max_attempts: Option<u32>) -> Result<(), InvalidRun> {
    check_timeout("timeout", timeout)?;
    if let Some(max_attempts) = max_attempts
        && !(1..=1000).contains(&max_attempts)
    {
        let problem = format!("must be between 1 and 1000, found {max_attempts}");
        return Err(InvalidRun { field: "max_attempts", problem });
    }
    Ok(())
}

/// Checks a time that is kept in milliseconds.
pub(crate) fn check_timeout(field: &'static str, timeout: Option<Duration>) -> Result<(), InvalidRun> {
    if timeout.is_some_and(|timeout| timeout < Duration::from_millis(1) || timeout > MAX_TIMEOUT) {
        let problem = "must be between 1 ms and 366 days".to_owned();
        return Err(InvalidRun { field, problem });
    }
    Ok(())
}

/// Checks an id or a name that a caller brings.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), InvalidRun> {
    text::name_problem(name).map_or(Ok(()), |problem| Err(InvalidRun { field, problem }))
}

fn check_json(field: &'static str, value: &Value) -> Result<(), InvalidRun> {
    text::storing_problem(value).map_or(Ok(()), |problem| Err(InvalidRun { field, problem }))
}

/// A run, a query or an agent that asks for something impossible. Nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct InvalidRun {
    pub(crate) field: &'static str,
    pub(crate) problem: String,
}

impl InvalidRun {
    /// The name of the field that is wrong.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it, and what would be right.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::NewRun;

    #[test]
    fn each_impossible_field_is_refused_by_its_name() {
        let run = || NewRun::new("agent", "input");
        let cases = [
            ("session_id", run().session_id("")),
            ("session_id", run().session_id("a\0b")),
            ("user_id", run().user_id("u".repeat(256).as_str())),
            ("idempotency_key", run().idempotency_key("a\nb")),
            ("input", NewRun::new("agent", "x".repeat(101))),
            ("input", NewRun::new("agent", json!({"deep": ["a\0"]}))),
            ("metadata", run().metadata(json!({"a\0": 1}).as_object().cloned().unwrap())),
            ("metadata", run().metadata(json!({"a": "x".repeat(100)}).as_object().cloned().unwrap())),
            ("run_at", run().run_at(chrono::Utc::now() + chrono::Duration::days(400))),
            ("timeout", run().timeout(Duration::ZERO)),
            ("timeout", run().timeout(Duration::MAX)),
            ("queue_timeout", run().queue_timeout(Duration::ZERO)),
            ("max_attempts", run().max_attempts(0)),
        ];
        for (field, run) in cases {
            assert_eq!(run.check(100).unwrap_err().field(), field, "{run:?}");
        }
        assert_eq!(run().session_id("s").user_id("u").check(100), Ok(()));
    }

    #[test]
    fn debug_shows_no_input() {
        assert!(!format!("{:?}", NewRun::new("agent", "my secret")).contains("secret"));
    }
}
