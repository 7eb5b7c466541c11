//! One delivery: signs what is to be told, and sends it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use url::Url;

use super::WebhookOptions;
use super::addresses::{PublicOnly, check_literal};
use super::payload;
use crate::run::{RunOutput, error_chain};
use crate::store::delivery::Delivery;

/// Signs and sends.
pub(crate) struct Post {
    client: Client,
    signers: Vec<Webhook>,
    options: WebhookOptions,
}

/// What a receiver has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    /// It wants nothing more.
    Gone,
    /// It has not taken it, for this reason, which tells neither URL nor body.
    Failed(String),
}

impl Post {
    /// Checks the options, and says what is wrong with them.
    pub(crate) fn new(options: WebhookOptions) -> Result<Self, String> {
        let signers = options.check()?;
        // A proxy would look names up itself, and follow a redirect to wherever it leads.
        let mut client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")));
        if !options.allow_private_addresses {
            client = client.dns_resolver(Arc::new(PublicOnly));
        }
        let client = client.build().map_err(|error| format!("need an HTTP client: {}", error_chain(&error)))?;
        Ok(Self { client, signers, options })
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// How long to wait after a failed attempt, with this number, to tell what happened so long ago; `None` to give it up.
    pub(super) fn next_try(&self, attempt: u32, age: Duration) -> Option<Duration> {
        let delay = self.options.retry.delay(attempt);
        (age.saturating_add(delay) <= self.options.give_up_after).then_some(delay)
    }

    pub(super) async fn tell(&self, delivery: &Delivery, run: &RunOutput) -> Answer {
        match tokio::time::timeout(self.options.timeout, self.send(delivery, run)).await {
            Ok(Ok(status)) if status.is_success() => Answer::Taken,
            Ok(Ok(StatusCode::GONE)) => Answer::Gone,
            Ok(Ok(status)) => Answer::Failed(format!("the receiver answered {}", status.as_u16())),
            Ok(Err(problem)) => Answer::Failed(problem),
            Err(_) => Answer::Failed(format!("no answer within {:?}", self.options.timeout)),
        }
    }

    async fn send(&self, delivery: &Delivery, run: &RunOutput) -> Result<StatusCode, String> {
        let url = Url::parse(delivery.url.as_str()).map_err(|error| error.to_string())?;
        if !self.options.allow_private_addresses {
            check_literal(url.host().as_ref()).map_err(|error| error.to_string())?;
        }
        let body = payload::body(run, self.options.include_content).ok_or("there is nothing to tell")?;
        let (id, timestamp) = (delivery.event_id.to_string(), delivery.taken_at.timestamp());
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, &id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, self.signatures(&id, timestamp, &body)?)
            .body(body);
        // What it says besides the status is not read.
        let answered = request.send().await.map_err(|error| error_chain(&error.without_url()))?;
        Ok(answered.status())
    }

    /// The signatures by all secrets, as the header has them.
    fn signatures(&self, id: &str, timestamp: i64, body: &str) -> Result<String, String> {
        let signatures: Result<Vec<String>, _> =
            self.signers.iter().map(|signer| signer.sign(id, timestamp, body.as_bytes())).collect();
        signatures.map(|signatures| signatures.join(" ")).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Post;
    use crate::actors::courier::WebhookOptions;
    use crate::agent::RetryPolicy;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_published_example_is_signed_as_published() {
        let post = Post::new(WebhookOptions::new(SECRET)).unwrap();
        let (id, timestamp, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(post.signatures(id, timestamp, body).unwrap(), expected);

        let twice = Post::new(WebhookOptions::new(SECRET).also_sign_with(SECRET)).unwrap();
        assert_eq!(twice.signatures(id, timestamp, body).unwrap(), format!("{expected} {expected}"));
    }

    #[test]
    fn a_delivery_is_tried_again_until_it_is_too_old() {
        let retry = RetryPolicy::new(Duration::from_secs(10)).factor(2.0).jitter(0.0);
        let options = WebhookOptions::new(SECRET).retry(retry).give_up_after(Duration::from_secs(100));
        let post = Post::new(options).unwrap();
        assert_eq!(post.next_try(1, Duration::ZERO), Some(Duration::from_secs(10)));
        assert_eq!(post.next_try(3, Duration::from_secs(60)), Some(Duration::from_secs(40)));
        assert_eq!(post.next_try(3, Duration::from_secs(61)), None);
    }
}
