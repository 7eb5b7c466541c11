//! Runs that are submitted and read over HTTP.

use std::time::Duration;

use greenroom::{Agent, Run, RunContext, RunId, RunStatus, Runtime, Store, web::Door};
use reqwest::Method;
use serde_json::json;

use super::{Answer, Service};
use crate::support::{Gate, gated, on_each_store, soon, start};

on_each_store!(a_run_is_submitted_with_all_its_fields_and_read_where_its_location_says);

async fn a_run_is_submitted_with_all_its_fields_and_read_where_its_location_says(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    let service = Service::of(&runtime);
    let run_id = RunId::new();
    let body = json!({
        "input": {"question": "What is the capital of France?"}, "session_id": "trip", "run_id": run_id, "user_id": "ann",
        "metadata": {"from": "test"}, "priority": 7, "timeout": 12.5,
    });

    let submitted = service.post("/agents/gated/runs", &body).await;

    assert_eq!(submitted.status, 202, "{submitted:?}");
    assert_eq!(submitted.header("location"), format!("/api/runs/{run_id}"));
    assert_eq!(submitted.header("cache-control"), "no-store");
    assert_eq!(submitted.body["status"], "PENDING");
    for field in ["input", "session_id", "run_id", "user_id", "metadata", "priority", "timeout"] {
        assert_eq!(submitted.body[field], body[field], "{field}");
    }
    gate.arrivals(1).await;
    gate.open(1);
    let read = service.get(&format!("/runs/{run_id}?wait=30")).await;
    assert_eq!((read.status.as_u16(), &read.body["status"]), (200, &json!("COMPLETED")));
    assert_eq!(read.body["content"], body["input"]);
    let run: Run = serde_json::from_value(read.body).unwrap();
    assert_eq!(run, runtime.get(run_id).await.unwrap().unwrap(), "the body reads as a run");
}

#[tokio::test]
async fn a_run_for_later_waits_for_its_time() {
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let service = Service::of(&runtime);
    let run_at = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();

    let submitted = service.post("/agents/gated/runs", &json!({"input": "hi", "run_at": run_at})).await;

    let run: Run = serde_json::from_value(submitted.body).unwrap();
    assert_eq!((submitted.status.as_u16(), run.run_at.timestamp_micros()), (202, micros(&run_at)));
    assert_eq!(run.attempt, 0, "nobody has taken it up");
}

fn micros(time: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros()
}

#[tokio::test]
async fn what_is_left_out_is_made_up() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    let service = Service::of(&runtime);

    let submitted = service.post("/agents/gated/runs", &json!({"input": "hi", "timeout": null})).await;

    assert_eq!(submitted.status, 202);
    let run = runtime.get(submitted.run_id()).await.unwrap().unwrap();
    assert_eq!(run.output.session_id.as_str(), submitted.body["session_id"]);
    assert_eq!((run.priority, run.timeout, run.output.user_id), (0, None, None));
    assert_eq!(submitted.body.get("timeout"), None);
}

#[tokio::test]
async fn the_same_submit_with_the_same_id_is_one_run_and_another_is_a_conflict() {
    let gate = Gate::new();
    let service = Service::of(&start(Store::sqlite_in_memory(), gated(&gate)).await);
    let body = json!({"input": "hi", "run_id": RunId::new()});

    let first = service.post("/agents/gated/runs", &body).await;
    gate.open(1);
    let settled = service.get(&format!("/runs/{}?wait=30", first.run_id())).await;
    let again = service.post("/agents/gated/runs", &body).await;
    let other = service.post("/agents/gated/runs", &json!({"input": "ho", "run_id": body["run_id"]})).await;

    assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 202));
    assert_eq!(again.body, settled.body, "with the status that it has by now");
    other.assert_problem(409, "conflict");
    assert_eq!(other.body["run_id"], body["run_id"]);
}

#[tokio::test]
async fn a_preferred_wait_is_answered_with_the_result_or_when_its_time_is_up() {
    let gate = Gate::new();
    let service = Service::of(&start(Store::sqlite_in_memory(), gated(&gate)).await);
    let submit = |wait: &str| {
        service.ask(Method::POST, "/agents/gated/runs").header("Prefer", wait).json(&json!({"input": "hi"}))
    };

    let waiting = tokio::spawn(submit("respond-async, wait=30").send());
    gate.arrivals(1).await;
    gate.open(1);
    let settled = Answer::read(soon(waiting).await.unwrap().unwrap()).await;
    let pending = Answer::to(submit("wait=0")).await;

    assert_eq!((settled.status.as_u16(), settled.header("preference-applied")), (200, "wait=30"));
    assert_eq!((&settled.body["status"], &settled.body["content"]), (&json!("COMPLETED"), &json!("hi")));
    assert_eq!(settled.header("location"), format!("/api/runs/{}", settled.run_id()));
    assert_eq!((pending.status.as_u16(), &pending.body["status"]), (202, &json!("PENDING")));
}

