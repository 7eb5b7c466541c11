//! Every answer that the document knows of is one that is given.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use actix_web::HttpRequest;
use greenroom::web::Door;
use greenroom::{
    Agent, AgentError, InputKind, Prometheus, Question, RunContext, RunId, Runtime, ScriptedModel, SessionPolicy,
    Store, UserId,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::Document;
use crate::support::{Gate, LONG, gated, on_each_store, soon};
use crate::web::{Answer, Service};

/// What it takes a defect, a full memory or a database that is away to be told. Other tests tell how those look.
fn hard_to_come_by(answer: &str) -> bool {
    // A submit gives the last three as well, and a resumption is one.
    let of_submits = ["resume_run 404 unknown-agent", "resume_run 409 conflict", "resume_run 409 session-busy"];
    let kinds = [" internal", " unavailable", " overloaded"];
    kinds.iter().any(|kind| answer.ends_with(kind)) || of_submits.contains(&answer)
}

/// Asks, and remembers what was answered.
struct Asker<'a> {
    service: &'a Service,
    document: &'static Document,
    seen: &'a Mutex<BTreeSet<String>>,
}

impl<'a> Asker<'a> {
    async fn new(service: &'a Service, seen: &'a Mutex<BTreeSet<String>>) -> Self {
        Self { service, document: Document::at(&service.url("/api")).await, seen }
    }

    async fn ask(&self, method: Method, path: &str, with: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Answer {
        let request = with(self.service.ask(method.clone(), path));
        let response = soon(request.send()).await.unwrap();
        let is_text = |kind: &reqwest::header::HeaderValue| kind.as_bytes().starts_with(b"text/");
        let answer = if response.headers().get("content-type").is_some_and(is_text) {
            let (status, headers) = (response.status(), response.headers().clone());
            Answer { status, headers, body: json!(soon(response.text()).await.unwrap()) }
        } else {
            Answer::read(response).await
        };
        let bare = path.split('?').next().unwrap();
        let media_type = answer.header("content-type");
        let name = self.document.check(&method, bare, answer.status.as_u16(), media_type, &answer.body);
        self.seen.lock().unwrap().insert(name.expect("the document knows the operation"));
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, |request| request).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, |request| request.json(&body)).await
    }

    /// Everything that can be asked of a run.
    async fn gets(&self, run_id: &str) {
        for path in
            ["/agents", "/agents/echo", "/runs", "/runs/counts", "/healthz", "/readyz", "/openapi.json", "/metrics"]
        {
            self.get(path).await;
        }
        self.get(&format!("/runs/{run_id}")).await;
        self.get(&format!("/runs/{run_id}/events")).await;
        self.get("/sessions/s/runs?include=input,content&limit=1").await;
        self.get("/sessions/s").await;
        self.post(&format!("/runs/{run_id}/cancel"), json!({})).await;
        self.post(&format!("/runs/{run_id}/continue"), json!({"decisions": []})).await;
        self.post(&format!("/runs/{run_id}/resume"), json!({})).await;
        self.post("/agents/echo/runs", json!({"input": "hi"})).await;
    }
}

