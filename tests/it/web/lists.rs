//! Lists of runs over HTTP.

use greenroom::{Agent, NewRun, RunId, Runtime, ScriptedModel, Store};
use serde_json::{Value, json};

use super::{Service, submitted};
use crate::support::{Gate, gated, on_each_store, settled};

on_each_store!(each_parameter_leaves_out_what_does_not_meet_it, pages_hold_each_run_once);

fn ids(body: &Value) -> Vec<RunId> {
    let runs = body["runs"].as_array().unwrap();
    runs.iter().map(|run| run["run_id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn start(store: Store) -> Runtime {
    let builder = Runtime::builder().store(store).agent(gated(&Gate::new()));
    builder.agent(Agent::builder("echo").model(ScriptedModel::echo())).start().await.unwrap()
}

async fn each_parameter_leaves_out_what_does_not_meet_it(store: Store) {
    let runtime = start(store).await;
    let service = Service::of(&runtime);
    let old = submitted(&runtime, NewRun::new("echo", "old").session_id("s/1").user_id("ann")).await;
    settled(&old).await;
    let young = submitted(&runtime, NewRun::new("gated", "young").session_id("s 2").user_id("bob")).await;
    let created = runtime.get(young.run_id()).await.unwrap().unwrap().output.created_at;
    let created = created.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let (old, young) = (old.run_id(), young.run_id());

    for (path, expected) in [
        ("/runs", &[young, old][..]),
        ("/runs?agent=echo", &[old]),
        ("/runs?status=COMPLETED", &[old]),
        ("/runs?session_id=s%2F1", &[old]),
        ("/runs?session_id=nothing", &[]),
        ("/runs?user_id=bob", &[young]),
        ("/runs?user_id=bob&agent=echo", &[]),
        (&format!("/runs?created_from={created}"), &[young]),
        (&format!("/runs?created_until={created}"), &[old]),
        ("/sessions/s%2F1/runs", &[old]),
        ("/sessions/s%202/runs?agent=gated", &[young]),
        ("/sessions/s%202/runs?agent=echo", &[]),
        ("/sessions/nothing/runs", &[]),
    ] {
        let page = service.get(path).await;
        assert_eq!((page.status.as_u16(), ids(&page.body)), (200, expected.to_vec()), "{path}");
        assert_eq!(page.body.get("next"), None, "{path}");
    }
}

async fn pages_hold_each_run_once(store: Store) {
    let runtime = start(store).await;
    let service = Service::of(&runtime);
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(submitted(&runtime, NewRun::new("gated", "hi").session_id("s")).await.run_id());
    }
    all.reverse();

    for list in ["/runs?limit=2", "/sessions/s/runs?limit=2"] {
        let (mut seen, mut path) = (Vec::new(), list.to_owned());
        loop {
            let page = service.get(&path).await;
            seen.extend(ids(&page.body));
            let Some(next) = page.body.get("next") else { break };
            path = format!("{list}&after={}", next.as_str().unwrap());
        }
        assert_eq!(seen, all, "{list}");
    }
}

#[tokio::test]
async fn what_may_be_large_is_listed_when_it_is_asked_for() {
    let runtime = start(Store::sqlite_in_memory()).await;
    let service = Service::of(&runtime);
    let run =
        submitted(&runtime, NewRun::new("echo", "hi").metadata(json!({"k": 1}).as_object().cloned().unwrap())).await;
    settled(&run).await;

    for (query, input, content) in [
        ("", None, None),
        ("?include=input", Some("hi"), None),
        ("?include=content", None, Some("hi")),
        ("?include=input,content", Some("hi"), Some("hi")),
    ] {
        let listed = &service.get(&format!("/runs{query}")).await.body["runs"][0];
        let text = |field: &str| listed.get(field).map(|value| value.as_str().unwrap().to_owned());
        assert_eq!((text("input").as_deref(), text("content").as_deref()), (input, content), "{query}");
        assert_eq!((&listed["status"], &listed["metadata"]), (&json!("COMPLETED"), &json!({"k": 1})));
    }
}

#[tokio::test]
async fn runs_are_counted_by_their_status() {
    let gate = Gate::new();
    let runtime = crate::support::start(Store::sqlite_in_memory(), gated(&gate)).await;
    let service = Service::of(&runtime);
    let cancelled = submitted(&runtime, NewRun::new("gated", "hi")).await;
    submitted(&runtime, NewRun::new("gated", "hi")).await;
    gate.arrivals(2).await;
    runtime.cancel(cancelled.run_id()).await.unwrap();

    let answer = service.get("/runs/counts").await;

    let counts = json!({"PENDING": 0, "RUNNING": 1, "PAUSED": 0, "COMPLETED": 0, "CANCELLED": 1, "ERROR": 0});
    assert_eq!((answer.status.as_u16(), answer.body), (200, json!({"counts": counts})));
    let unknown = service.get("/runs/counts?agent=gated").await;
    unknown.assert_problem(400, "invalid-parameter");
    assert_eq!(unknown.body["parameter"], "agent");
}
