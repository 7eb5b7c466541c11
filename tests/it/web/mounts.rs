//! Scopes beside others in one app.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::dev::Service as _;
use actix_web::web;
use greenroom::{NewRun, Store, web::scope};
use reqwest::Method;
use serde_json::json;

use super::{Answer, Service, submitted};
use crate::support::{Gate, gated, start};

#[tokio::test]
async fn two_scopes_and_a_services_own_routes_live_in_one_app() {
    let (one, other) = tokio::join!(
        start(Store::sqlite_in_memory(), gated(&Gate::new())),
        start(Store::sqlite_in_memory(), gated(&Gate::new())),
    );
    let run = submitted(&other, NewRun::new("gated", "hi")).await;
    let counted = Arc::new(AtomicU64::new(0));
    let service = Service::start({
        let (one, other, counted) = (one.clone(), other.clone(), Arc::clone(&counted));
        move |app: &mut web::ServiceConfig| {
            let counted = Arc::clone(&counted);
            let counting = scope("/one", one.clone()).wrap_fn(move |request, next| {
                counted.fetch_add(1, Ordering::Relaxed);
                next.call(request)
            });
            let nested = web::scope("/tenants/{tenant}").service(scope("/two", other.clone()));
            let own = web::resource("/api/one/more").to(|| async { "\"my own\"" });
            app.service(web::scope("/api").service(counting)).service(nested).service(own);
        }
    });
    let client = reqwest::Client::new();
    let ask = |method: Method, path: &str| client.request(method, service.url(path));
    let read = |prefix: &str| Answer::to(ask(Method::GET, &format!("{prefix}/runs/{}", run.run_id())));

    assert_eq!(read("/tenants/acme/two").await.run_id(), run.run_id());
    read("/api/one").await.assert_problem(404, "unknown-run");
    let submit = ask(Method::POST, "/tenants/acme/two/agents/gated/runs").json(&json!({"input": "ho"}));
    let submitted = Answer::to(submit).await;
    assert_eq!(submitted.header("location"), format!("/tenants/acme/two/runs/{}", submitted.run_id()));
    assert!(one.get(submitted.run_id()).await.unwrap().is_none(), "it came to the other runtime");
    assert_eq!(counted.load(Ordering::Relaxed), 1, "the host's middleware saw its scope only");
    Answer::to(ask(Method::GET, "/api/one/nothing")).await.assert_problem(404, "not-found");
    assert_eq!(Answer::to(ask(Method::GET, "/elsewhere")).await.status, 404, "by the app itself");
}

#[tokio::test]
async fn a_scope_without_a_path_leaves_those_before_it_alone() {
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let service = Service::start(move |app: &mut web::ServiceConfig| {
        app.service(web::resource("/own").to(|| async { "\"my own\"" })).service(scope("", runtime.clone()));
    });
    let get = |path: &str| Answer::to(reqwest::Client::new().get(service.url(path)));

    assert_eq!(get("/own").await.body, "my own");
    assert_eq!(get("/agents").await.body, json!({"agents": [{"name": "gated"}]}));
    get("/nothing").await.assert_problem(404, "not-found");
}
