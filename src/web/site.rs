//! Tells requests that a browser makes on behalf of another site.
//!
//! The rule is that of Go's `net/http.CrossOriginProtection`; <https://words.filippo.io/csrf/> has the reasons. Every
//! browser of today says by `Sec-Fetch-Site` where a request comes from, when the service is on loopback or on TLS, and
//! scripts cannot change it. Elsewhere, `Origin` is compared with `Host`. What is not a browser sends neither.

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, ORIGIN};

/// Whether the request comes from another site that is not among `trusted`.
pub(super) fn is_foreign(request: &HttpRequest, trusted: &[String]) -> bool {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = header(ORIGIN.as_str());
    if origin.is_some_and(|origin| trusted.iter().any(|trusted| trusted == origin)) {
        return false;
    }
    match (header("sec-fetch-site"), origin) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, None) => false,
        (None, Some(origin)) => {
            let host = header(HOST.as_str()).or_else(|| request.uri().authority().map(|authority| authority.as_str()));
            let from = origin.split_once("://").map(|(_, host)| host);
            from.is_none() || from != host
        }
    }
}
