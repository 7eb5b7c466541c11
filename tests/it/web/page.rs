//! The page to look at: its files, and what a real browser makes of them.

use actix_web::web;
use greenroom::web::{Door, scope};
use greenroom::{Runtime, Store};
use reqwest::header::HeaderMap;
use reqwest::{Client, StatusCode, redirect};

use super::Service;
use crate::support::{Gate, gated, soon, start};

mod attempts;
mod browser;
mod keyboard;
mod looks;
mod order;
mod use_of;
mod users;

async fn runtime() -> Runtime {
    start(Store::sqlite_in_memory(), gated(&Gate::new())).await
}

/// What is at this path of the service, no redirect followed.
async fn file(service: &Service, path: &str) -> (StatusCode, HeaderMap, String) {
    let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let response = soon(client.get(service.url(path)).send()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, soon(response.text()).await.unwrap())
}

/// What comes after each `opening` in a text, up to a quote.
fn quoted<'a>(text: &'a str, opening: &str) -> Vec<&'a str> {
    text.split(opening).skip(1).map(|rest| rest.split(['"', '\'']).next().unwrap()).collect()
}

/// The page under `prefix` and all that it names, and what that names in turn.
async fn all_files(service: &Service, prefix: &str) -> Vec<(String, HeaderMap, String)> {
    let mut files = Vec::new();
    let mut wanted = vec![format!("{prefix}/")];
    while let Some(path) = wanted.pop() {
        let (status, headers, text) = file(service, &path).await;
        assert_eq!(status, 200, "{path}");
        let named = [quoted(&text, "src=\""), quoted(&text, "href=\""), quoted(&text, "from './")].concat();
        for name in named.into_iter().filter(|name| !name.starts_with('#')) {
            assert!(!name.contains(':') && !name.starts_with('/'), "{name} of {path} is relative");
            let named = if path.ends_with('/') { format!("{path}{name}") } else { format!("{prefix}/page/{name}") };
            if !wanted.contains(&named) && !files.iter().any(|(known, _, _)| *known == named) && named != path {
                wanted.push(named);
            }
        }
        files.push((path, headers, text));
    }
    files
}

#[tokio::test]
async fn the_page_is_small_and_locked_up_and_all_of_it_is_under_its_scope() {
    let (one, other) = tokio::join!(runtime(), runtime());
    let service = Service::start(move |app: &mut web::ServiceConfig| {
        let nested = web::scope("/tenants/{tenant}").service(scope("/runs of", other.clone()));
        app.service(scope("/one", one.clone())).service(nested);
    });
    for prefix in ["/one", "/tenants/acme/runs%20of"] {
        let files = all_files(&service, prefix).await;

        assert!(files.len() >= 14, "{prefix}: {}", files.len());
        assert!(files.iter().map(|(_, _, text)| text.len()).sum::<usize>() < 48 * 1024);
        for (path, headers, text) in &files {
            let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
            let policy = header("content-security-policy");
            for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff", "no-referrer"));
            assert_eq!(header("cache-control"), "no-cache", "{path}");
            let kind = match path.rsplit('.').next().unwrap() {
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "svg" => "image/svg+xml",
                _ => "text/html; charset=utf-8",
            };
            assert_eq!(header("content-type"), kind, "{path}");
            for word in ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "localStorage"] {
                assert!(!text.contains(word), "{path} has {word}");
            }
        }
        let (status, headers, _) = file(&service, prefix).await;
        let location = format!("./{}/", prefix.rsplit('/').next().unwrap());
        assert_eq!((status.as_u16(), headers["location"].to_str().unwrap()), (307, location.as_str()));
        assert_eq!(file(&service, &format!("{prefix}/page/nothing.js")).await.0, 404);
        assert_eq!(file(&service, &format!("{prefix}/page/..%2fpage.rs")).await.0, 404);
    }
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_not_sent_again() {
    let service = Service::of(&runtime().await);
    let (_, headers, _) = file(&service, "/api/").await;
    let tag = headers["etag"].to_str().unwrap().to_owned();
    for (known, status) in [(tag.clone(), 304), (format!("\"other\", W/{tag}"), 304), ("\"other\"".to_owned(), 200)] {
        let again = Client::new().get(service.url("/api/page/page.js")).header("if-none-match", &known);
        assert_eq!(soon(again.send()).await.unwrap().status(), status, "{known}");
    }
}

#[tokio::test]
async fn the_page_is_open_and_what_it_asks_for_is_not() {
    let runtime = runtime().await;
    for door in [
        Door::new(runtime.clone()).bearer_token("secret".to_owned()),
        Door::new(runtime.clone()).user(|_| Ok::<_, actix_web::Error>(None)),
    ] {
        let service = Service::behind(door);
        assert!(all_files(&service, "/api").await.len() >= 9);
        for path in ["/runs", "/runs/counts", "/agents"] {
            service.get(path).await.assert_problem(401, "unauthorized");
        }
    }
}
