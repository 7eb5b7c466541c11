//! Who is told that a run has settled, and how.

use std::time::Duration;

use greenroom::{
    Agent, AgentError, CancelOutcome, Decision, Error, NewRun, PostgresOptions, RetryPolicy, RunContext, RunHandle,
    RunStatus, Runtime, RuntimeBuilder, ScriptedModel, Store, WebhookOptions,
};
use serde_json::{Value, json};

use self::receiver::{Receiver, Told};
use crate::postgres::fresh_database;
use crate::support::{Gate, LONG, gated, on_each_store, settled, soon};

pub(crate) mod receiver;

on_each_store!(
    a_receiver_is_told_once_and_signed_how_a_run_has_settled,
    a_failed_delivery_is_tried_again_with_the_same_id_and_body,
    a_receiver_that_is_gone_is_told_nothing_more,
    a_receiver_that_hangs_harms_nobody,
    a_redirect_is_not_followed,
    a_cancelled_run_is_told_of_as_well,
    a_run_says_whom_to_tell_instead_of_its_agent,
    a_pause_is_told_and_then_how_the_run_has_settled,
);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn quick() -> WebhookOptions {
    let retry = RetryPolicy::new(Duration::from_millis(10));
    WebhookOptions::new(SECRET).retry(retry).allow_private_addresses(true)
}

fn builder(store: Store, options: WebhookOptions) -> RuntimeBuilder {
    let fails = Agent::builder("fails").code(|_: RunContext| async { Err::<(), _>(AgentError::new("my own fault")) });
    Runtime::builder()
        .store(store)
        .agent(Agent::builder("echo").model(ScriptedModel::echo()))
        .agent(fails)
        .poll_interval(Duration::from_millis(20))
        .webhooks(options)
}

async fn start(store: Store, options: WebhookOptions) -> Runtime {
    builder(store, options).start().await.unwrap()
}

async fn submit(runtime: &Runtime, url: &str) -> RunHandle {
    runtime.submit(NewRun::new("echo", "Paris").webhook(url)).await.unwrap()
}

fn told_of(told: &Told) -> String {
    told.json()["data"]["run_id"].as_str().unwrap().to_owned()
}

/// Verifies as a receiver would, and against what the specification says.
fn verify(told: &Told) -> Value {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, told.header(name).parse().unwrap());
    }
    standardwebhooks::Webhook::new(SECRET).unwrap().verify(&told.body, &headers).unwrap();
    let mut forged = told.body.clone();
    forged.push(b' ');
    assert!(standardwebhooks::Webhook::new(SECRET).unwrap().verify(&forged, &headers).is_err());
    told.json()
}

async fn a_receiver_is_told_once_and_signed_how_a_run_has_settled(store: Store) {
    let receiver = Receiver::start(|_| "200 OK").await;
    let runtime = start(store, quick()).await;
    let good = submit(&runtime, &receiver.url("/hook?of=mine")).await;
    let output = settled(&good).await;
    let told = receiver.told(1).await.remove(0);

    assert_eq!((told.line.as_str(), told.header("content-type")), ("POST /hook?of=mine HTTP/1.1", "application/json"));
    let body = verify(&told);
    assert_eq!((&body["type"], &body["timestamp"]), (&json!("run.completed"), &json!(output.settled_at)));
    let data = json!({
        "run_id": good.run_id(), "session_id": output.session_id, "agent": "echo", "status": "COMPLETED",
        "created_at": output.created_at, "started_at": output.started_at, "settled_at": output.settled_at,
    });
    assert_eq!(body["data"], data);

    let bad = runtime.submit(NewRun::new("fails", 1).user_id("u").webhook(receiver.url("/"))).await.unwrap();
    let told = receiver.told(2).await.remove(1);
    let body = verify(&told);
    assert_eq!((&body["type"], &body["data"]["user_id"]), (&json!("run.error"), &json!("u")));
    assert_eq!(body["data"]["error"], json!({"kind": "agent_error"}));
    assert_eq!(told_of(&told), bad.run_id().to_string());
    // Nothing else is under way when one that came later has been told.
    settled(&runtime.submit(NewRun::new("echo", "nobody is told")).await.unwrap()).await;
    submit(&runtime, &receiver.url("/last")).await;
    assert_eq!(receiver.told(3).await[2].line, "POST /last HTTP/1.1");
    runtime.shutdown(LONG).await;
}

