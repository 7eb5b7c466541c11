//! Cancels over HTTP.

use greenroom::{NewRun, RunId, RunStatus, Store};
use reqwest::Method;
use serde_json::json;

use super::{Answer, Service, submitted};
use crate::support::{Gate, gated, idle, settled, start};

#[tokio::test]
async fn each_outcome_has_its_word() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("gated", "hi")).await;
    gate.arrivals(1).await;
    let (cancel, unknown) = (format!("/runs/{}/cancel", run.run_id()), RunId::new());

    let cancelled = service.post(&cancel, &json!({})).await;
    let again = service.post(&cancel, &json!({})).await;
    let intent = service.post(&format!("/runs/{unknown}/cancel"), &json!({})).await;

    let body = |outcome| json!({"run_id": run.run_id(), "outcome": outcome, "status": "CANCELLED"});
    assert_eq!((cancelled.status.as_u16(), cancelled.body), (200, body("cancelled")));
    assert_eq!((again.status.as_u16(), again.body), (200, body("already_settled")));
    assert_eq!((intent.status.as_u16(), intent.body), (202, json!({"run_id": unknown, "outcome": "intent_stored"})));
    let late = submitted(&runtime, NewRun::new("gated", "hi").run_id(unknown)).await;
    assert_eq!(settled(&late).await.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_cancel_of_another_processes_run_is_a_request() {
    let database = crate::postgres::fresh_database().await;
    let gate = Gate::new();
    let owner = start(Store::postgres(database.url()), gated(&gate)).await;
    let other = start(Store::postgres(database.url()), idle()).await;
    let service = Service::of(&other);
    let run = submitted(&owner, NewRun::new("gated", "hi")).await;
    gate.arrivals(1).await;

    let answer = service.post(&format!("/runs/{}/cancel", run.run_id()), &json!({})).await;

    assert_eq!((answer.status.as_u16(), answer.body), (202, json!({"run_id": run.run_id(), "outcome": "requested"})));
    let read = service.get(&format!("/runs/{}?wait=30", run.run_id())).await;
    assert_eq!(read.body["status"], "CANCELLED");
}

#[tokio::test]
async fn a_cancel_needs_no_body() {
    let service = Service::of(&start(Store::sqlite_in_memory(), gated(&Gate::new())).await);
    let ask = || service.ask(Method::POST, &format!("/runs/{}/cancel", RunId::new()));
    let bodies = [
        ask(),
        ask().body(""),
        ask().body("{}"),
        ask().body(" {\n} ").header("content-type", "application/json; charset=utf-8"),
        ask().body("").header("content-type", "application/x-www-form-urlencoded"),
    ];
    for request in bodies {
        let answer = Answer::to(request).await;
        assert_eq!((answer.status.as_u16(), &answer.body["outcome"]), (202, &json!("intent_stored")), "{answer:?}");
    }

    Answer::to(ask().body("{}").header("content-type", "text/plain"))
        .await
        .assert_problem(415, "unsupported-media-type");
    let unknown = Answer::to(ask().body("{\"force\":true}")).await;
    unknown.assert_problem(422, "invalid-field");
    assert_eq!(unknown.body["field"], "force");
}
