//! One process that has very many runs that go on for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use greenroom::{Agent, AgentBuilder, NewRun, OpenAIResponses, RunContext, RunHandle, RunStatus, Runtime, Store};
use serde_json::json;

use super::bare::TOGETHER;
use crate::support::child::{until_not_needed, was_told_to_go};
use crate::support::report::share;
use crate::support::runtime;

/// What is there before it counts, so that it does not pay for what all share.
const WARM_UP: usize = 200;

/// Plays `holds KIND COUNT URL MODEL PAUSE CALLS`: after a pause, in milliseconds, the last writes are done, and what they
/// needed is given back.
pub(crate) fn play(arguments: &[&str]) {
    let [kind, count, url, model, pause, calls] = arguments else { unreachable!("six arguments") };
    let pause = Duration::from_millis(pause.parse().unwrap());
    let (count, calls): (usize, usize) = (count.parse().unwrap(), calls.parse().unwrap());
    runtime::for_callers().block_on(async {
        let running = Arc::new(AtomicUsize::new(0));
        let runtime = Runtime::builder().store(Store::postgres(*url)).max_running(count + WARM_UP + 64);
        let instant = Agent::builder("instant").code(|_: RunContext| async { Ok("done") });
        let runtime = runtime.agent(agent(kind, model, &running)).agent(instant).start().await.unwrap();
        hold(&runtime, kind, &running, WARM_UP).await;
        tokio::time::sleep(pause).await;

        println!("ready");
        assert!(was_told_to_go().await, "nobody is left");
        let runs = hold(&runtime, kind, &running, WARM_UP + count).await;
        tokio::time::sleep(pause).await;
        println!("{count}");

        assert!(was_told_to_go().await, "nobody is left");
        println!("{}", call(&runtime, &runs, calls).await);
        until_not_needed();
    });
}

/// An agent whose runs get as far as to be held, and no farther.
fn agent(kind: &str, model: &str, running: &Arc<AtomicUsize>) -> AgentBuilder {
    let held = Agent::builder("held");
    let running = Arc::clone(running);
    match kind {
        "parked" => held.code(move |_: RunContext| {
            running.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<(), _>>()
        }),
        "streaming" => held.model(OpenAIResponses::new("gpt-5-mini").api_key("none").base_url(model)),
        "paused" => held.code(async |cx: RunContext| cx.confirm("delete", "a.log").await.map(|said| said.confirmed)),
        kind => unreachable!("nobody asks for {kind}"),
    }
}

/// Submits until so many are held.
async fn hold(runtime: &Runtime, kind: &str, running: &AtomicUsize, wanted: usize) -> Vec<RunHandle> {
    let before = if wanted > WARM_UP { WARM_UP } else { 0 };
    let submits = futures_util::stream::iter(before..wanted).map(|_| runtime.submit(NewRun::new("held", "wait")));
    let runs: Vec<RunHandle> = submits.buffer_unordered(TOGETHER).map(Result::unwrap).collect().await;
    match kind {
        "parked" => {
            while running.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        "paused" => each(&runs, RunStatus::Paused).await,
        // A stream is open when its run has said something.
        _ => {
            for run in &runs {
                let mut events = run.subscribe(None).await.unwrap();
                while !said(&events.next().await.unwrap().unwrap()) {}
            }
        }
    }
    runs
}

fn said(event: &greenroom::RunEvent) -> bool {
    matches!(event.kind, greenroom::RunEventKind::RunContent { .. })
}

async fn each(runs: &[RunHandle], status: RunStatus) {
    for run in runs {
        while run.output().await.unwrap().status != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The p99 of calls beside all that is held, one after the other, in milliseconds.
async fn call(runtime: &Runtime, runs: &[RunHandle], calls: usize) -> serde_json::Value {
    let mut times = [const { Vec::new() }; 3];
    for run in runs.iter().take(calls) {
        let begun = Instant::now();
        runtime.submit(NewRun::new("instant", "go")).await.unwrap();
        let submitted = Instant::now();
        run.output().await.unwrap();
        let polled = Instant::now();
        run.cancel().await.unwrap();
        let cancelled = polled.elapsed();
        for (times, time) in times.iter_mut().zip([submitted - begun, polled - submitted, cancelled]) {
            times.push(time.as_secs_f64() * 1e3);
        }
    }
    let [submit, poll, cancel] = times.map(|times| share(&times, 0.99));
    json!({"submit": submit, "poll": poll, "cancel": cancel})
}