async fn a_pause_is_told_and_then_how_the_run_has_settled(store: Store) {
    let receiver = Receiver::start(|_| "200 OK").await;
    let asks =
        Agent::builder("asks").code(async |cx: RunContext| cx.confirm("delete", "a.log").await.map(|_| "deleted"));
    let runtime = builder(store, quick().include_content(true)).agent(asks).start().await.unwrap();
    let run = runtime.submit(NewRun::new("asks", "go").webhook(receiver.url("/"))).await.unwrap();

    let paused = receiver.told(1).await.remove(0);
    let (body, output) = (verify(&paused), run.output().await.unwrap());
    assert_eq!((&body["type"], &body["timestamp"]), (&json!("run.paused"), &json!(output.paused_at)));
    assert_eq!(body["data"]["requirements"], json!(output.requirements));
    run.continue_run([Decision::confirm(output.requirements[0].requirement_id)]).await.unwrap();

    let settled = receiver.told(2).await.remove(1);
    assert_eq!(verify(&settled)["type"], json!("run.completed"));
    assert_ne!(settled.header("webhook-id"), paused.header("webhook-id"));
    runtime.shutdown(LONG).await;
}

async fn a_failed_delivery_is_tried_again_with_the_same_id_and_body(store: Store) {
    let receiver = Receiver::start(|n| ["500 Oh", "429 Later", "200 OK"][n.min(2)]).await;
    let runtime = start(store, quick()).await;
    submit(&runtime, &receiver.url("/")).await;
    let told = receiver.told(3).await;
    told.iter().for_each(|told| drop(verify(told)));
    assert!(told.iter().all(|again| again.header("webhook-id") == told[0].header("webhook-id")));
    assert!(told.iter().all(|again| again.body == told[0].body));

    submit(&runtime, &receiver.url("/next")).await;
    let told = receiver.told(4).await;
    assert_eq!(told[3].line, "POST /next HTTP/1.1", "what was taken is not told again");
    assert_ne!(told[3].header("webhook-id"), told[0].header("webhook-id"));
    runtime.shutdown(LONG).await;
}

async fn a_receiver_that_is_gone_is_told_nothing_more(store: Store) {
    let receiver = Receiver::start(|n| if n == 0 { "410 Gone" } else { "200 OK" }).await;
    let runtime = start(store, quick()).await;
    // The answer is noted soon after it was given: one or the other run may settle before.
    for n in 1..=20 {
        submit(&runtime, &receiver.url("/gone")).await;
        receiver.told(1).await;
        settled(&submit(&runtime, &receiver.url(&format!("/there/{n}"))).await).await;
        receiver.told_at(&format!("/there/{n}")).await;
    }
    let told = receiver.told_at("/gone").await;
    assert!((1..10).contains(&told), "{told}");
    runtime.shutdown(LONG).await;
}

async fn a_receiver_that_hangs_harms_nobody(store: Store) {
    let hanging = Receiver::start(|_| "").await;
    let receiver = Receiver::start(|_| "204 None").await;
    let runtime = start(store, quick().timeout(Duration::from_secs(100))).await;
    for n in 0..50 {
        settled(&submit(&runtime, &hanging.url(&format!("/{n}"))).await).await;
    }
    for _ in 0..10 {
        settled(&submit(&runtime, &receiver.url("/")).await).await;
    }
    receiver.told(10).await;
    assert!(hanging.count() < 8, "{} deliveries hang", hanging.count());
    soon(runtime.shutdown(LONG)).await;

    let runtime = start(Store::sqlite_in_memory(), quick().timeout(Duration::from_millis(50))).await;
    let before = hanging.count();
    submit(&runtime, &hanging.url("/again")).await;
    let told = hanging.told(before + 2).await;
    assert_eq!(told[before].header("webhook-id"), told[before + 1].header("webhook-id"));
    runtime.shutdown(LONG).await;
}

async fn a_redirect_is_not_followed(store: Store) {
    let receiver = Receiver::start(|n| if n == 0 { "307 Elsewhere\r\nlocation: /elsewhere" } else { "200 OK" }).await;
    let runtime = start(store, quick()).await;
    submit(&runtime, &receiver.url("/here")).await;
    let lines: Vec<String> = receiver.told(2).await.into_iter().map(|told| told.line).collect();
    assert_eq!(lines, ["POST /here HTTP/1.1"; 2]);
    runtime.shutdown(LONG).await;
}