/// The run as soon as it has this status.
async fn with_status(asker: &Asker<'_>, path: &str, status: &str) -> Value {
    soon(async {
        loop {
            let seen = asker.get(path).await.body;
            if seen["status"] == status {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Has two runs paused, and decides about them.
async fn decides(asker: &Asker<'_>) {
    for (prefer, status) in [("wait=30", 200), ("respond-async", 202)] {
        let run = asker.post("/agents/asks/runs", json!({"input": 1})).await;
        let path = format!("/runs/{}", run.run_id());
        let paused = with_status(asker, &path, "PAUSED").await;
        let id = |place: usize| &paused["requirements"][place]["requirement_id"];
        let decisions = json!({"decisions": [
            {"requirement_id": id(0), "confirmed": status == 200, "note": "gladly"},
            {"requirement_id": id(1), "value": {"name": "a", "size": 3}},
        ]});
        let go_on = format!("{path}/continue");
        let decide = |request: RequestBuilder| request.header("prefer", prefer).json(&decisions);
        assert_eq!(asker.ask(Method::POST, &go_on, decide).await.status, status);
        assert_eq!(asker.ask(Method::POST, &go_on, decide).await.status, 409);
        let done = with_status(asker, &path, "COMPLETED").await;
        assert_eq!(done["content"][0], json!(status == 200));
        asker.get(&format!("{path}/events")).await;
    }
}

on_each_store!(every_answer_that_the_document_knows_of_is_given_as_it_says,);

async fn every_answer_that_the_document_knows_of_is_given_as_it_says(store: Store) {
    let gate = Gate::new();
    let echo = Agent::builder("echo").model(ScriptedModel::echo()).description("Says it again.");
    let fails =
        Agent::builder("fails").code(|_: RunContext| async { Err::<(), _>(AgentError::new("broken").permanent()) });
    let busy = gated(&gate).sessions(SessionPolicy::Refuse);
    let asks = Agent::builder("asks").code(|cx: RunContext| async move {
        let form = Question::new("Which one?").field("name", InputKind::Text).optional("size", InputKind::Integer);
        let (said, answer) = tokio::join!(cx.confirm("delete", "it"), cx.ask::<Value>("which", form));
        Ok(json!([said?.confirmed, answer?]))
    });
    let builder = Runtime::builder().store(store).agent(echo).agent(fails).agent(busy).agent(asks);
    let runtime = builder.max_running(3).max_waiting(1).max_intents(1).start().await.unwrap();
    let door = Door::new(runtime.clone());
    let told = door.clone().metrics(Prometheus::install().unwrap());
    let (open, small) = (Service::behind(told), Service::behind(door.clone().max_body(50)));
    let guarded = Service::behind(door.clone().bearer_token("secret".to_owned()));
    let owned = Service::behind(door.user(|_: &HttpRequest| Ok::<_, actix_web::Error>(Some(UserId::from("ann")))));
    let seen = Mutex::new(BTreeSet::new());
    let asker = Asker::new(&open, &seen).await;

    let everything = json!({
        "input": {"a": [1, null]}, "session_id": "s", "run_id": RunId::new(), "user_id": "bob", "metadata": {"k": []},
        "priority": -3, "run_at": "2020-01-01T00:00:00Z", "timeout": 60,
    });
    let waits = |body: Value| move |request: RequestBuilder| request.header("prefer", "wait=30").json(&body);
    let run = asker.ask(Method::POST, "/agents/echo/runs", waits(everything.clone())).await;
    assert_eq!(run.status, 200);
    let failed = asker.ask(Method::POST, "/agents/fails/runs", waits(json!({"input": 1, "session_id": "s"}))).await;
    assert_eq!(failed.body["status"], "ERROR");
    asker.gets(&run.run_id().to_string()).await;
    asker.get(&format!("/runs/{}", failed.run_id())).await;
    assert_eq!(asker.get(&format!("/runs/{}/events?after=1000", run.run_id())).await.status, 204);

    decides(&asker).await;
    let unresumed = asker.ask(Method::POST, "/agents/fails/runs", waits(json!({"input": 2}))).await.run_id();
    let resume = format!("/runs/{}/resume", failed.run_id());
    assert_eq!(asker.post(&resume, json!({})).await.status, 202);
    assert_eq!(asker.ask(Method::POST, &resume, |request| request.header("prefer", "wait=30")).await.status, 200);

    // What can be wrong with a request.
    for path in [
        "/agents?page=1",
        "/agents/echo?version=1",
        "/runs/counts?by=day",
        "/runs?limit=x",
        "/runs?limit=0",
        "/sessions/s/runs?page=1",
        "/sessions/%20%00/runs",
        "/sessions/s?page=1",
        "/sessions/%20%00",
        "/runs/x",
    ] {
        asker.get(path).await;
    }
    let unknown = RunId::new();
    Asker::new(&small, &seen).await.get("/metrics").await;
    for path in ["/agents/nobody", "/runs/x/events", &format!("/runs/{unknown}"), &format!("/runs/{unknown}/events")] {
        asker.get(path).await;
    }
    asker.post("/agents/nobody/runs", json!({"input": 1})).await;
    asker.post("/runs/x/cancel", json!({})).await;
    asker.post("/runs/x/continue", json!({"decisions": []})).await;
    asker.post(&format!("/runs/{unknown}/continue"), json!({"decisions": []})).await;
    asker.post("/runs/x/resume", json!({})).await;
    asker.post(&format!("/runs/{unknown}/resume"), json!({})).await;
    let deserter = format!("/runs/{unknown}/events?cancel_on_disconnect=true");
    asker.ask(Method::GET, &deserter, |request| request.header("sec-fetch-site", "cross-site")).await;
    let tiny = Asker::new(&small, &seen).await;
    let of_unknown = ["cancel", "continue", "resume"].map(|what| format!("/runs/{unknown}/{what}"));
    for path in ["/agents/echo/runs".to_owned()].into_iter().chain(of_unknown) {
        asker.post(&path, json!({"wrong": 1})).await;
        asker.ask(Method::POST, &path, |request| request.body("{")).await;
        asker.ask(Method::POST, &path, |request| request.body("x").header("content-type", "text/plain")).await;
        asker.ask(Method::POST, &path, |request| request.header("sec-fetch-site", "cross-site")).await;
        tiny.post(&path, json!({"input": "x".repeat(100)})).await;
    }
    let keyed = |key: &'static str, input: &'static str| {
        move |request: RequestBuilder| request.header("idempotency-key", key).json(&json!({"input": input}))
    };
    for (key, input) in [("\"open", "one"), ("key", "one"), ("key", "two")] {
        asker.ask(Method::POST, "/agents/echo/runs", keyed(key, input)).await;
    }
    let mut other = everything;
    other["input"] = json!("something else");
    asker.post("/agents/echo/runs", other.clone()).await;
    let ann = Asker::new(&owned, &seen).await;
    other["user_id"] = json!("ann");
    ann.post("/agents/echo/runs", other).await;
    let nobody = Asker::new(&guarded, &seen).await;
    nobody.gets(&run.run_id().to_string()).await;

    // Where there is no room.
    for path in [format!("/runs/{unknown}/cancel"), format!("/runs/{}/cancel", RunId::new())] {
        asker.post(&path, json!({})).await;
    }
    let busy = |session: &str| json!({"input": "hi", "session_id": session});
    asker.post("/agents/gated/runs", busy("one")).await;
    asker.post("/agents/gated/runs", busy("one")).await;
    for session in ["two", "three", "four", "five"] {
        asker.post("/agents/gated/runs", busy(session)).await;
    }
    asker.post(&format!("/runs/{unresumed}/resume"), json!({})).await;
    gate.open(10);

    assert_eq!(soon(runtime.shutdown(LONG)).await.lost, 0);
    asker.gets(&run.run_id().to_string()).await;
    let known = asker.document.answers();
    let seen = seen.into_inner().unwrap();
    let missing: Vec<&String> = known.difference(&seen).filter(|name| !hard_to_come_by(name)).collect();
    assert!(missing.is_empty(), "never given: {missing:#?}");
}
