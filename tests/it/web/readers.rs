//! Readers of event streams that go, come back, or do not read.

use futures_util::StreamExt;
use futures_util::future::join_all;
use greenroom::{Agent, AgentBuilder, NewRun, RunContext, RunHandle, RunStatus, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::events::{follow, frames, rest};
use super::{Service, submitted};
use crate::support::{Gate, LONG, gated, log, settled, soon, start};

/// Connects as a reader that can be cut off or left unread, and waits for the head of the answer.
async fn connect(service: &Service, run: &RunHandle, query: &str) -> TcpStream {
    let mut socket = TcpStream::connect(service.address).await.unwrap();
    let request = format!("GET /api/runs/{}/events{query} HTTP/1.1\r\nhost: x\r\n\r\n", run.run_id());
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    soon(socket.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    socket
}

/// An agent that says much more than all buffers between it and a reader hold together.
fn talkative(gate: &Gate) -> AgentBuilder {
    let gate = gate.clone();
    Agent::builder("talkative").code(move |cx: RunContext| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            for number in 0..150 {
                cx.emit("large", format!("{number} {}", "x".repeat(100_000))).await?;
            }
            Ok(())
        }
    })
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody_and_misses_nothing() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), talkative(&gate)).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("talkative", "hi")).await;
    let slow = follow(&service, run.run_id(), "").await;
    let mut deaf = connect(&service, &run, "").await;

    gate.open(1);
    assert_eq!(settled(&run).await.status, RunStatus::Completed, "the run has ended while two readers read nothing");
    let quick = follow(&service, run.run_id(), "").await;

    let expected = frames(&log(&runtime, run.run_id()).await);
    assert!(expected.len() > 15_000_000);
    assert!(rest(quick).await == expected);
    assert!(rest(slow).await == expected);
    let mut piece = [0; 1000];
    soon(deaf.read_exact(&mut piece)).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_cancels_the_run_only_when_it_has_said_so() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    let service = Service::of(&runtime);
    let stays = submitted(&runtime, NewRun::new("gated", "stays")).await;
    let goes = submitted(&runtime, NewRun::new("gated", "goes")).await;
    gate.arrivals(2).await;

    drop(connect(&service, &stays, "").await);
    drop(connect(&service, &stays, "?cancel_on_disconnect=false").await);
    drop(connect(&service, &goes, "?cancel_on_disconnect=true").await);

    assert_eq!(settled(&goes).await.status, RunStatus::Cancelled);
    assert_eq!(stays.output().await.unwrap().status, RunStatus::Running);
    gate.open(1);
    assert_eq!(settled(&stays).await.status, RunStatus::Completed);
}

#[tokio::test]
async fn a_reader_that_stays_to_the_end_cancels_nothing() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("gated", "hi")).await;
    let response = follow(&service, run.run_id(), "?cancel_on_disconnect=true").await;
    gate.open(1);

    let text = rest(response).await;

    assert!(text.contains("RunCompleted"), "{text}");
    assert_eq!(run.output().await.unwrap().status, RunStatus::Completed);
}

#[tokio::test]
async fn readers_that_are_cut_off_anywhere_go_on_where_they_were() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), {
        let gate = gate.clone();
        Agent::builder("counting").code(move |cx: RunContext| {
            let gate = gate.clone();
            async move {
                for number in 0..40 {
                    gate.pass().await;
                    cx.emit("count", number).await?;
                }
                Ok(())
            }
        })
    })
    .await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("counting", "hi")).await;

    let readers = (1..=8).map(|patience| {
        let (service, run_id) = (&service, run.run_id());
        async move {
            let (mut seen, mut last) = (String::new(), None);
            loop {
                let query = last.map_or_else(String::new, |seq: u64| format!("?after={seq}"));
                let path = format!("/runs/{run_id}/events{query}");
                let response = soon(service.ask(reqwest::Method::GET, &path).send()).await.unwrap();
                if response.status() == 204 {
                    return seen;
                }
                assert_eq!(response.status(), 200);
                let mut pieces = response.bytes_stream();
                let mut text = String::new();
                // After so many frames it is cut off, in the middle of the next one perhaps.
                while text.matches("\n\n").count() <= patience {
                    let Some(piece) = soon(pieces.next()).await else { break };
                    text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
                }
                let whole = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
                let whole = whole.strip_prefix("retry: 1000\n\n").unwrap_or_default();
                seen.push_str(whole);
                let mut ids = whole.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok());
                last = ids.next_back().or(last);
            }
        }
    });
    let acts = async {
        for _ in 0..40 {
            gate.open(1);
            tokio::task::yield_now().await;
        }
        run.wait(LONG).await.unwrap();
    };
    let (seen, ()) = tokio::join!(join_all(readers), acts);

    let expected = frames(&log(&runtime, run.run_id()).await);
    for text in seen {
        assert_eq!(text, expected);
    }
}
