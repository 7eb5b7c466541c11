//! Event streams over HTTP: what is in them, and where they go on.

use futures_util::StreamExt;
use greenroom::{Agent, NewRun, RunContext, RunEvent, RunHandle, RunId, Runtime, Store};
use reqwest::{Method, Response};

use super::{Service, submitted};
use crate::support::{Gate, gated, idle, log, on_each_store, settled, soon, start};

on_each_store!(
    a_stream_is_the_log_byte_by_byte_from_any_seq_on,
    a_stream_tells_what_happens_as_it_happens_and_ends_with_the_run,
);

/// The frames of these events.
pub(super) fn frames(events: &[RunEvent]) -> String {
    let frame = |event: &RunEvent| format!("id: {}\ndata: {}\n\n", event.seq, serde_json::to_string(event).unwrap());
    events.iter().map(frame).collect()
}

pub(super) async fn follow(service: &Service, run_id: RunId, query: &str) -> Response {
    let response = soon(service.ask(Method::GET, &format!("/runs/{run_id}/events{query}")).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// All that comes, without the opening and the comments.
pub(super) async fn rest(response: Response) -> String {
    let text = soon(response.text()).await.unwrap();
    text.strip_prefix("retry: 1000\n\n").unwrap().replace(": nothing new\n\n", "")
}

async fn a_stream_is_the_log_byte_by_byte_from_any_seq_on(store: Store) {
    let agent = Agent::builder("talking").code(|cx: RunContext| async move {
        for number in 0..5 {
            cx.emit("two\nlines", serde_json::json!({"text": "a\r\nb\u{2028}c", "number": number, "a": [1.25]}))
                .await?;
            cx.emit_text("data: x\n\nid: 0\n").await;
        }
        Ok(())
    });
    let runtime = start(store, agent).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("talking", "hi")).await;
    let run_id = run.run_id();

    let live = follow(&service, run_id, "").await;
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    assert_eq!(live.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(live.headers()["x-accel-buffering"], "no");
    let live = rest(live).await;

    let log = log(&runtime, run_id).await;
    assert_eq!(log.len(), 12);
    assert_eq!(live, frames(&log));
    for event in &log[..11] {
        let seq = event.seq;
        let expected = frames(&log[seq as usize + 1..]);
        assert_eq!(rest(follow(&service, run_id, &format!("?after={seq}")).await).await, expected, "after {seq}");
        let request = service.ask(Method::GET, &format!("/runs/{run_id}/events?after=0"));
        let resumed = soon(request.header("Last-Event-ID", seq.to_string()).send()).await.unwrap();
        assert_eq!(rest(resumed).await, expected, "the header says how far the reader has come by now");
    }
    for after in [11, 12, u64::MAX] {
        let request = service.ask(Method::GET, &format!("/runs/{run_id}/events?after={after}"));
        assert_eq!(soon(request.send()).await.unwrap().status(), 204, "there is nothing after {after}");
    }
}

async fn a_stream_tells_what_happens_as_it_happens_and_ends_with_the_run(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("gated", "hi")).await;
    let response = follow(&service, run.run_id(), "").await;
    let mut pieces = response.bytes_stream();

    let mut seen = String::new();
    while !seen.contains("RunStarted") {
        seen.push_str(std::str::from_utf8(&soon(pieces.next()).await.unwrap().unwrap()).unwrap());
    }
    assert!(!seen.contains("RunCompleted"));
    gate.open(1);
    while let Some(piece) = soon(pieces.next()).await {
        seen.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }

    let log = log(&runtime, run.run_id()).await;
    assert_eq!(seen, format!("retry: 1000\n\n{}", frames(&log)));
}

#[tokio::test]
async fn a_run_of_another_process_is_followed_too() {
    let database = crate::postgres::fresh_database().await;
    let gate = Gate::new();
    let owner = start(Store::postgres(database.url()), gated(&gate)).await;
    let other: Runtime = start(Store::postgres(database.url()), idle()).await;
    let service = Service::of(&other);
    let run: RunHandle = submitted(&owner, NewRun::new("gated", "hi")).await;
    gate.arrivals(1).await;

    let response = follow(&service, run.run_id(), "").await;
    gate.open(1);
    settled(&run).await;

    assert_eq!(rest(response).await, frames(&log(&owner, run.run_id()).await));
}
