//! Runs whose submit names a URL that is told of them.

use std::time::Duration;

use greenroom::{Agent, RetryPolicy, Runtime, ScriptedModel, Store, WebhookOptions};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Service};
use crate::support::{LONG, on_each_store};
use crate::webhooks::receiver::Receiver;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

on_each_store!(the_url_of_a_submit_is_told_how_the_run_has_settled);

async fn start(store: Store, options: Option<WebhookOptions>) -> (Runtime, Service) {
    let builder = Runtime::builder().store(store).agent(Agent::builder("echo").model(ScriptedModel::echo()));
    let builder = builder.poll_interval(Duration::from_millis(20));
    let runtime =
        options.into_iter().fold(builder, |builder, options| builder.webhooks(options)).start().await.unwrap();
    let service = Service::of(&runtime);
    (runtime, service)
}

fn options() -> WebhookOptions {
    let retry = RetryPolicy::new(Duration::from_millis(10)).jitter(0.0);
    WebhookOptions::new(SECRET).retry(retry).allow_private_addresses(true)
}

async fn submit(service: &Service, webhook: &Value) -> Answer {
    service.post("/agents/echo/runs", &json!({"input": "Paris", "webhook": webhook})).await
}

async fn the_url_of_a_submit_is_told_how_the_run_has_settled(store: Store) {
    let receiver = Receiver::start(|_| "200 OK").await;
    let (runtime, service) = start(store, Some(options())).await;

    let submitted = submit(&service, &json!(receiver.url("/hook?secret=xyzzy"))).await;

    assert_eq!(submitted.status, 202, "{submitted:?}");
    let told = receiver.told(1).await.remove(0);
    assert_eq!(told.line, "POST /hook?secret=xyzzy HTTP/1.1");
    assert_eq!(told.json()["data"]["run_id"], submitted.body["run_id"]);
    // It may have a secret in it, which nobody is told.
    let read = service.get(&format!("/runs/{}", submitted.run_id())).await;
    assert!(!read.body.to_string().contains("xyzzy") && !submitted.body.to_string().contains("xyzzy"));

    let again = json!({"input": "x", "run_id": submitted.run_id(), "webhook": receiver.url("/other")});
    service.post("/agents/echo/runs", &again).await.assert_problem(409, "conflict");
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_url_that_cannot_be_told_is_refused_by_its_name() {
    let (runtime, service) = start(Store::sqlite_in_memory(), Some(options())).await;
    let long = format!("https://example.org/{}", "x".repeat(3000));
    let urls =
        ["", "example.org", "ftp://example.org/", "https://me:secret@example.org/", "mailto:me@example.org", &long];
    for wrong in urls.into_iter().map(Value::from).chain([json!(7), json!({"url": "https://example.org"})]) {
        let refused = submit(&service, &wrong).await;
        refused.assert_problem(422, "invalid-field");
        assert_eq!(refused.body["field"], "webhook", "{refused:?}");
        assert!(!refused.body.to_string().contains("secret"), "{refused:?}");
    }
    let nothing = submit(&service, &Value::Null).await;
    assert_eq!(nothing.status, 202);
    runtime.shutdown(LONG).await;

    let (runtime, service) = start(Store::sqlite_in_memory(), None).await;
    let refused = submit(&service, &json!("https://example.org/")).await;
    refused.assert_problem(422, "invalid-field");
    assert_eq!(refused.body["field"], "webhook", "where there are no webhooks, nobody would be told");
    assert_eq!(Answer::to(service.ask(Method::GET, "/runs")).await.body["runs"], json!([]));
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_receiver_that_wants_to_be_left_alone_is() {
    let receiver = Receiver::start(|n| if n == 0 { "429 Busy\r\nretry-after: 2" } else { "200 OK" }).await;
    let (runtime, service) = start(Store::sqlite_in_memory(), Some(options())).await;
    submit(&service, &json!(receiver.url("/"))).await;

    let told = receiver.told(2).await;

    // When each was sent, by the database's clock.
    let sent = |n: usize| told[n].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(sent(1) - sent(0) >= 2, "told again after {} s", sent(1) - sent(0));
    runtime.shutdown(LONG).await;
}
