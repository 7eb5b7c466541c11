//! One process that keeps so many runs in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenroom::{Agent, AgentBuilder, NewRun, RunContext, Runtime, ScriptedModel, ScriptedTurn, Store};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::bare::content;
use crate::support::child::{until_not_needed, was_told_to_go};
use crate::support::recorder;
use crate::support::report::{median, share};
use crate::support::runtime;

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(60);

/// What all callers of this process share.
struct Load {
    runtime: Runtime,
    /// A place for each run that may be in flight.
    places: Arc<Semaphore>,
    settled: Arc<AtomicUsize>,
    waited: bool,
}

/// Plays `lifecycles URL AGENT IN_FLIGHT WARM_UP ROUND`, times in milliseconds, and prints one line of JSON.
pub(crate) fn play(arguments: &[&str]) {
    let [url, agent, in_flight, warm_up, round] = arguments else { unreachable!("five arguments") };
    let in_flight: usize = in_flight.parse().unwrap();
    let [warm_up, round] = [warm_up, round].map(|time| Duration::from_millis(time.parse().unwrap()));
    runtime::for_callers().block_on(measure(url, agent, in_flight, warm_up, round));
}

async fn measure(url: &str, agent: &str, in_flight: usize, warm_up: Duration, round: Duration) {
    let places = Arc::new(Semaphore::new(in_flight));
    let settled = Arc::new(AtomicUsize::new(0));
    let waited = agent == "waited";
    let (freed, counted) = (Arc::clone(&places), Arc::clone(&settled));
    let heard = recorder::listen(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        if !waited {
            freed.add_permits(1);
        }
    });
    let runtime = start(url, agent, in_flight).await;
    println!("ready");
    if !was_told_to_go().await {
        return;
    }

    let load = Arc::new(Load { runtime, places, settled, waited });
    let begun = Instant::now();
    let callers: Vec<_> = (0..in_flight).map(|_| tokio::spawn(call(Arc::clone(&load), begun + warm_up))).collect();
    tokio::time::sleep(warm_up).await;
    heard.forget();
    let (from, before) = (Instant::now(), load.settled.load(Ordering::Relaxed));
    tokio::time::sleep(round).await;
    let lives = load.settled.load(Ordering::Relaxed) - before;
    let rate = lives as f64 / from.elapsed().as_secs_f64();
    let (sizes, seconds) = heard.batches();
    load.places.close();
    let mut acks = Vec::new();
    for caller in callers {
        acks.extend(caller.await.unwrap());
    }
    println!(
        "{}",
        json!({
            "rate": rate, "ack_p50_ms": median(&acks) * 1e3, "ack_p99_ms": share(&acks, 0.99) * 1e3,
            "batch_ms": median(&seconds) * 1e3, "batch_size": sizes.iter().sum::<f64>() / sizes.len() as f64,
        })
    );
    until_not_needed();
}

async fn start(url: &str, agent: &str, in_flight: usize) -> Runtime {
    Runtime::builder()
        .store(Store::postgres(url))
        // A run that has settled may be counted a moment longer.
        .max_running(in_flight * 2 + 16)
        .max_calls(in_flight + 16)
        .agent(instant(agent))
        .start()
        .await
        .unwrap()
}

/// An agent that answers at once.
fn instant(agent: &str) -> AgentBuilder {
    let content = content();
    let instant = Agent::builder("instant");
    if agent == "model" {
        return instant.model(ScriptedModel::answering(move |_| ScriptedTurn::text(content.as_str())));
    }
    instant.code(move |_: RunContext| {
        let content = content.clone();
        async move { Ok(content) }
    })
}

/// Submits a run whenever there is a place for one: how long each answer took, in seconds, once it is `warm`.
async fn call(load: Arc<Load>, warm: Instant) -> Vec<f64> {
    let mut acks = Vec::new();
    while let Ok(place) = load.places.acquire().await {
        if !load.waited {
            place.forget();
        }
        let asked = Instant::now();
        let run = load.runtime.submit(NewRun::new("instant", "go")).await.unwrap();
        if asked > warm {
            acks.push(asked.elapsed().as_secs_f64());
        }
        if load.waited {
            assert!(run.wait(LONG).await.unwrap().status.is_terminal());
        }
    }
    acks
}
