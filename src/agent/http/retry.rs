//! When a request is asked again, and after which wait.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest wait; a provider that asks for more is not waited for at all.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Whether and when it makes sense to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// After the client's own wait.
    Later,
    /// After the wait that the provider asks for.
    After(Duration),
    /// At once, in another way.
    Otherwise,
}

/// The client's own waits, one for each retry.
pub(in crate::agent) fn waits(max_retries: u32) -> impl Iterator<Item = Duration> + Send + use<> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(8))
        .with_max_times(usize::try_from(max_retries).unwrap_or(usize::MAX))
        .with_jitter()
        // Without its `std` feature, the crate starts every sequence with the same seed, and jitter that is the same for all
        // processes spreads nothing.
        .with_jitter_seed(RandomState::new().hash_one(()))
        .build()
}

/// Whether a refusal of this status may be gone by the next time.
pub(in crate::agent) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429 | 500..=599)
}

/// What a refusal's status and headers say about asking again.
pub(super) fn again(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Again {
    let refused = headers.get("x-should-retry").is_some_and(|value| value == "false");
    if !may_pass(status) || refused {
        return Again::Never;
    }
    match asked_wait(headers, now) {
        Some(wait) if wait > LONGEST_WAIT => Again::Never,
        Some(wait) => Again::After(wait),
        None => Again::Later,
    }
}

/// The wait that the provider asks for. One that is zero or already over says nothing about when to come back.
fn asked_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let seconds = text("retry-after-ms").and_then(number).map(|milliseconds| milliseconds / 1000.0);
    let seconds = seconds.or_else(|| text(RETRY_AFTER.as_str()).and_then(number));
    match seconds {
        Some(seconds) if seconds > 0.0 => Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        Some(_) => None,
        None => {
            let date = httpdate::parse_http_date(text(RETRY_AFTER.as_str())?.trim()).ok()?;
            date.duration_since(now).ok().filter(|wait| !wait.is_zero())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{Again, again, waits};

    fn after(headers: &[(&'static str, &str)]) -> Again {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        again(StatusCode::TOO_MANY_REQUESTS, &headers.iter().map(pair).collect::<HeaderMap>(), now)
    }

    #[test]
    fn the_provider_is_waited_for_as_long_as_it_asks() {
        let wait = |milliseconds| Again::After(Duration::from_millis(milliseconds));
        assert_eq!(after(&[("retry-after", "7")]), wait(7_000));
        assert_eq!(after(&[("retry-after", " 0.25 ")]), wait(250));
        assert_eq!(after(&[("retry-after-ms", "20")]), wait(20));
        assert_eq!(after(&[("retry-after", "7"), ("retry-after-ms", "20")]), wait(20));
        assert_eq!(after(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]), wait(10_000));
        assert_eq!(after(&[("retry-after", "60")]), wait(60_000));
    }

    #[test]
    fn a_wait_that_says_nothing_leaves_it_to_the_client() {
        for value in ["0", "-3", "NaN", "soon", "", "Sun, 06 Nov 1994 08:49:36 GMT"] {
            assert_eq!(after(&[("retry-after", value)]), Again::Later, "{value}");
        }
        assert_eq!(after(&[]), Again::Later);
    }

    #[test]
    fn nobody_is_waited_for_longer_than_a_minute() {
        for value in ["61", "1e300", "inf", "Sun, 06 Nov 1994 08:50:38 GMT"] {
            assert_eq!(after(&[("retry-after", value)]), Again::Never, "{value}");
        }
        assert_eq!(after(&[("x-should-retry", "false")]), Again::Never);
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        let retried = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            again(status, &HeaderMap::new(), SystemTime::now()) != Again::Never
        };
        assert!([408, 409, 429, 500, 502, 503, 504, 529].into_iter().all(retried));
        assert!(![300, 307, 400, 401, 403, 404, 413, 422].into_iter().any(retried));
    }

    #[test]
    fn own_waits_grow_and_differ() {
        let sequence: Vec<_> = waits(6).collect();
        assert_eq!(sequence.len(), 6);
        for (wait, least) in sequence.iter().zip([500, 1_000, 2_000, 4_000, 8_000, 8_000]) {
            let least = Duration::from_millis(least);
            assert!((least..=least * 2).contains(wait), "{wait:?}");
        }
        assert_ne!(sequence, waits(6).collect::<Vec<_>>());
        assert_eq!(waits(0).count(), 0);
    }
}