async fn a_cancelled_run_is_told_of_as_well(store: Store) {
    let receiver = Receiver::start(|_| "200 OK").await;
    let gate = Gate::new();
    let runtime = builder(store, quick()).agent(gated(&gate)).max_running(1).start().await.unwrap();
    let live = runtime.submit(NewRun::new("gated", 1).webhook(receiver.url("/live"))).await.unwrap();
    gate.arrivals(1).await;
    let waiting = runtime.submit(NewRun::new("gated", 2).webhook(receiver.url("/waiting"))).await.unwrap();
    assert_eq!(waiting.cancel().await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(live.cancel().await.unwrap(), CancelOutcome::Cancelled);
    for told in receiver.told(2).await {
        assert_eq!(verify(&told)["type"], json!("run.cancelled"));
    }
    runtime.shutdown(LONG).await;
}

async fn a_run_says_whom_to_tell_instead_of_its_agent(store: Store) {
    let receiver = Receiver::start(|_| "200 OK").await;
    let agent = Agent::builder("told").model(ScriptedModel::echo()).webhook(receiver.url("/agent"));
    let runtime = builder(store, quick().include_content(true)).agent(agent).start().await.unwrap();
    settled(&runtime.submit(NewRun::new("told", "Paris")).await.unwrap()).await;
    let told = receiver.told(1).await.remove(0);
    assert_eq!((told.line.as_str(), &verify(&told)["data"]["content"]), ("POST /agent HTTP/1.1", &json!("Paris")));
    runtime.submit(NewRun::new("told", "Paris").webhook(receiver.url("/run"))).await.unwrap();
    assert_eq!(receiver.told(2).await[1].line, "POST /run HTTP/1.1");

    // What is asked of a run is part of what is asked.
    let run = NewRun::new("told", "x").run_id(greenroom::RunId::new());
    runtime.submit(run.clone()).await.unwrap();
    let error = runtime.submit(run.webhook(receiver.url("/other"))).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error}");
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_webhook_is_refused_where_nobody_would_be_told() {
    let refused = |error: Error| matches!(&error, Error::Invalid(invalid) if invalid.field() == "webhook");
    let echo = || Agent::builder("echo").model(ScriptedModel::echo());
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(echo()).start().await.unwrap();
    let run = || NewRun::new("echo", "x");
    assert!(refused(runtime.submit(run().webhook("https://example.org/")).await.unwrap_err()));
    runtime.shutdown(LONG).await;

    let agent = echo().webhook("https://example.org/");
    let error = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await.unwrap_err();
    assert!(error.to_string().contains("`webhooks`"), "{error}");
    assert!(echo().webhook("ftp://example.org/").build().is_err());
    let error = builder(Store::sqlite_in_memory(), WebhookOptions::new("my-secret")).start().await.unwrap_err();
    assert!(error.to_string().contains("`webhooks`") && !error.to_string().contains("my-secret"), "{error}");

    let runtime = start(Store::sqlite_in_memory(), quick()).await;
    assert!(refused(runtime.submit(run().webhook("https://me:my-secret@example.org/")).await.unwrap_err()));
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn what_was_not_delivered_is_delivered_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Store::sqlite(folder.path().join("greenroom.db"));
    let receiver = Receiver::start(|n| if n == 0 { "503 Later" } else { "200 OK" }).await;
    // The first one looks once, when the run settles, and never again.
    let first = builder(store(), quick()).poll_interval(Duration::from_secs(3600)).start().await.unwrap();
    submit(&first, &receiver.url("/")).await;
    receiver.told(1).await;
    // Whatever it still writes, it writes before its store is closed.
    first.shutdown(LONG).await;
    drop(first);

    let second = start(store(), quick()).await;
    let told = receiver.told(2).await;
    assert_eq!((told[0].header("webhook-id"), &told[0].body), (told[1].header("webhook-id"), &told[1].body));
    second.shutdown(LONG).await;
}

#[tokio::test]
async fn two_processes_tell_of_each_run_once() {
    let database = fresh_database().await;
    let store = || Store::from(PostgresOptions::new(database.url()));
    let receiver = Receiver::start(|_| "200 OK").await;
    let (one, other) = (start(store(), quick()).await, start(store(), quick()).await);
    for n in 0..40 {
        submit(if n % 2 == 0 { &one } else { &other }, &receiver.url("/")).await;
    }
    let mut runs: Vec<String> = receiver.told(40).await.iter().map(told_of).collect();
    one.shutdown(LONG).await;
    // What is told twice is told before this one.
    submit(&other, &receiver.url("/last")).await;
    let told = receiver.told(41).await;
    assert_eq!((told.len(), told[40].line.as_str()), (41, "POST /last HTTP/1.1"));
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len(), 40);
    other.shutdown(LONG).await;
}

#[tokio::test]
async fn what_is_not_public_is_not_told_unless_it_is_allowed() {
    let database = fresh_database().await;
    let receiver = Receiver::start(|_| "200 OK").await;
    let strict = quick().allow_private_addresses(false);
    let runtime = start(Store::postgres(database.url()), strict).await;
    let port = receiver.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let run = submit(&runtime, &format!("http://{host}:{port}/")).await;
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
    }
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let tried = "SELECT count(*) FROM greenroom.webhook_deliveries WHERE attempts > 2";
    soon(async {
        while client.query_one(tried, &[]).await.unwrap().get::<_, i64>(0) < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(receiver.connections(), 0);
    runtime.shutdown(LONG).await;

    let runtime = start(Store::postgres(database.url()), quick()).await;
    receiver.told(1).await;
    runtime.shutdown(LONG).await;
}
