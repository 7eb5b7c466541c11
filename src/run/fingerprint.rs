//! Tells whether two submits with one run id ask for the same thing.

use secrecy::ExposeSecret;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::NewRun;

/// A digest of everything that a caller asked for with a run id; two submits are one run when it is equal.
pub(crate) type Fingerprint = [u8; 32];

/// The fingerprint of what the caller of `run` asked for, before anything left out was made up.
pub(crate) fn of(run: &NewRun) -> Fingerprint {
    let asked = serde_json::json!({
        "agent": run.agent,
        "input": run.input,
        "idempotency_key": run.idempotency_key,
        "session_id": run.session_id,
        "user_id": run.user_id,
        "metadata": run.metadata,
        "priority": run.priority,
        "run_at": run.run_at.map(|at| at.timestamp_micros()),
        "timeout": run.timeout.map(|timeout| timeout.as_millis().to_string()),
        "queue_timeout": run.queue_timeout.map(|timeout| timeout.as_millis().to_string()),
        "max_attempts": run.max_attempts,
        "webhook": run.webhook.as_ref().map(|url| url.expose_secret()),
    });
    let mut digest = Sha256::new();
    feed(&mut digest, &asked);
    digest.finalize().into()
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
        Value::Object(entries) => {
            feed_text(digest, b'o', &entries.len().to_string());
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, item) in entries {
                feed_text(digest, b'k', key);
                feed(digest, item);
            }
        }
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

    use super::of;
    use crate::run::{NewRun, RunId};

    #[test]
    fn the_run_id_is_no_part_of_what_was_asked() {
        assert_eq!(of(&NewRun::new("a", "hi")), of(&NewRun::new("a", "hi").run_id(RunId::new())));
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
