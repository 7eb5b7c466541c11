//! Browsers that ask on behalf of other sites.

use actix_web::http::header::{HOST, ORIGIN};

use super::*;

/// `Sec-Fetch-Site`, `Origin`, and whether a change is let through. The host is `runs.example:8080`.
const CASES: [(Option<&str>, Option<&str>, bool); 15] = [
    (None, None, true),
    (Some("same-origin"), Some("http://runs.example:8080"), true),
    (Some("none"), None, true),
    (Some("cross-site"), None, false),
    (Some("cross-site"), Some("https://evil.example"), false),
    // A proxy may have changed the host: the browser knows better.
    (Some("same-origin"), Some("https://public.example"), true),
    (Some("cross-site"), Some("http://runs.example:8080"), false),
    (Some("same-site"), Some("https://other.runs.example"), false),
    (Some(""), None, false),
    (Some("cross-site"), Some("https://trusted.example"), true),
    (None, Some("http://runs.example:8080"), true),
    (None, Some("http://runs.example"), false),
    (None, Some("https://evil.example"), false),
    (None, Some("null"), false),
    (None, Some("https://trusted.example"), true),
];

/// The request as a browser says it is from there.
fn from(site: Option<&str>, origin: Option<&str>, request: TestRequest) -> TestRequest {
    let mut request = request.insert_header((HOST, "runs.example:8080"));
    if let Some(site) = site {
        request = request.insert_header(("sec-fetch-site", site));
    }
    if let Some(origin) = origin {
        request = request.insert_header((ORIGIN, origin));
    }
    request
}

#[tokio::test]
async fn another_site_changes_nothing_by_any_route_and_whoever_is_no_browser_is_let_in() {
    let door = Door::new(runtime().await).trusted_origin("https://trusted.example");
    for (method, path) in each(GUARDED) {
        for (site, origin, allowed) in CASES {
            let answer = Answer::to(&door, from(site, origin, request(&method, path, RunId::new()))).await;
            let refused = (answer.status, answer.kind()) == (403, "cross-site");
            assert_eq!(refused, !allowed && method == Method::POST, "{method} {path}: {site:?} {origin:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_of_another_site_cannot_have_a_run_cancelled_by_its_going() {
    let door = Door::new(runtime().await).trusted_origin("https://trusted.example");
    for (site, origin, allowed) in CASES {
        for (query, refusable) in
            [("?cancel_on_disconnect=true", true), ("?cancel_on_disconnect=false", false), ("", false)]
        {
            let path = format!("/runs/{{run_id}}/events{query}");
            let answer = Answer::to(&door, from(site, origin, request(&Method::GET, &path, RunId::new()))).await;
            let refused = (answer.status, answer.kind()) == (403, "cross-site");
            assert_eq!(refused, refusable && !allowed, "{query}: {site:?} {origin:?} {answer:?}");
        }
    }
}
