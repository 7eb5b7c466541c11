//! Whatever can be wrong with a request, and what is said to it.

use greenroom::{NewRun, RunId, Runtime, Store, web::Door};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, Service, submitted};
use crate::support::{Gate, gated, soon, start};

async fn service() -> Service {
    Service::of(&start(Store::sqlite_in_memory(), gated(&Gate::new())).await)
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_and_says_where() {
    let service = service().await;
    for body in [
        "",
        "{",
        "hello",
        "{\"input\": hi}",
        "{\"input\": \"hi\",}",
        "{\"input\": \"hi\"} x",
        "{\"input\": \"\\ud800\"}",
        "{\"input\": 1e999}",
        "\u{feff}{}",
        &format!("{{\"input\": {}{}}}", "[".repeat(200), "]".repeat(200)),
    ] {
        let answer = Answer::to(service.ask(Method::POST, "/agents/gated/runs").body(body.to_owned())).await;
        answer.assert_problem(400, "malformed-json");
    }
    let bytes = service.ask(Method::POST, "/agents/gated/runs").body(vec![b'{', b'"', 0xff, b'"']);
    Answer::to(bytes).await.assert_problem(400, "malformed-json");
}

#[tokio::test]
async fn a_field_that_is_not_as_it_should_be_is_refused_by_its_name() {
    let service = service().await;
    for (field, body) in [
        ("input", json!({})),
        ("inputs", json!({"input": "hi", "inputs": "hi"})),
        ("max_attempts", json!({"input": "hi", "max_attempts": 1})),
        ("session_id", json!({"input": "hi", "session_id": 1})),
        ("session_id", json!({"input": "hi", "session_id": ""})),
        ("session_id", json!({"input": "hi", "session_id": "x".repeat(256)})),
        ("run_id", json!({"input": "hi", "run_id": "1234"})),
        ("run_id", json!({"input": "hi", "run_id": ["a"]})),
        ("user_id", json!({"input": "hi", "user_id": "a\0b"})),
        ("metadata", json!({"input": "hi", "metadata": "my secret notes"})),
        ("metadata", json!({"input": "hi", "metadata": {"k": "x".repeat(1024 * 1024)}})),
        ("priority", json!({"input": "hi", "priority": 40_000})),
        ("priority", json!({"input": "hi", "priority": "high"})),
        ("priority", json!({"input": "hi", "priority": 1.5})),
        ("run_at", json!({"input": "hi", "run_at": "tomorrow"})),
        ("run_at", json!({"input": "hi", "run_at": "2036-01-01T00:00:00Z"})),
        ("timeout", json!({"input": "hi", "timeout": "10s"})),
        ("timeout", json!({"input": "hi", "timeout": -1})),
        ("timeout", json!({"input": "hi", "timeout": 0})),
        ("timeout", json!({"input": "hi", "timeout": 1e300})),
        ("input", json!({"input": "x".repeat(1024 * 1024 + 1)})),
        ("input", json!({"input": {"k": "a\0b"}})),
    ] {
        let answer = service.post("/agents/gated/runs", &body).await;
        answer.assert_problem(422, "invalid-field");
        assert_eq!(answer.body["field"], field, "{answer:?}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{field}`")) && detail.len() < 500, "{detail}");
        assert!(!detail.contains("secret") && !detail.contains("i16") && !detail.contains("column"), "{detail}");
    }
    for body in [json!([]), json!(["hi"]), json!("hi"), json!(null), json!(1)] {
        service.post("/agents/gated/runs", &body).await.assert_problem(422, "invalid-field");
    }
    let decision = |fields: &str| format!("{{\"decisions\": [{{{fields}}}]}}");
    let id = format!("\"requirement_id\": \"{}\"", RunId::new());
    for (field, fields) in [
        ("decisions[0].requirement_id", "\"confirmed\": true".to_owned()),
        ("decisions[0].confirm", format!("{id}, \"confirm\": true")),
        ("decisions[0].confirmed", format!("{id}, \"confirmed\": 1")),
        ("decisions[0].confirmed", format!("{id}, \"confirmed\": true, \"confirmed\": true")),
        ("decisions[0].note", format!("{id}, \"note\": \"no\"")),
    ] {
        let path = format!("/runs/{}/continue", RunId::new());
        let answer = Answer::to(service.ask(Method::POST, &path).body(decision(&fields))).await;
        answer.assert_problem(422, "invalid-field");
        assert_eq!(answer.body["field"], field, "{answer:?}");
    }
    let twice = service.ask(Method::POST, "/agents/gated/runs").body("{\"input\": 1, \"input\": 2}");
    let twice = Answer::to(twice).await;
    twice.assert_problem(422, "invalid-field");
    assert_eq!(twice.body["field"], "input");
}

