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

#[tokio::test]
async fn another_site_changes_nothing_by_any_route_and_whoever_is_no_browser_is_let_in() {
    let door = Door::new(runtime().await).trusted_origin("https://trusted.example");
    for (method, path) in each(GUARDED) {
        for (site, origin, allowed) in CASES {
            let mut asked = request(&method, path, RunId::new()).insert_header((HOST, "runs.example:8080"));
            if let Some(site) = site {
                asked = asked.insert_header(("sec-fetch-site", site));
            }
            if let Some(origin) = origin {
                asked = asked.insert_header((ORIGIN, origin));
            }
            let answer = Answer::to(&door, asked).await;
            let refused = (answer.status, answer.kind()) == (403, "cross-site");
            assert_eq!(refused, !allowed && method == Method::POST, "{method} {path}: {site:?} {origin:?} {answer:?}");
        }
    }
}
