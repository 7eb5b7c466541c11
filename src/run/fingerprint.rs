//! Tells whether two submits with one run id ask for the same thing.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{NewRun, SessionId, UserId};

/// A digest of everything that a caller asked for with a run id; two submits are one run when it is equal.
pub(crate) type Fingerprint = [u8; 32];

/// The fingerprint of what the caller of `run` asked for, before anything left out was made up.
pub(crate) fn of(run: &NewRun) -> Fingerprint {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    // As one JSON object, its keys in their order. It is not made: that would copy all that was asked.
    let mut asked = Asked::of_fields(12);
    asked.text("agent", Some(&run.agent));
    asked.text("idempotency_key", run.idempotency_key.as_deref());
    asked.json("input", run.input.as_json());
    asked.number("max_attempts", run.max_attempts);
    asked.key("metadata");
    feed_object(&mut asked.digest, &run.metadata);
    asked.number("priority", Some(run.priority));
    asked.text("queue_timeout", run.queue_timeout.map(milliseconds).as_deref());
    asked.number("run_at", run.run_at.map(|at| at.timestamp_micros()));
    asked.text("session_id", run.session_id.as_ref().map(SessionId::as_str));
    asked.text("timeout", run.timeout.map(milliseconds).as_deref());
    asked.text("user_id", run.user_id.as_ref().map(UserId::as_str));
    asked.text("webhook", run.webhook.as_ref().map(|url| url.expose_secret()));
    asked.digest.finalize().into()
}

/// Feeds the fields of an object.
struct Asked {
    digest: Sha256,
}

impl Asked {
    fn of_fields(count: usize) -> Self {
        let mut digest = Sha256::new();
        feed_text(&mut digest, b'o', &count.to_string());
        Self { digest }
    }

    fn key(&mut self, key: &str) {
        feed_text(&mut self.digest, b'k', key);
    }

    fn json(&mut self, key: &str, value: &Value) {
        self.key(key);
        feed(&mut self.digest, value);
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        self.key(key);
        match value {
            Some(text) => feed_text(&mut self.digest, b's', text),
            None => feed(&mut self.digest, &Value::Null),
        }
    }

    fn number(&mut self, key: &str, value: Option<impl Into<Value>>) {
        self.json(key, &value.map_or(Value::Null, Into::into));
    }
}

/// Feeds `value` in a form that does not depend on the order of object keys, which differs with a feature of `serde_json`.
fn feed(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => feed_text(digest, b'l', &value.to_string()),
        Value::String(text) => feed_text(digest, b's', text),
        Value::Array(items) => {
            feed_text(digest, b'a', &items.len().to_string());
            items.iter().for_each(|item| feed(digest, item));
        }
        Value::Object(entries) => feed_object(digest, entries),
    }
}

fn feed_object(digest: &mut Sha256, entries: &Map<String, Value>) {
    feed_text(digest, b'o', &entries.len().to_string());
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (key, item) in entries {
        feed_text(digest, b'k', key);
        feed(digest, item);
    }
}

fn feed_text(digest: &mut Sha256, tag: u8, text: &str) {
    digest.update([tag]);
    digest.update((text.len() as u64).to_be_bytes());
    digest.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sha2::{Digest, Sha256};

    use super::{Fingerprint, feed, of};
    use crate::run::{NewRun, RunId};

    #[test]
    fn the_run_id_is_no_part_of_what_was_asked() {
        assert_eq!(of(&NewRun::new("a", "hi")), of(&NewRun::new("a", "hi").run_id(RunId::new())));
    }

    /// Rows keep fingerprints: a submit that is repeated after an update has to have the one that it had before.
    #[test]
    fn the_fingerprint_of_what_was_asked_is_that_of_a_json_object() {
        let at = chrono::DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let full = NewRun::new("a", json!({"question": ["hi", 1.5, null], "b": true}))
            .idempotency_key("k")
            .session_id("s")
            .user_id("u")
            .metadata(json!({"z": {"y": 1}, "a": "x"}).as_object().cloned().unwrap())
            .priority(-3)
            .run_at(at)
            .timeout(std::time::Duration::from_millis(1500))
            .queue_timeout(std::time::Duration::from_secs(2))
            .max_attempts(7);
        let asked = json!({
            "agent": "a", "input": {"question": ["hi", 1.5, null], "b": true}, "idempotency_key": "k", "session_id": "s",
            "user_id": "u", "metadata": {"z": {"y": 1}, "a": "x"}, "priority": -3, "run_at": 1_700_000_000_123_456_i64,
            "timeout": "1500", "queue_timeout": "2000", "max_attempts": 7, "webhook": null,
        });
        assert_eq!(of(&full), digest_of(&asked));
        let least = json!({
            "agent": "a", "input": "hi", "idempotency_key": null, "session_id": null, "user_id": null, "metadata": {},
            "priority": 0, "run_at": null, "timeout": null, "queue_timeout": null, "max_attempts": null, "webhook": null,
        });
        assert_eq!(of(&NewRun::new("a", "hi")), digest_of(&least));
    }

    fn digest_of(asked: &serde_json::Value) -> Fingerprint {
        let mut digest = Sha256::new();
        feed(&mut digest, asked);
        digest.finalize().into()
    }

    #[test]
    fn anything_else_that_differs_makes_another_fingerprint() {
        let base = || NewRun::new("a", "hi");
        let others = [
            NewRun::new("b", "hi"),
            NewRun::new("a", "ho"),
            NewRun::new("a", json!(["hi"])),
            base().idempotency_key("k"),
            base().session_id("s"),
            base().user_id("u"),
            base().metadata(json!({"k": 1}).as_object().cloned().unwrap()),
            base().priority(1),
            base().run_at(chrono::Utc::now()),
            base().timeout(std::time::Duration::from_secs(1)),
            base().queue_timeout(std::time::Duration::from_secs(1)),
            base().max_attempts(7),
        ];
        #[cfg(feature = "webhooks")]
        let others = others.into_iter().chain([base().webhook("https://a/b")]);
        for other in others {
            assert_ne!(of(&base()), of(&other), "{other:?}");
        }
    }
}