#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_refused_by_its_name() {
    let service = service().await;
    let run_id = RunId::new();
    for (parameter, path) in [
        ("run_id", "/runs/1234".to_owned()),
        ("run_id", "/runs/%FF".to_owned()),
        ("run_id", "/runs/00000000-0000-0000-0000-00000000000g/events".to_owned()),
        ("wait", format!("/runs/{run_id}?wait=soon")),
        ("wait", format!("/runs/{run_id}?wait=-1")),
        ("wait", format!("/runs/{run_id}?wait=1&wait=2")),
        ("waits", format!("/runs/{run_id}?waits=1")),
        ("after", format!("/runs/{run_id}/events?after=x")),
        ("after", format!("/runs/{run_id}/events?after=-1")),
        ("cancel_on_disconnect", format!("/runs/{run_id}/events?cancel_on_disconnect=maybe")),
        ("starting_after", format!("/runs/{run_id}/events?starting_after=1")),
        ("after", "/runs?after=nowhere".to_owned()),
        ("after", format!("/runs?after=99999999999999999999.{run_id}")),
        ("after", format!("/runs?after=-300000000000000000.{run_id}")),
        ("status", "/runs?status=DONE".to_owned()),
        ("limit", "/runs?limit=many".to_owned()),
        ("limit", "/runs?limit=-1".to_owned()),
        ("created_from", "/runs?created_from=yesterday".to_owned()),
        ("include", "/runs?include=everything".to_owned()),
        ("page", "/runs?page=2".to_owned()),
        ("status", "/runs/counts?status=RUNNING".to_owned()),
        ("page", "/agents?page=2".to_owned()),
        ("version", "/agents/gated?version=2".to_owned()),
        ("session_id", "/sessions/s/runs?session_id=t".to_owned()),
    ] {
        let answer = service.get(&path).await;
        answer.assert_problem(400, "invalid-parameter");
        assert_eq!(answer.body["parameter"], parameter, "{path}: {answer:?}");
    }
    for (field, path) in [
        ("limit", "/runs?limit=0"),
        ("limit", "/runs?limit=101"),
        ("user_id", "/runs?user_id="),
        ("agent", "/runs?agent=%00"),
        ("created_from", "/runs?created_from=-9999-01-01T00:00:00Z"),
        ("created_until", "/runs?created_until=%2B10000-01-01T00:00:00Z"),
    ] {
        let answer = service.get(path).await;
        answer.assert_problem(422, "invalid-field");
        assert_eq!(answer.body["field"], field);
    }
    for path in ["/agents/gated/runs".to_owned(), format!("/runs/{run_id}/cancel"), format!("/runs/{run_id}/resume")] {
        let answer = service.post(&format!("{path}?wait=30"), &json!({"input": "hi"})).await;
        answer.assert_problem(400, "invalid-parameter");
        assert_eq!(answer.body["parameter"], "wait", "{path}: {answer:?}");
    }
    let header = service.ask(Method::GET, &format!("/runs/{run_id}/events")).header("Last-Event-ID", "x");
    let header = Answer::to(header).await;
    header.assert_problem(400, "invalid-parameter");
    assert_eq!(header.body["parameter"], "Last-Event-ID");
    let key = service.ask(Method::POST, "/agents/gated/runs").header("Idempotency-Key", "\"open");
    let key = Answer::to(key.json(&json!({"input": "hi"}))).await;
    key.assert_problem(400, "invalid-parameter");
    assert_eq!(key.body["parameter"], "Idempotency-Key");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_wrong_methods_are_told_the_right_ones() {
    let service = service().await;
    let run_id = RunId::new();
    for path in ["/nothing", "/agents/", "/agents/gated/runs/", "/runs/a/b/c", "/%FF"] {
        service.get(path).await.assert_problem(404, "not-found");
    }
    for path in ["/agents/nobody", "/agents/GATED", "/agents/%FF", "/agents/a%00b"] {
        service.get(path).await.assert_problem(404, "unknown-agent");
    }
    let submit = service.post("/agents/nobody/runs", &json!({"input": "hi"})).await;
    submit.assert_problem(404, "unknown-agent");
    assert_eq!(submit.body["agent"], "nobody");
    for path in [format!("/runs/{run_id}"), format!("/runs/{run_id}?wait=1"), format!("/runs/{run_id}/events")] {
        let answer = service.get(&path).await;
        answer.assert_problem(404, "unknown-run");
        assert_eq!(answer.body["run_id"], json!(run_id));
    }
    for (method, path, allow) in [
        (Method::POST, "/agents", "GET, HEAD"),
        (Method::GET, "/agents/gated/runs", "POST"),
        (Method::DELETE, "/runs", "GET, HEAD"),
        (Method::PUT, "/runs/x", "GET, HEAD"),
        (Method::GET, "/runs/x/cancel", "POST"),
        (Method::HEAD, "/runs/x/events", "GET"),
        (Method::OPTIONS, "/sessions/s/runs", "GET, HEAD"),
        (Method::POST, "/healthz", "GET, HEAD"),
    ] {
        let answer = Answer::to(service.ask(method.clone(), path)).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow), "{method} {path}");
        if method != Method::HEAD {
            answer.assert_problem(405, "method-not-allowed");
        }
    }
}