#[tokio::test]
async fn nobody_waits_longer_than_the_door_lets_them() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    let service = Service::behind(Door::new(runtime).max_wait(Duration::from_millis(20)));
    let submit = service.ask(Method::POST, "/agents/gated/runs").header("Prefer", "wait=86400");

    let submitted = Answer::to(submit.json(&json!({"input": "hi"}))).await;
    gate.arrivals(1).await;
    let read = service.get(&format!("/runs/{}?wait=4294967295", submitted.run_id())).await;

    assert_eq!(submitted.status, 202);
    assert_eq!((read.status.as_u16(), &read.body["status"]), (200, &json!("RUNNING")));
}

#[tokio::test]
async fn a_wait_that_is_over_shows_what_the_run_has_come_to_by_then() {
    let asking = Agent::builder("asking").code(|cx: RunContext| async move {
        for number in 0.. {
            cx.confirm("again", number).await?;
        }
        Ok(())
    });
    let service = Service::of(&start(Store::sqlite_in_memory(), asking).await);
    let run = service.post("/agents/asking/runs", &json!({"input": "hi"})).await;
    let path = format!("/runs/{}", run.run_id());
    let asked_for = async |number: usize| {
        soon(async {
            loop {
                let read = service.get(&path).await;
                if read.body["requirements"][0]["details"] == number {
                    return read.body["requirements"][0]["requirement_id"].clone();
                }
            }
        })
        .await
    };
    // A wait that is over before the run has gone on says nothing: then it is tried with a longer one.
    for (number, seconds) in [1, 4, 16, 64].into_iter().enumerate() {
        let decided = asked_for(number).await;
        let waiting = tokio::spawn(service.ask(Method::GET, &format!("{path}?wait={seconds}")).send());
        let decision = json!({"decisions": [{"requirement_id": decided, "confirmed": true}]});
        assert_eq!(service.post(&format!("{path}/continue"), &decision).await.status, 202);
        let next = asked_for(number + 1).await;
        if !waiting.is_finished() {
            let waited = Answer::read(soon(waiting).await.unwrap().unwrap()).await;
            assert_eq!(
                (&waited.body["status"], &waited.body["requirements"][0]["requirement_id"]),
                (&json!("PAUSED"), &next)
            );
            return;
        }
    }
    panic!("the run has not gone on within any wait");
}

#[tokio::test]
async fn a_run_is_found_only_in_its_session() {
    let gate = Gate::new();
    let service = Service::of(&start(Store::sqlite_in_memory(), gated(&gate)).await);
    let run = service.post("/agents/gated/runs", &json!({"input": "hi", "session_id": "a b&c"})).await;

    let inside = service.get(&format!("/runs/{}?session_id=a+b%26c", run.run_id())).await;
    let outside = service.get(&format!("/runs/{}?session_id=other", run.run_id())).await;

    assert_eq!((inside.status.as_u16(), inside.run_id()), (200, run.run_id()));
    outside.assert_problem(404, "unknown-run");
    assert_eq!(outside.body["run_id"], run.body["run_id"]);
}

#[tokio::test]
async fn the_agents_are_told() {
    let gate = Gate::new();
    let builder = Runtime::builder().store(Store::sqlite_in_memory());
    let builder = builder
        .agent(gated(&gate))
        .agent(Agent::builder("a/b %").description("odd").model(greenroom::ScriptedModel::echo()));
    let service = Service::of(&builder.start().await.unwrap());

    let (odd, plain) = (json!({"name": "a/b %", "description": "odd"}), json!({"name": "gated"}));
    assert_eq!(service.get("/agents").await.body, json!({"agents": [odd, plain]}));
    assert_eq!(service.get("/agents/gated").await.body, plain);
    assert_eq!(service.get("/agents/a%2Fb%20%25").await.body, odd);
    let run = service.post("/agents/a%2Fb%20%25/runs", &json!({"input": "hi"})).await;
    assert_eq!((run.status.as_u16(), &run.body["agent"]), (202, &json!("a/b %")));
    assert_eq!(run.header("location"), format!("/api/runs/{}", run.run_id()));
    assert_eq!(run.body["status"], RunStatus::Pending.to_string());
}

#[tokio::test]
async fn a_key_makes_a_submit_that_can_be_repeated() {
    let gate = Gate::new();
    let service = Service::of(&start(Store::sqlite_in_memory(), gated(&gate)).await);
    let submit = |key: &str, input: &str| {
        let request = service.ask(Method::POST, "/agents/gated/runs").header("Idempotency-Key", key);
        Answer::to(request.json(&json!({"input": input})))
    };

    let first = submit("\"one\"", "hi").await;
    let again = submit("one", "hi").await;
    let other_key = submit("\"two\"", "hi").await;
    let other_run = submit("\"one\"", "ho").await;

    assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 202));
    assert_eq!(first.run_id(), again.run_id());
    assert_ne!(first.run_id(), other_key.run_id());
    other_run.assert_problem(422, "idempotency-key-reused");
}
