//! What the door tells in numbers. The recorder is that of the process, and so of all tests in it: agents here have names
//! that no other test's have.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpRequest;
use greenroom::web::Door;
use greenroom::{
    Agent, AgentBuilder, AgentError, CrashPolicy, NewRun, Prometheus, RetryPolicy, RunContext, RunId, RunStatus,
    Runtime, RuntimeBuilder, ScriptedModel, ScriptedTurn, Store, Usage, UserId, WebhookOptions,
};
use reqwest::Method;
use serde_json::json;
use tokio_postgres::NoTls;

use super::{Answer, Service, submitted};
use crate::postgres::{Server, fresh_database};
use crate::support::{Gate, LONG, has_spoken, idle, settled, soon};
use crate::webhooks::receiver::Receiver;

mod exposition;

use self::exposition::Exposition;

/// The tables that users have of the metrics.
const PAGE: &str = include_str!("../../../docs/metrics.md");

fn prometheus() -> Prometheus {
    Prometheus::install().unwrap()
}

fn builder(store: Store) -> RuntimeBuilder {
    prometheus();
    Runtime::builder().store(store).poll_interval(Duration::from_millis(10))
}

async fn scrape(service: &Service) -> Exposition {
    let answer = soon(service.ask(Method::GET, "/metrics").send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    Exposition::parse(&soon(answer.text()).await.unwrap())
}

/// Scrapes until one sample has this value.
async fn until(service: &Service, name: &str, labels: &[(&str, &str)], expected: impl Fn(f64) -> bool) {
    soon(async {
        while !scrape(service).await.value(name, labels).is_some_and(&expected) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// An agent that waits at a gate, of which this process takes up one run at a time.
fn gated(name: &str, gate: &Gate) -> AgentBuilder {
    let gate = gate.clone();
    let code = move |cx: RunContext| {
        let gate = gate.clone();
        async move {
            cx.emit_text("at work").await;
            gate.pass().await;
            Ok(cx.input().clone())
        }
    };
    Agent::builder(name).code(code).max_running(1)
}

#[tokio::test]
async fn a_life_is_told_in_numbers() {
    let database = fresh_database().await;
    let usage = Usage { input_tokens: 11, output_tokens: 7, total_tokens: 18, ..Usage::default() };
    let model = ScriptedModel::new([ScriptedTurn::text("Paris.").usage(usage)]);
    let fails =
        Agent::builder("metered-failing").code(|_: RunContext| async { Err::<(), _>(AgentError::new("broken")) });
    let gate = Gate::new();
    let runtime = builder(Store::postgres(database.url()))
        .agent(Agent::builder("metered-model").model(model))
        .agent(fails.retry(RetryPolicy::new(Duration::from_millis(1))).on_crash(CrashPolicy::Restart))
        .agent(gated("metered-gated", &gate))
        .start()
        .await
        .unwrap();
    let service = Service::behind(Door::new(runtime.clone()).metrics(prometheus()));

    let completed = submitted(&runtime, NewRun::new("metered-model", "Where?")).await;
    settled(&completed).await;
    let failed = submitted(&runtime, NewRun::new("metered-failing", "x").max_attempts(3)).await;
    assert_eq!(settled(&failed).await.status, RunStatus::Error);
    let live = submitted(&runtime, NewRun::new("metered-gated", 1)).await;
    has_spoken(&live).await;
    let waiting = submitted(&runtime, NewRun::new("metered-gated", 2)).await;
    let reader = soon(service.ask(Method::GET, &format!("/runs/{}/events", live.run_id())).send()).await.unwrap();
    let gated = [("agent", "metered-gated")];
    until(&service, "greenroom_runs_waiting", &gated, |depth| depth == 1.0).await;
    until(&service, "greenroom_runs_waiting_oldest_seconds", &gated, |age| age > 0.0 && age < 1000.0).await;
    until(&service, "greenroom_event_readers", &[], |readers| readers >= 1.0).await;
    assert_eq!(scrape(&service).await.value("greenroom_runs_running", &gated), Some(1.0));
    drop(reader);
    waiting.cancel().await.unwrap();
    live.cancel().await.unwrap();
    settled(&live).await;
    // A duration is told just after it is over.
    let cancelled = [gated[0], ("outcome", "cancelled")];
    until(&service, "greenroom_run_duration_seconds_count", &cancelled, |count| count == 1.0).await;
    until(&service, "greenroom_runs_running", &gated, |running| running == 0.0).await;
    until(&service, "greenroom_runs_waiting", &gated, |depth| depth == 0.0).await;

    let (model, failing) = (("agent", "metered-model"), ("agent", "metered-failing"));
    for (name, labels, expected) in [
        ("greenroom_runs_accepted_total", vec![model], 1.0),
        ("greenroom_runs_accepted_total", vec![gated[0]], 2.0),
        ("greenroom_run_start_seconds_count", vec![model], 1.0),
        // Only the first start is one that somebody waited for.
        ("greenroom_run_start_seconds_count", vec![failing], 1.0),
        ("greenroom_run_start_seconds_count", vec![gated[0]], 1.0),
        ("greenroom_run_duration_seconds_count", vec![model, ("outcome", "completed")], 1.0),
        ("greenroom_run_duration_seconds_count", vec![failing, ("outcome", "retrying")], 2.0),
        ("greenroom_run_duration_seconds_count", vec![failing, ("outcome", "error")], 1.0),
        ("greenroom_run_retries_total", vec![failing], 2.0),
        ("greenroom_tokens_total", vec![model, ("model", "scripted"), ("direction", "input")], 11.0),
        ("greenroom_tokens_total", vec![model, ("model", "scripted"), ("direction", "output")], 7.0),
    ] {
        until(&service, name, &labels, |value| value == expected).await;
    }
    let told = scrape(&service).await;
    for (name, labels) in [
        ("greenroom_cancel_seconds_count", vec![("outcome", "cancelled")]),
        ("greenroom_batch_size_count", vec![]),
        ("greenroom_batch_seconds_count", vec![]),
        ("greenroom_pool_wait_seconds_count", vec![]),
    ] {
        assert!(told.value(name, &labels).unwrap() >= 1.0, "{name}");
    }
    assert!(told.value("greenroom_hints_listening", &[]).is_some());
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_lease_and_what_follows_from_its_end_are_told_in_numbers() {
    let database = fresh_database().await;
    let gate = Gate::new();
    let start = |agent: AgentBuilder| {
        builder(Store::postgres(database.url())).agent(agent).lease_ttl(Duration::from_millis(900)).start()
    };
    let first = start(gated("metered-rescued", &gate).on_crash(CrashPolicy::Restart)).await.unwrap();
    // It takes over what others leave, and knows no agent that could run it.
    let second = start(idle()).await.unwrap();
    let service = Service::behind(Door::new(second.clone()).metrics(prometheus()));
    let rescued = [("outcome", "requeued")];
    let before = scrape(&service).await.value("greenroom_rescues_total", &rescued).unwrap_or_default();
    let run = submitted(&first, NewRun::new("metered-rescued", 1)).await;
    has_spoken(&run).await;
    drop((run, first));

    until(&service, "greenroom_rescues_total", &rescued, |count| count > before).await;
    until(&service, "greenroom_lease_renewals_total", &[("outcome", "granted")], |count| count > 0.0).await;
    until(&service, "greenroom_hints_heard_total", &[], |count| count > 0.0).await;
    second.shutdown(Duration::ZERO).await;
}

/// Waits until a counter, which all tests of the process share, has grown from what it was.
async fn until_more(service: &Service, name: &str, labels: &[(&str, &str)], before: &Exposition) {
    let before = before.value(name, labels).unwrap_or_default();
    until(service, name, labels, |count| count > before).await;
}

#[tokio::test]
async fn a_lease_that_others_have_ended_is_counted_as_lost() {
    let database = fresh_database().await;
    let store = Store::postgres(database.url());
    let runtime = builder(store).agent(idle()).lease_ttl(Duration::from_millis(900)).start().await.unwrap();
    let service = Service::behind(Door::new(runtime.clone()).metrics(prometheus()));
    let before = scrape(&service).await;
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);

    client.batch_execute("DELETE FROM greenroom.nodes").await.unwrap();

    until_more(&service, "greenroom_leases_lost_total", &[], &before).await;
    runtime.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_batch_that_the_database_did_not_take_is_counted() {
    let Some(server) = Server::start().await else { return };
    let runtime = builder(Store::postgres(server.url())).agent(idle()).start().await.unwrap();
    let service = Service::behind(Door::new(runtime.clone()).metrics(prometheus()));
    let before = scrape(&service).await;
    let gate = Gate::new();
    server.stop_immediately().await;
    let (submitting, arrived) = (runtime.clone(), gate.clone());
    let submit = tokio::spawn(async move {
        arrived.arrive();
        submitting.submit(NewRun::new("idle", 1)).await
    });
    gate.arrivals(1).await;

    until_more(&service, "greenroom_batch_failures_total", &[], &before).await;
    submit.abort();
    server.start_again().await;
    runtime.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn what_became_of_webhooks_is_counted() {
    let retry = RetryPolicy::new(Duration::from_millis(10));
    let options = WebhookOptions::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").allow_private_addresses(true);
    let runtime = builder(Store::sqlite_in_memory())
        .agent(Agent::builder("metered-told").model(ScriptedModel::echo()))
        .webhooks(options.retry(retry))
        .start()
        .await
        .unwrap();
    let service = Service::behind(Door::new(runtime.clone()).metrics(prometheus()));
    let before = scrape(&service).await;
    let slow = Receiver::start(|n| if n == 0 { "503 Service Unavailable" } else { "200 OK" }).await;
    let gone = Receiver::start(|_| "410 Gone").await;

    for receiver in [&slow, &gone] {
        let run = NewRun::new("metered-told", "hi").webhook(receiver.url("/"));
        settled(&submitted(&runtime, run).await).await;
    }

    for outcome in ["again", "taken", "gone"] {
        let labels = [("outcome", outcome)];
        until_more(&service, "greenroom_webhook_deliveries_total", &labels, &before).await;
    }
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn what_is_told_is_what_the_page_says() {
    let runtime = builder(Store::sqlite_in_memory())
        .agent(Agent::builder("metered-paged").model(ScriptedModel::echo()))
        .start()
        .await
        .unwrap();
    let service = Service::behind(Door::new(runtime.clone()).metrics(prometheus()));
    let run = submitted(&runtime, NewRun::new("metered-paged", "hi").user_id("ann")).await;
    settled(&run).await;
    runtime.cancel(RunId::new()).await.unwrap();
    until(
        &service,
        "greenroom_run_duration_seconds_count",
        &[("agent", "metered-paged"), ("outcome", "completed")],
        |n| n == 1.0,
    )
    .await;

    let told = scrape(&service).await;

    let rows: BTreeMap<&str, Vec<&str>> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `greenroom_"))
        .map(|line| (line.split('`').nth(1).unwrap(), line.split(" | ").collect()))
        .collect();
    let mut seen = 0;
    for family in told.families().filter(|family| family.name.starts_with("greenroom_")) {
        let row = rows.get(family.name.as_str()).unwrap_or_else(|| panic!("{} is not on the page", family.name));
        assert_eq!((row[1], family.help.as_str()), (family.kind.as_str(), row[3].trim_end_matches(" |")));
        seen += 1;
        for (name, value) in family.labels().filter(|(name, _)| name != "le") {
            assert!(row[2].contains(&format!("`{name}`")), "{}: {name}", family.name);
            assert!(
                name == "agent" || name == "model" || PAGE.contains(&format!("`{value}`")),
                "{}: {name}={value}",
                family.name
            );
            assert!(value.parse::<RunId>().is_err() && value != "ann", "{name}={value}");
        }
    }
    assert!(seen >= 9, "only {seen} metrics are told");
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn numbers_are_told_behind_the_token_and_never_to_users() {
    let agent = Agent::builder("echo").model(ScriptedModel::echo());
    let runtime = builder(Store::sqlite_in_memory()).agent(agent).start().await.unwrap();
    let without = Service::of(&runtime);
    without.get("/metrics").await.assert_problem(404, "not-found");
    let door = Door::new(runtime.clone()).metrics(Prometheus::rendered_by(|| "mine 1\n".to_owned()));
    let guarded = Service::behind(door.clone().bearer_token("secret".to_owned()));
    guarded.get("/metrics").await.assert_problem(401, "unauthorized");
    let let_in = soon(guarded.ask(Method::GET, "/metrics").bearer_auth("secret").send()).await.unwrap();
    assert_eq!((let_in.status().as_u16(), let_in.text().await.unwrap().as_str()), (200, "mine 1\n"));
    let users = Service::behind(door.user(|_: &HttpRequest| Ok::<_, actix_web::Error>(Some(UserId::from("ann")))));
    users.get("/metrics").await.assert_problem(404, "not-found");
    let posted = Answer::to(without.ask(Method::POST, "/metrics").json(&json!({}))).await;
    assert_eq!(posted.status, 405);
    runtime.shutdown(LONG).await;
}
