//! One process whose runs speak, and one that listens to another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use greenroom::{Agent, EventStream, NewRun, RunContext, RunEventKind, RunId, Runtime, Store};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::support::child::{Process, until_not_needed, was_told_to_go};
use crate::support::runtime;

/// How many events are timed in a second of a round.
const TIMED: u64 = 100;

/// So many events come first, while the readers get to where they read from memory.
const WARM_UP: u64 = 5;

/// The data of an event.
fn data() -> Value {
    json!({"city": "Paris", "temperature": 21.5, "conditions": "sunny, with a light breeze from the west"})
}

/// Such an event as it lies in the store.
pub(super) fn as_stored() -> Value {
    json!({"event": "CustomEvent", "name": "weather", "data": data()})
}

/// Plays `speaks URL ROUND RUNS`: events a second that so many runs have made durable.
pub(crate) fn speak(arguments: &[&str]) {
    let [url, round, runs] = arguments else { unreachable!("three arguments") };
    let (round, runs) = (Duration::from_millis(round.parse().unwrap()), runs.parse().unwrap());
    runtime::for_callers().block_on(async {
        let (quiet, said) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (hush, count) = (Arc::clone(&quiet), Arc::clone(&said));
        let talkative = Agent::builder("talkative").code(move |cx: RunContext| {
            let (hush, count) = (Arc::clone(&hush), Arc::clone(&count));
            async move {
                while !hush.load(Ordering::Relaxed) {
                    cx.emit("weather", data()).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        let runtime = Runtime::builder().store(Store::postgres(*url)).agent(talkative).start().await.unwrap();
        let begun = Instant::now();
        let submits = (0..runs).map(|_| runtime.submit(NewRun::new("talkative", "go")));
        let runs: Vec<_> = join_all(submits).await.into_iter().map(Result::unwrap).collect();
        tokio::time::sleep(round).await;
        quiet.store(true, Ordering::Relaxed);
        for run in &runs {
            let output = run.wait(Duration::from_secs(60)).await.unwrap();
            assert!(output.status.is_terminal());
        }
        // All that was said is durable by now.
        println!("{}", said.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64());
        until_not_needed();
    });
}

/// Plays `tells URL ROUND PLACE READERS`: seconds from each event to the last of its readers.
pub(crate) fn tell(arguments: &[&str]) {
    let [url, round, place, readers] = arguments else { unreachable!("four arguments") };
    let (round, readers) = (Duration::from_millis(round.parse().unwrap()), readers.parse().unwrap());
    let events = (round.as_millis() as u64 * TIMED / 1000).max(10);
    runtime::for_callers().block_on(async {
        let times = if *place == "elsewhere" {
            let mut teller = Process::start(&["teller", url]);
            let run_id = teller.line().parse().unwrap();
            let listener = Runtime::builder().store(Store::postgres(*url)).start().await.unwrap();
            follow(&listener, run_id, readers, events, async |_| teller.go()).await
        } else {
            let (ticks, ticking) = mpsc::channel(1);
            let runtime = start(url, ticking).await;
            let run_id = runtime.submit(NewRun::new("counting", "go")).await.unwrap().run_id();
            follow(&runtime, run_id, readers, events, async |number| ticks.send(number).await.unwrap()).await
        };
        println!("{}", json!(times));
        until_not_needed();
    });
}

/// Plays `teller URL`: has a run that says something whenever this process is told to.
pub(crate) fn be_teller(arguments: &[&str]) {
    let [url] = arguments else { unreachable!("one argument") };
    runtime::for_callers().block_on(async {
        let (ticks, ticking) = mpsc::channel(1);
        let runtime = start(url, ticking).await;
        println!("{}", runtime.submit(NewRun::new("counting", "go")).await.unwrap().run_id());
        let mut number = 0;
        while was_told_to_go().await {
            ticks.send(number).await.unwrap();
            number += 1;
        }
    });
}

/// A runtime with an agent that says each number that it is given.
async fn start(url: &str, ticking: mpsc::Receiver<u64>) -> Runtime {
    let ticking = Arc::new(Mutex::new(ticking));
    let counting = Agent::builder("counting").code(move |cx: RunContext| {
        let ticking = Arc::clone(&ticking);
        async move {
            while let Some(number) = ticking.lock().await.recv().await {
                cx.emit("count", number).await?;
            }
            Ok(())
        }
    });
    Runtime::builder().store(Store::postgres(url)).agent(counting).start().await.unwrap()
}

/// Has one event after the other told: seconds of each until the last reader had it.
async fn follow(
    runtime: &Runtime,
    run_id: RunId,
    readers: usize,
    events: u64,
    mut tell: impl AsyncFnMut(u64),
) -> Vec<f64> {
    let (told, mut heard) = mpsc::channel(readers);
    for _ in 0..readers {
        let mut events = runtime.subscribe(run_id, None).await.unwrap();
        let told = told.clone();
        tokio::spawn(async move {
            while let Some(number) = next_number(&mut events).await {
                if told.send((number, Instant::now())).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut times = Vec::new();
    for number in 0..events + WARM_UP {
        let said = Instant::now();
        tell(number).await;
        let mut last = said;
        for _ in 0..readers {
            let (heard, at) = heard.recv().await.unwrap();
            assert_eq!(heard, number, "each reader has each event once and in order");
            last = last.max(at);
        }
        if number >= WARM_UP {
            times.push((last - said).as_secs_f64());
        }
        // What is measured is one event, not a queue of them.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times
}

async fn next_number(events: &mut EventStream) -> Option<u64> {
    loop {
        // An error ends it: the runtime is shut down when all is measured.
        if let RunEventKind::CustomEvent { data, .. } = &events.next().await?.ok()?.kind {
            return data.as_json().as_u64();
        }
    }
}