#[tokio::test]
async fn whatever_can_be_read_can_be_asked_for_its_headers() {
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("gated", "hi")).await;
    for path in ["/agents".to_owned(), "/healthz".to_owned(), "/readyz".to_owned(), format!("/runs/{}", run.run_id())] {
        let answer = Answer::to(service.ask(Method::HEAD, &path)).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, Value::Null), "{path}");
        assert_eq!(answer.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let service = Service::behind(Door::new(runtime).max_body(1000));
    let body = |size: usize| format!("{{\"input\":\"{}\"}}", "x".repeat(size - 12));

    let fits = service.ask(Method::POST, "/agents/gated/runs").body(body(1000));
    assert_eq!(Answer::to(fits).await.status, 202);
    let said = service.ask(Method::POST, "/agents/gated/runs").body(body(1001));
    Answer::to(said).await.assert_problem(413, "body-too-large");
    let pieces = futures_util::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let unsaid = service.ask(Method::POST, "/agents/gated/runs").body(reqwest::Body::wrap_stream(pieces));
    Answer::to(unsaid).await.assert_problem(413, "body-too-large");
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let service = service().await;
    let submit = |media_type: &str| {
        let request = service.ask(Method::POST, "/agents/gated/runs").body("{\"input\":\"hi\"}");
        Answer::to(request.header("content-type", media_type))
    };
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application", ""] {
        submit(media_type).await.assert_problem(415, "unsupported-media-type");
    }
    for media_type in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.acme+json"] {
        assert_eq!(submit(media_type).await.status, 202, "{media_type}");
    }
    let unsaid = service.ask(Method::POST, "/agents/gated/runs").body("{\"input\":\"hi\"}");
    assert_eq!(Answer::to(unsaid).await.status, 202);
}

#[tokio::test]
async fn where_there_is_no_room_a_caller_is_told_to_come_again() {
    let gate = Gate::new();
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(gated(&gate));
    let runtime = builder.max_running(1).max_waiting(1).max_intents(1).start().await.unwrap();
    let service = Service::of(&runtime);
    assert_eq!(service.post("/agents/gated/runs", &json!({"input": "hi"})).await.status, 202);
    gate.arrivals(1).await;
    assert_eq!(service.post("/agents/gated/runs", &json!({"input": "hi"})).await.status, 202);
    service.post("/agents/gated/runs", &json!({"input": "hi"})).await.assert_problem(429, "full");
    let cancel = || format!("/runs/{}/cancel", RunId::new());
    assert_eq!(service.post(&cancel(), &json!({})).await.status, 202);
    service.post(&cancel(), &json!({})).await.assert_problem(429, "too-many-intents");
}

#[tokio::test]
async fn a_request_that_is_cut_off_harms_nobody() {
    let service = service().await;
    let mut socket = TcpStream::connect(service.address).await.unwrap();
    let half = "POST /api/agents/gated/runs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"input\":";
    socket.write_all(half.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut said = Vec::new();
    soon(socket.read_to_end(&mut said)).await.ok();

    assert_eq!(service.get("/runs").await.body, json!({"runs": []}));
}
