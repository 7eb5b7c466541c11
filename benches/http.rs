//! The HTTP door: how many submits it takes, how fast it answers a poll meanwhile, and what an idle reader of events costs.
//!
//! ```text
//! cargo bench --all-features --bench http
//! ```
//!
//! The server is a process of its own, on a Postgres of its own with the durability that it has by default. Clients, server
//! and Postgres share the machine.

#![allow(clippy::print_stdout, reason = "a bench prints what it has measured")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on has nothing to tell")]

#[path = "support/child.rs"]
mod child;
#[path = "http/client.rs"]
mod client;
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "support/report.rs"]
mod report;
#[path = "http/serve.rs"]
mod serve;
#[path = "support/size.rs"]
mod size;

use std::env;
use std::time::Duration;

use serde_json::json;

use self::child::Process;
use self::client::{Client, Request};
use self::postgres::Server;
use self::report::{Figure, share};
use self::size::Size;

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

fn main() {
    child::allow_many_files();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", url] => serve::serve(url),
        ["submit", url, milliseconds] => {
            serve::submit(url, Duration::from_millis(milliseconds.parse().unwrap()), CLIENTS);
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(measure(Size::asked_for()));
        }
    }
}

async fn measure(size: Size) {
    let Some(server) = Server::start().await else { return };
    let (mut inside, mut over_http, mut polls, mut healths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let milliseconds = size.round.as_millis().to_string();
        inside.push(Process::start(&["submit", server.url(), &milliseconds]).line().parse().unwrap());
        let load = load(&server, size.round).await;
        over_http.push(load.submits);
        polls.push(load.poll);
        healths.push(load.health);
    }
    let readers = readers(&server, size).await;
    report::print(
        "http",
        &[
            Figure {
                name: "submits in the process, 64 callers",
                unit: "runs/s",
                rounds: inside.clone(),
                against: None,
                aim: "",
            },
            Figure {
                name: "submits over HTTP, 64 clients",
                unit: "runs/s",
                rounds: over_http,
                against: Some(("in the process", inside)),
                aim: "≥ 0.60 ×",
            },
            Figure {
                name: "p99 of GET /runs/{id} under that load",
                unit: "ms",
                rounds: polls,
                against: Some(("GET /healthz", healths)),
                aim: "≤ 5 ms",
            },
            Figure {
                name: "memory of an idle reader of events",
                unit: "KiB",
                rounds: vec![readers],
                against: None,
                aim: "≤ 20 KiB",
            },
        ],
    );
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
async fn load(server: &Server, time: Duration) -> Load {
    let mut process = Process::start(&["serve", server.url()]);
    let (address, run_id) = (process.line(), process.line());
    let p99 = |path: String| {
        let address = address.clone();
        std::thread::spawn(move || {
            let get = Request { method: "GET", path: &path, body: "", expected: 200, pause: POLL };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            share(&runtime.block_on(client::repeat(&address, 1, get, time)), 0.99) * 1000.0
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
async fn readers(server: &Server, size: Size) -> f64 {
    let count = if size.quick { 500 } else { 10_000 };
    let mut process = Process::start(&["serve", server.url()]);
    let (address, run_id) = (process.line(), process.line());
    let path = format!("/runs/{run_id}/events");
    let mut open = Vec::new();
    let mut before = 0.0;
    // The first ones warm up what all share.
    for number in 0..count + 200 {
        if number == 200 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            before = process.resident();
        }
        let mut client = Client::connect(&address).await;
        client.send(Request { method: "GET", path: &path, body: "", expected: 200, pause: Duration::ZERO }).await;
        client.until(b"retry: 1000\n\n").await;
        open.push(client);
    }
    tokio::time::sleep(Duration::from_secs(if size.quick { 1 } else { 20 })).await;
    let each = (process.resident() - before) / count as f64 / 1024.0;
    drop(open);
    each
}
