//! Readers of one run in large numbers, and readers that are cut off all the time.

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use greenroom::{Agent, AgentBuilder, NewRun, RunContext, RunId, Store};
use reqwest::{Method, Response};

use super::events::{follow, frames, rest};
use super::{Service, submitted};
use crate::support::{Gate, log, settled, soon, start};

/// An agent that says this many things, each at a gate.
fn counting(gate: &Gate, events: usize) -> AgentBuilder {
    let gate = gate.clone();
    Agent::builder("counting").code(move |cx: RunContext| {
        let gate = gate.clone();
        async move {
            for number in 0..events {
                gate.pass().await;
                cx.emit("count", number).await?;
            }
            Ok(())
        }
    })
}

/// Reads the events, is cut off `cuts` times, each time within so many bytes, and comes back by `Last-Event-ID`.
async fn read_with_cuts(service: &Service, run_id: RunId, mut random: fastrand::Rng, cuts: usize) -> (String, usize) {
    const OPENING: &str = "retry: 1000\n\n";
    let (mut seen, mut last, mut cut) = (String::new(), None::<u64>, 0);
    loop {
        let mut request = service.ask(Method::GET, &format!("/runs/{run_id}/events"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last.to_string());
        }
        let response = soon(request.send()).await.unwrap();
        if response.status() == 204 {
            return (seen, cut);
        }
        assert_eq!(response.status(), 200);
        let patience = if cut < cuts { random.usize(0..600) } else { usize::MAX };
        let mut pieces = response.bytes_stream();
        let mut read = Vec::new();
        while read.len() < patience {
            let Some(piece) = soon(pieces.next()).await else { break };
            read.extend_from_slice(&piece.unwrap());
        }
        if read.len() >= patience {
            cut += 1;
            read.truncate(patience);
        }
        let text = String::from_utf8(read).unwrap();
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
        let whole = whole.strip_prefix(OPENING).unwrap_or_default();
        seen.push_str(whole);
        last = whole.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).next_back().or(last);
    }
}

#[tokio::test]
async fn readers_that_are_cut_off_a_thousand_times_have_the_log_byte_by_byte() {
    const READERS: u64 = 20;
    const CUTS: usize = 50;
    const EVENTS: usize = 400;
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), counting(&gate, EVENTS)).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("counting", "hi")).await;

    let readers = (0..READERS).map(|seed| {
        let random = fastrand::Rng::with_seed(seed);
        read_with_cuts(&service, run.run_id(), random, CUTS)
    });
    let acts = async {
        for _ in 0..EVENTS {
            gate.open(1);
            gate.arrivals(1).await;
        }
        settled(&run).await;
    };
    let (read, ()) = tokio::join!(join_all(readers), acts);

    let expected = frames(&log(&runtime, run.run_id()).await);
    for (text, cut) in read {
        assert_eq!(cut, CUTS);
        assert!(text == expected, "a reader has another log");
    }
}

#[tokio::test]
async fn a_thousand_readers_of_one_run_have_its_log_each() {
    const READERS: usize = 1000;
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), counting(&gate, 50)).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("counting", "hi")).await;
    // Not all at once: whoever has connected is to ask before the server gives them up.
    let readers = stream::iter(0..READERS).map(|_| follow(&service, run.run_id(), "")).buffered(20);
    let readers: Vec<Response> = readers.collect().await;

    gate.open(50);
    let read = join_all(readers.into_iter().map(rest)).await;

    let expected = frames(&log(&runtime, run.run_id()).await);
    assert_eq!(expected.matches("id: ").count(), 52);
    assert!(read.iter().all(|text| *text == expected));
}
