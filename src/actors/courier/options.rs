//! What is told to receivers of webhooks, and how.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use standardwebhooks::Webhook;

use crate::agent::RetryPolicy;

/// How long a secret is, in bytes, before it is written in base64.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// How many secrets there may be, and with that signatures in one header.
const MOST_SECRETS: usize = 4;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How receivers of webhooks are told that runs have settled, or wait for people; for
/// [`RuntimeBuilder::webhooks`](crate::RuntimeBuilder::webhooks).
///
/// When a run settles, or is paused, that was submitted with a [webhook](crate::NewRun::webhook), or whose agent
/// [has one](crate::AgentBuilder::webhook), its URL gets a `POST` as the [Standard Webhooks](https://www.standardwebhooks.com)
/// specification wants it, signed with the secret given here. The body says what has happened and to which run; the content
/// is to be fetched, unless it is [included](Self::include_content):
///
/// ```json
/// {
///   "type": "run.completed",
///   "timestamp": "2026-11-22T10:00:00.123456Z",
///   "data": {
///     "run_id": "…", "session_id": "…", "agent": "BackgroundAgent", "user_id": "…", "status": "COMPLETED",
///     "created_at": "…", "started_at": "…", "settled_at": "…"
///   }
/// }
/// ```
///
/// The type is `run.completed`, `run.cancelled`, `run.error`, with `data.error.kind`, or `run.paused`, with `data.paused_at`:
/// then the run waits for people, and what they are asked is in its output. A pause of which nobody has been told yet is not
/// told any more when the run has gone on. What is to be told is written by the very transaction that settles or pauses the
/// run, whichever process does so, and delivered by any process that has these options: **at least once**, each time with the
/// same body and the same `webhook-id`, by which a receiver can tell what it has had already. Events of different runs come in
/// any order.
///
/// Any status from 200 to 299 is a success. Everything else, redirects among it, is tried again, later and later, and when it is
/// 429 or 503 with `Retry-After`, not before that, up to a day; after [three days](Self::give_up_after) it is given up. A URL
/// that answers 410 is told nothing more for 30 days, of whichever run; of more than 10,000 such URLs the oldest are forgotten
/// earlier. A run that is [deleted](crate::RuntimeBuilder::retention) is not told of any more. All processes on one database that
/// have these options should have the same.
///
/// Addresses that are not public are refused, unless they are [allowed](Self::allow_private_addresses). Proxies that the
/// environment names are not used, as they could not be held to that.
///
/// ```
/// use greenroom::{Agent, NewRun, Runtime, ScriptedModel, Store, WebhookOptions};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), greenroom::Error> {
/// # let secret_of_your_own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// let runtime = Runtime::builder()
///     .store(Store::sqlite_in_memory())
///     .agent(Agent::builder("geographer").model(ScriptedModel::echo()))
///     .webhooks(WebhookOptions::new(secret_of_your_own))
///     .start()
///     .await?;
/// let run = NewRun::new("geographer", "What is the capital of France?").webhook("https://example.org/hooks/runs");
/// # drop(run.clone());
/// # if false {
/// runtime.submit(run).await?;
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are given to a runtime"]
pub struct WebhookOptions {
    secrets: Vec<SecretString>,
    pub(super) timeout: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) give_up_after: Duration,
    pub(super) allow_private_addresses: bool,
    pub(super) include_content: bool,
}

impl WebhookOptions {
    /// Signs with this secret: 24 to 64 bytes in base64, with or without `whsec_` before it. It is kept in memory only.
    pub fn new(secret: impl Into<String>) -> Self {
        Self {
            secrets: vec![secret.into().into()],
            timeout: Duration::from_secs(15),
            retry: RetryPolicy::new(Duration::from_secs(5)).factor(4.0).max_delay(12 * HOUR),
            give_up_after: 3 * 24 * HOUR,
            allow_private_addresses: false,
            include_content: false,
        }
    }

    /// Signs with this secret as well, so that receivers can go over from one to the other; four secrets at most. A receiver
    /// takes what any of them has signed.
    pub fn also_sign_with(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into().into());
        self
    }

    /// How long a receiver may take to answer, from looking up its address on; 15 s when left out, between 10 ms and 5 min.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// When a delivery that has failed is tried again; when left out, after 5 s, and after four times the time each time, up
    /// to 12 h.
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// When a delivery that goes on failing is given up, counted from when the run settled or was paused; 3 days when left out,
    /// at most 30 days.
    pub const fn give_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }

    /// Whether receivers may be at addresses that are not public, such as this machine's own, those of a private network, and
    /// those at which clouds hand out credentials; not allowed when left out.
    ///
    /// It is the address that counts to which the connection is made, whatever the name looked up to before. Allow it only
    /// where nobody but you says what the URLs are.
    pub const fn allow_private_addresses(mut self, allow: bool) -> Self {
        self.allow_private_addresses = allow;
        self
    }

    /// Whether the body has the run's content, what people are asked, and, when it failed, the message of its error, as
    /// `data.content`, `data.requirements` and `data.error.message`; not when left out.
    pub const fn include_content(mut self, include: bool) -> Self {
        self.include_content = include;
        self
    }

    /// One signer for each secret; or what is wrong with the options.
    pub(super) fn check(&self) -> Result<Vec<Webhook>, String> {
        if self.secrets.len() > MOST_SECRETS {
            return Err(format!("must have at most {MOST_SECRETS} secrets"));
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(300)).contains(&self.timeout) {
            return Err("must have a timeout between 10 ms and 5 min".to_owned());
        }
        if self.give_up_after > 30 * 24 * HOUR {
            return Err("must give up after at most 30 days".to_owned());
        }
        self.retry.check().map_err(|error| error.problem().to_owned())?;
        self.secrets.iter().map(signer).collect()
    }
}

fn signer(secret: &SecretString) -> Result<Webhook, String> {
    let wrong = || "must have secrets of 24 to 64 bytes, in base64".to_owned();
    let text = secret.expose_secret();
    let text = text.strip_prefix("whsec_").unwrap_or(text);
    let length = text.trim_end_matches('=').len() * 3 / 4;
    if !SECRET.contains(&length) {
        return Err(wrong());
    }
    // The error of the decoder says which byte is wrong, and where.
    Webhook::new(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::WebhookOptions;
    use crate::agent::RetryPolicy;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn impossible_options_are_refused_without_telling_the_secret() {
        let good = || WebhookOptions::new(SECRET);
        for wrong in [
            WebhookOptions::new(""),
            WebhookOptions::new("whsec_"),
            WebhookOptions::new("MfKQ9r8GKYqrTwjUPD8ILPZIo2L="),
            WebhookOptions::new("my-secret-my-secret-my-secret-!!"),
            WebhookOptions::new("A".repeat(100)),
            good().also_sign_with("short"),
            (0..4).fold(good(), |options, _| options.also_sign_with(SECRET)),
            good().timeout(Duration::ZERO),
            good().timeout(Duration::MAX),
            good().give_up_after(Duration::MAX),
            good().retry(RetryPolicy::new(Duration::MAX)),
        ] {
            let problem = wrong.check().err().unwrap();
            assert!(!format!("{problem} {wrong:?}").contains("secret-") && !format!("{wrong:?}").contains("MfKQ"));
        }
        let signers = good().also_sign_with(SECRET.trim_start_matches("whsec_")).check().unwrap();
        assert_eq!(signers.len(), 2);
    }
}
