//! The page where the service knows its users: each sees their own.

use actix_web::HttpRequest;
use actix_web::error::ErrorUnauthorized;
use greenroom::web::Door;
use greenroom::{NewRun, RunStatus, Store, UserId};

use super::super::{Service, submitted};
use super::browser::Browser;
use crate::support::{Gate, gated, start};

/// The service's own way to know its users.
fn account(request: &HttpRequest) -> Result<Option<UserId>, actix_web::Error> {
    let cookie = request.headers().get("cookie").and_then(|cookie| cookie.to_str().ok());
    let account = cookie.and_then(|cookie| cookie.strip_prefix("account="));
    account.map(|account| Some(UserId::from(account))).ok_or_else(|| ErrorUnauthorized("who are you?"))
}

#[tokio::test]
async fn a_page_shows_only_the_runs_of_who_looks_at_it() {
    let Some(browser) = Browser::open().await else { return };
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let service = Service::behind(Door::new(runtime.clone()).user(account));
    for session in ["one of ann", "two of ann"] {
        submitted(&runtime, NewRun::new("gated", "ann's").user_id("ann").session_id(session)).await;
    }
    let others = submitted(&runtime, NewRun::new("gated", "bob's").user_id("bob").session_id("one of bob")).await;
    submitted(&runtime, NewRun::new("gated", "nobody's").session_id("of nobody")).await;
    browser.goto(&service.url("/api/")).await;
    browser.eval("document.cookie = 'account=ann; path=/'").await;
    browser.client.refresh().await.unwrap();

    browser.until("document.querySelectorAll('.runs li').length === 2").await;
    browser.until("document.querySelector('.counts a:has(.running) strong').innerText === '2'").await;
    let shown = browser.text(".runs").await;
    assert!(shown.contains("one of ann") && shown.contains("two of ann") && !shown.contains("bob"), "{shown}");

    browser.goto(&service.url(&format!("/api/#/runs/{}", others.run_id()))).await;
    browser.until("document.body.innerText.includes('does not exist')").await;
    let shown = browser.eval("document.body.innerText").await.to_string();
    assert!(!shown.contains("bob") && !shown.contains("RUNNING"), "{shown}");
    assert_eq!(runtime.get(others.run_id()).await.unwrap().unwrap().output.status, RunStatus::Running);

    browser.goto(&service.url("/api/#/new")).await;
    browser.enter("textarea[name=input]", "mine").await;
    browser.click("form.new button[type=submit]").await;
    browser.until("location.hash.startsWith('#/runs/')").await;
    browser.until("document.querySelector('.title .status')?.innerText === 'RUNNING'").await;
    let own = runtime.for_user("ann").list(greenroom::RunQuery::new()).await.unwrap().runs;
    assert_eq!(own.len(), 3, "what is submitted by the page is the user's own");

    browser.eval("document.cookie = 'account=bob; path=/'").await;
    browser.goto(&service.url("/api/#/runs")).await;
    browser.client.refresh().await.unwrap();
    browser.until("document.querySelectorAll('.runs li').length === 1").await;
    assert!(browser.text(".runs").await.contains("one of bob"));
    browser.assert_content(&["401", "404"]).await;
    browser.close().await;
}
