//! Several servers, each a process of its own, on one Postgres.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use futures_util::StreamExt;
use greenroom::{Agent, AgentError, CrashPolicy, RunContext, RunId, Runtime, Store};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::Service;
use super::events::rest;
use crate::postgres::fresh_database;
use crate::support::{expire_the_lease_of, soon};

/// Starts as this test, once for each server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the tests of several servers"]
async fn a_process_that_serves() {
    let (Ok(url), Ok(place)) = (env::var("GREENROOM_SERVE_ON"), env::var("GREENROOM_SERVE_AS")) else { return };
    let speaks = Agent::builder("speaks").on_crash(CrashPolicy::Restart).max_attempts(100);
    let speaks = speaks.code(move |cx: RunContext| {
        let first = place == "first";
        async move {
            for number in 0..20 {
                cx.emit("count", number).await?;
            }
            // What the first process has begun, another one has to end.
            if first {
                std::future::pending::<()>().await;
            }
            Ok::<_, AgentError>("done")
        }
    });
    let runtime = Runtime::builder().store(Store::postgres(url)).agent(speaks).start().await.unwrap();
    let service = Service::of(&runtime);
    println!("serving {}", service.url("/api"));
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// A server in a process of its own, which ends with the test.
struct Process {
    child: Child,
    address: String,
    client: Client,
}

impl Process {
    async fn start(url: &str, place: &'static str) -> Self {
        let url = url.to_owned();
        let started = tokio::task::spawn_blocking(move || {
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "web::processes::a_process_that_serves", "--ignored", "--nocapture"])
                .env("GREENROOM_SERVE_ON", url)
                .env("GREENROOM_SERVE_AS", place)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let address = lines.find_map(|line| Some(line.split_once("serving ")?.1.trim().to_owned()));
            (child, address.expect("it serves"))
        });
        let (child, address) = started.await.unwrap();
        Self { child, address, client: Client::new() }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.address)).json(body);
        soon(soon(request.send()).await.unwrap().json()).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        let response = soon(self.client.get(format!("{}{path}", self.address)).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        response
    }

    async fn run(&self, path: &str) -> Value {
        soon(self.get(path).await.json()).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads on until this is said; all that was read.
async fn read_until(
    pieces: &mut (impl StreamExt<Item = reqwest::Result<actix_web::web::Bytes>> + Unpin),
    said: &str,
) -> String {
    let mut read = Vec::new();
    loop {
        let piece = soon(pieces.next()).await.expect("the stream goes on").unwrap();
        read.extend_from_slice(&piece);
        let text = String::from_utf8_lossy(&read);
        if text.contains(said) {
            return text.into_owned();
        }
    }
}

/// Reads to the end, and leaves out what is no event.
async fn read_to_end(
    mut read: String,
    mut pieces: impl StreamExt<Item = reqwest::Result<actix_web::web::Bytes>> + Unpin,
) -> String {
    let mut more = Vec::new();
    while let Some(piece) = soon(pieces.next()).await {
        more.extend_from_slice(&piece.unwrap());
    }
    read.push_str(&String::from_utf8(more).unwrap());
    read.strip_prefix("retry: 1000\n\n").unwrap().replace(": nothing new\n\n", "")
}

fn seqs(events: &str) -> Vec<usize> {
    events.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

/// A first process, which runs this run, and a second one, which comes too late to take it up.
async fn two_processes(url: &str) -> (Process, Process, RunId) {
    let first = Process::start(url, "first").await;
    let run = first.post("/agents/speaks/runs", &json!({"input": "hi"})).await;
    let run_id: RunId = run["run_id"].as_str().unwrap().parse().unwrap();
    let mut pieces = first.get(&format!("/runs/{run_id}/events")).await.bytes_stream();
    read_until(&mut pieces, "RunStarted").await;
    (first, Process::start(url, "second").await, run_id)
}

#[tokio::test]
async fn what_one_process_runs_is_watched_and_cancelled_through_another() {
    let database = fresh_database().await;
    let (first, second, run_id) = two_processes(database.url()).await;
    let path = format!("/runs/{run_id}");
    let mut pieces = second.get(&format!("{path}/events")).await.bytes_stream();
    let read = read_until(&mut pieces, "\"data\":19").await;

    let cancelled = second.post(&format!("{path}/cancel"), &json!({})).await;

    assert_eq!(cancelled["outcome"], "requested");
    let read = read_to_end(read, pieces).await;
    assert!(read.contains("RunCancelled"), "{read}");
    assert_eq!(first.run(&format!("{path}?wait=30")).await["status"], "CANCELLED");
    assert_eq!(read, rest(first.get(&format!("{path}/events")).await).await, "both tell the same");
    assert_eq!(seqs(&read), (0..22).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_goes_on_through_another_process_when_the_one_that_ran_is_killed() {
    let database = fresh_database().await;
    let (mut first, second, run_id) = two_processes(database.url()).await;
    let path = format!("/runs/{run_id}");
    let mut pieces = second.get(&format!("{path}/events")).await.bytes_stream();
    let read = read_until(&mut pieces, "\"data\":19").await;

    // By SIGKILL.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    expire_the_lease_of(run_id, database.url()).await;

    let read = read_to_end(read, pieces).await;
    assert_eq!(seqs(&read), (0..43).collect::<Vec<_>>(), "{read}");
    assert_eq!(read.matches("RunStarted").count(), 2, "{read}");
    assert!(read.lines().last().is_none_or(str::is_empty) && read.contains("RunCompleted"), "{read}");
    assert_eq!(read, rest(second.get(&format!("{path}/events")).await).await);
    let settled = second.run(&path).await;
    assert_eq!((&settled["status"], &settled["attempt"]), (&json!("COMPLETED"), &json!(2)));
}
