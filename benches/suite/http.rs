//! The HTTP door: how many submits it takes, how fast it answers a poll meanwhile, and what an idle reader of events costs.
//!
use std::time::Duration;

use serde_json::json;

use self::client::{Client, Request};
use crate::support::child::Process;
use crate::support::host::Host;
use crate::support::report::{Figure, share};
use crate::support::runtime;
use crate::support::size::Size;

mod client;
pub(crate) mod serve;

/// How many submit at the same time, over HTTP and in the process.
const CLIENTS: usize = 64;

/// What is submitted, for later, so that only its acceptance is measured.
const INPUT: &str = "What is the capital of France?";

/// How long a poller waits between two polls: it is there to look, not to load.
const POLL: Duration = Duration::from_millis(5);

/// When it is to start.
fn later() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now() + chrono::TimeDelta::days(30)
}

pub(crate) async fn measure(size: Size) -> Option<Vec<Figure>> {
    let host = Host::start().await?;
    let (mut inside, mut over_http, mut polls, mut healths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let (milliseconds, callers) = (size.round.as_millis().to_string(), CLIENTS.to_string());
        let url = host.fresh().await;
        inside.push(Process::start(&["accept", &url, &milliseconds, &callers]).line().parse().unwrap());
        let load = load(&host.fresh().await, size.round).await;
        over_http.push(load.submits);
        polls.push(load.poll);
        healths.push(load.health);
    }
    let readers = readers(&host.fresh().await, size).await;
    Some(vec![
        Figure::new("submits in the process, 64 callers", "runs/s", inside.clone()),
        Figure::new("submits over HTTP, 64 clients", "runs/s", over_http)
            .against("in the process", &inside)
            .aim("≥ 0.60 ×"),
        Figure::new("p99 of GET /runs/{id} under that load", "ms", polls)
            .against("GET /healthz", &healths)
            .aim("≤ 5 ms"),
        Figure::new("memory of an idle reader of events", "KiB", vec![readers]).aim("≤ 20 KiB"),
    ])
}

/// What was measured while all clients submitted.
struct Load {
    /// Runs that were accepted in a second.
    submits: f64,
    /// The p99 of a poll, and of an answer for which nothing is asked of the store, in milliseconds.
    poll: f64,
    health: f64,
}

/// Submits from all clients while others, on threads of their own, poll and ask for nothing.
async fn load(url: &str, time: Duration) -> Load {
    let mut process = Process::start(&["serve", url]);
    let (address, run_id) = (process.line(), process.line());
    let p99 = |path: String| {
        let address = address.clone();
        std::thread::spawn(move || {
            let get = Request { method: "GET", path: &path, body: "", expected: 200, pause: POLL };
            share(&runtime::on_one_thread(client::repeat(&address, 1, get, time)), 0.99) * 1000.0
        })
    };
    let (poll, health) = (p99(format!("/runs/{run_id}")), p99("/healthz".to_owned()));
    let body = json!({"input": INPUT, "run_at": later()}).to_string();
    let submit =
        Request { method: "POST", path: "/agents/idle/runs", body: &body, expected: 202, pause: Duration::ZERO };
    let submits = client::repeat(&address, CLIENTS, submit, time).await.len() as f64 / time.as_secs_f64();
    Load { submits, poll: poll.join().unwrap(), health: health.join().unwrap() }
}

/// What each of very many readers of runs that say nothing costs the server, in KiB.
async fn readers(url: &str, size: Size) -> f64 {
    let count = size.pick(10_000, 500);
    let mut process = Process::start(&["serve", url]);
    let (address, run_id) = (process.line(), process.line());
    let path = format!("/runs/{run_id}/events");
    let mut open = Vec::new();
    let mut before = 0.0;
    // The first ones warm up what all share.
    for number in 0..count + 200 {
        if number == 200 {
            tokio::time::sleep(size.warm_up).await;
            before = process.resident();
        }
        let mut client = Client::connect(&address).await;
        client.send(Request { method: "GET", path: &path, body: "", expected: 200, pause: Duration::ZERO }).await;
        client.until(b"retry: 1000\n\n").await;
        open.push(client);
    }
    tokio::time::sleep(size.pick(Duration::from_secs(20), Duration::from_millis(200))).await;
    let each = (process.resident() - before) / count as f64 / 1024.0;
    drop(open);
    each
}
