//! One delivery: signs what is to be told, and sends it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use url::Url;

use super::WebhookOptions;
use super::addresses::{PublicOnly, check_literal};
use super::payload;
use crate::run::{RunOutput, error_chain};
use crate::store::delivery::Delivery;

/// A receiver is left alone for no longer than this, whatever it says.
const LONGEST_WISH: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// It has not taken it.
    Failed(Failure),
}

/// Why a receiver has not taken what it was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words that tell neither URL nor body.
    pub(super) problem: String,
    /// How long it wants to be left alone.
    pub(super) leave_alone: Duration,
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self { problem, leave_alone: Duration::ZERO }
    }
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

    /// How long to wait after a failed attempt, with this number, to tell what happened so long ago; `None` to give it up. No
    /// shorter than the receiver wants to be left alone, as far as that can be heeded.
    pub(super) fn next_try(&self, attempt: u32, age: Duration, leave_alone: Duration) -> Option<Duration> {
        let delay = self.options.retry.delay(attempt).max(leave_alone.min(LONGEST_WISH));
        (age.saturating_add(delay) <= self.options.give_up_after).then_some(delay)
    }

    /// What is to be told of the run, if it is still as the delivery has it.
    pub(super) fn body(&self, delivery: &Delivery, run: &RunOutput) -> Option<String> {
        payload::body(run, delivery.created_at, self.options.include_content)
    }

    pub(super) async fn tell(&self, delivery: &Delivery, body: String) -> Answer {
        match tokio::time::timeout(self.options.timeout, self.send(delivery, body)).await {
            Ok(Ok((status, _))) if status.is_success() => Answer::Taken,
            Ok(Ok((StatusCode::GONE, _))) => Answer::Gone,
            Ok(Ok((status, headers))) => Answer::Failed(Failure {
                problem: format!("the receiver answered {}", status.as_u16()),
                leave_alone: wish(status, &headers, SystemTime::now()),
            }),
            Ok(Err(problem)) => Answer::Failed(problem.into()),
            Err(_) => Answer::Failed(format!("no answer within {:?}", self.options.timeout).into()),
        }
    }

    async fn send(&self, delivery: &Delivery, body: String) -> Result<(StatusCode, HeaderMap), String> {
        let url = Url::parse(delivery.url.as_str()).map_err(|error| error.to_string())?;
        if !self.options.allow_private_addresses {
            check_literal(url.host().as_ref()).map_err(|error| error.to_string())?;
        }
        let (id, timestamp) = (delivery.event_id.to_string(), delivery.taken_at.timestamp());
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, &id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, self.signatures(&id, timestamp, &body)?)
            .body(body);
        // What it says in the body is not read.
        let mut answered = request.send().await.map_err(|error| error_chain(&error.without_url()))?;
        Ok((answered.status(), std::mem::take(answered.headers_mut())))
    }

    /// The signatures by all secrets, as the header has them.
    fn signatures(&self, id: &str, timestamp: i64, body: &str) -> Result<String, String> {
        let signatures: Result<Vec<String>, _> =
            self.signers.iter().map(|signer| signer.sign(id, timestamp, body.as_bytes())).collect();
        signatures.map(|signatures| signatures.join(" ")).map_err(|error| error.to_string())
    }
}

/// How long a receiver that refuses for now wants to be left alone, as `Retry-After` says it; zero when it does not.
fn wish(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Duration {
    let wishes = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let said = headers.get(RETRY_AFTER).filter(|_| wishes).and_then(|said| said.to_str().ok()).map(str::trim);
    let until = |date: &str| httpdate::parse_http_date(date).ok()?.duration_since(now).ok();
    let wish = said.and_then(|said| said.parse().map(Duration::from_secs).ok().or_else(|| until(said)));
    wish.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::{LONGEST_WISH, Post, wish};
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
        let next = |attempt, age| post.next_try(attempt, Duration::from_secs(age), Duration::ZERO);
        assert_eq!(next(1, 0), Some(Duration::from_secs(10)));
        assert_eq!(next(3, 60), Some(Duration::from_secs(40)));
        assert_eq!(next(3, 61), None);
    }

    #[test]
    fn a_receiver_is_left_alone_for_as_long_as_it_wants_up_to_a_day() {
        let retry = RetryPolicy::new(Duration::from_secs(10)).factor(1.0).jitter(0.0);
        let post = Post::new(WebhookOptions::new(SECRET).retry(retry)).unwrap();
        let next = |wish| post.next_try(1, Duration::ZERO, wish);
        assert_eq!(next(Duration::from_secs(5)), Some(Duration::from_secs(10)), "no earlier than without a wish");
        assert_eq!(next(Duration::from_secs(70)), Some(Duration::from_secs(70)));
        assert_eq!(next(Duration::MAX), Some(LONGEST_WISH));
        assert_eq!(post.next_try(1, Duration::from_secs(3 * 24 * 60 * 60 - 50), Duration::from_secs(70)), None);

        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let said = |status, text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            wish(status, &headers, now).as_secs()
        };
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            assert_eq!(said(status, " 120 "), 120);
            assert_eq!(said(status, "Sun, 06 Nov 1994 08:49:47 GMT"), 10);
            for nothing in ["", "soon", "-1", "0.5", "99999999999999999999999", "Sun, 06 Nov 1994 08:49:27 GMT"] {
                assert_eq!(said(status, nothing), 0, "{nothing}");
            }
        }
        assert_eq!(said(StatusCode::INTERNAL_SERVER_ERROR, "120"), 0);
        assert_eq!(wish(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), now), Duration::ZERO);
    }
}
