//! The door while its runtime comes and goes.

use std::time::Duration;

use futures_util::StreamExt;
use greenroom::{CrashPolicy, NewRun, Store};
use reqwest::Method;
use serde_json::json;

use super::{Answer, Service, submitted};
use crate::support::{Gate, LONG, gated, on_each_store, soon, start};

on_each_store!(
    a_drain_refuses_new_runs_and_answers_those_who_ask_for_old_ones,
    a_run_that_was_accepted_is_answered_as_one_though_nobody_can_wait_for_it,
);

async fn a_drain_refuses_new_runs_and_answers_those_who_ask_for_old_ones(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    let service = Service::of(&runtime);
    assert_eq!(service.get("/readyz").await.status, 200);
    let run = submitted(&runtime, NewRun::new("gated", "hi")).await;
    gate.arrivals(1).await;
    let path = format!("/runs/{}", run.run_id());
    let poll = tokio::spawn(service.ask(Method::GET, &format!("{path}?wait=30")).send());
    let events = soon(service.ask(Method::GET, &format!("{path}/events")).send()).await.unwrap();

    let draining = runtime.clone();
    let drained = tokio::spawn(async move { draining.drain(LONG).await });
    while service.get("/readyz").await.status == 200 {}

    let ready = service.get("/readyz").await;
    ready.assert_problem(503, "not-ready");
    assert!(ready.body["detail"].as_str().unwrap().contains("shutting down"), "{ready:?}");
    service.post("/agents/gated/runs", &json!({"input": "hi"})).await.assert_problem(503, "shutting-down");
    assert_eq!(service.get(&path).await.body["status"], "RUNNING");
    gate.open(1);
    assert_eq!(Answer::read(soon(poll).await.unwrap().unwrap()).await.body["status"], "COMPLETED");
    let events: Vec<_> = soon(events.bytes_stream().collect()).await;
    assert!(String::from_utf8_lossy(events.last().unwrap().as_ref().unwrap()).contains("RunCompleted"));
    assert_eq!(soon(drained).await.unwrap().settled, 1);
    assert_eq!(service.get(&path).await.body["status"], "COMPLETED");
    assert_eq!(soon(runtime.shutdown(LONG)).await.settled, 1);
    assert_eq!(soon(runtime.drain(LONG)).await.settled, 1, "it is over");

    assert_eq!(service.get("/healthz").await.body, json!({"status": "ok"}));
    service.get("/readyz").await.assert_problem(503, "not-ready");
    service.get(&path).await.assert_problem(503, "shutting-down");
    service.get("/runs").await.assert_problem(503, "shutting-down");
    service.get(&format!("{path}/events")).await.assert_problem(503, "shutting-down");
    service.post(&format!("{path}/cancel"), &json!({})).await.assert_problem(503, "shutting-down");
}

async fn a_run_that_was_accepted_is_answered_as_one_though_nobody_can_wait_for_it(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate).on_crash(CrashPolicy::Restart)).await;
    let service = Service::of(&runtime);
    let submit = service.ask(Method::POST, "/agents/gated/runs").header("Prefer", "wait=60");
    let submit = tokio::spawn(submit.json(&json!({"input": "hi"})).send());
    gate.arrivals(1).await;

    assert_eq!(soon(runtime.shutdown(Duration::ZERO)).await.handed_back, 1);

    let answer = Answer::read(soon(submit).await.unwrap().unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (202, &json!("PENDING")), "{answer:?}");
    assert_eq!(answer.header("location"), format!("/api/runs/{}", answer.run_id()));
    assert_eq!(answer.header("preference-applied"), "");
}

#[tokio::test]
async fn what_the_database_says_of_its_absence_is_not_repeated() {
    let database = crate::postgres::fresh_database().await;
    let gate = Gate::new();
    let builder = greenroom::Runtime::builder().store(Store::postgres(database.url())).agent(gated(&gate));
    let runtime = builder.call_timeout(Duration::from_millis(300)).start().await.unwrap();
    let service = Service::of(&runtime);
    // No table is there any more: every statement fails, and says by what name it missed it.
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("ALTER SCHEMA greenroom RENAME TO elsewhere").await.unwrap();

    let read = service.get(&format!("/runs/{}", greenroom::RunId::new())).await;
    let ready = service.get("/readyz").await;
    client.batch_execute("ALTER SCHEMA elsewhere RENAME TO greenroom").await.unwrap();

    assert!(matches!(read.status.as_u16(), 500 | 503), "{read:?}");
    ready.assert_problem(503, "not-ready");
    let said = format!("{:?}{:?}", read.body, ready.body);
    for word in ["relation", "run_inputs", "postgres", "SELECT", "elsewhere"] {
        assert!(!said.contains(word), "{said}");
    }
}
