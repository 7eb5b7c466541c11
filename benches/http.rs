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
    let (mut inside, mut over_http, mut polls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let milliseconds = size.round.as_millis().to_string();
        inside.push(Process::start(&["submit", server.url(), &milliseconds]).line().parse().unwrap());
        let (rate, p99) = load(&server, size.round).await;
        over_http.push(rate);
        polls.push(p99);
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
                against: None,
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

/// Submits from all clients while one polls: how many runs were accepted in a second, and the p99 of a poll in milliseconds.
async fn load(server: &Server, time: Duration) -> (f64, f64) {
    let mut process = Process::start(&["serve", server.url()]);
    let (address, run_id) = (process.line(), process.line());
    let (body, path) = (json!({"input": INPUT, "run_at": later()}).to_string(), format!("/runs/{run_id}"));
    let submit = Request { method: "POST", path: "/agents/idle/runs", body: &body, expected: 202 };
    let poll = Request { method: "GET", path: &path, body: "", expected: 200 };
    let submitting = client::repeat(&address, CLIENTS, submit, time);
    let polling = client::repeat(&address, 1, poll, time);
    let (submits, polls) = tokio::join!(submitting, polling);
    (submits.len() as f64 / time.as_secs_f64(), share(&polls, 0.99) * 1000.0)
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
        client.send(Request { method: "GET", path: &path, body: "", expected: 200 }).await;
        client.until(b"retry: 1000\n\n").await;
        open.push(client);
    }
    tokio::time::sleep(Duration::from_secs(if size.quick { 1 } else { 20 })).await;
    let each = (process.resident() - before) / count as f64 / 1024.0;
    drop(open);
    each
}
