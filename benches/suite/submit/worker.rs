//! One process whose callers submit.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use futures_util::stream;
use greenroom::model::{Model, ModelError, ModelEvent, ModelRequest, ModelTurn};
use greenroom::{Agent, NewRun, RunContext, Runtime, Store};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::child::until_not_needed;
use crate::support::recorder;
use crate::support::report::{median, share};
use crate::support::runtime;

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(60);

/// Plays `submits URL WHAT CALLERS WARM_UP ROUND`, times in milliseconds, and prints one line of JSON.
pub(crate) fn play(arguments: &[&str]) {
    let [url, what, callers, warm_up, round] = arguments else { unreachable!("five arguments") };
    let callers = callers.parse().unwrap();
    let [warm_up, round] = [warm_up, round].map(|time| Duration::from_millis(time.parse().unwrap()));
    runtime::for_callers().block_on(async {
        let heard = recorder::listen(|| ());
        let (asked, mut calls) = mpsc::unbounded_channel();
        let runtime = Runtime::builder().store(Store::postgres(*url)).max_waiting(usize::MAX);
        let runtime = runtime.agent(Agent::builder("code").code(|_: RunContext| async { Ok("done") }));
        let runtime = runtime.agent(Agent::builder("model").model(Noting(asked))).start().await.unwrap();
        times(what, &runtime, callers, &mut calls, warm_up).await;
        heard.forget();
        let times = times(what, &runtime, callers, &mut calls, round).await;
        let batch = median(&heard.batches().1) * 1e3;
        let [p50, p99] = [0.5, 0.99].map(|at| share(&times, at) * 1e3);
        println!("{}", json!({"p50_ms": p50, "p99_ms": p99, "batch_ms": batch}));
        until_not_needed();
    });
}

/// How long each took of what is asked for, in seconds.
async fn times(
    what: &str,
    runtime: &Runtime,
    callers: usize,
    calls: &mut mpsc::UnboundedReceiver<Instant>,
    time: Duration,
) -> Vec<f64> {
    match what {
        "accepted" => accepted(runtime, callers, time).await,
        "picked-up" => picked_up(runtime, calls, time).await,
        "whole" => whole(runtime, time).await,
        what => unreachable!("nobody asks for {what}"),
    }
}

/// From a submit to its answer. The runs are for later, so that only their acceptance is measured.
async fn accepted(runtime: &Runtime, callers: usize, time: Duration) -> Vec<f64> {
    let begun = Instant::now();
    let callers = (0..callers).map(|_| {
        let runtime = runtime.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let run = NewRun::new("code", "go").run_at(Utc::now() + TimeDelta::days(30));
                let asked = Instant::now();
                runtime.submit(run).await.unwrap();
                times.push(asked.elapsed().as_secs_f64());
            }
            times
        })
    });
    join_all(callers).await.into_iter().flat_map(Result::unwrap).collect()
}

/// From a submit to the call of the model, one run after the other.
async fn picked_up(runtime: &Runtime, calls: &mut mpsc::UnboundedReceiver<Instant>, time: Duration) -> Vec<f64> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let asked = Instant::now();
        let run = runtime.submit(NewRun::new("model", "go")).await.unwrap();
        times.push(calls.recv().await.unwrap().duration_since(asked).as_secs_f64());
        assert!(run.wait(LONG).await.unwrap().status.is_terminal());
    }
    times
}

/// From a submit until its caller has the outcome, one run after the other.
async fn whole(runtime: &Runtime, time: Duration) -> Vec<f64> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let asked = Instant::now();
        let run = runtime.submit(NewRun::new("code", "go")).await.unwrap();
        assert!(run.wait(LONG).await.unwrap().status.is_terminal());
        times.push(asked.elapsed().as_secs_f64());
    }
    times
}

/// Tells when it is called, and answers at once.
struct Noting(mpsc::UnboundedSender<Instant>);

impl Model for Noting {
    fn id(&self) -> &str {
        "noting"
    }

    fn provider(&self) -> &str {
        "bench"
    }

    fn respond(&self, _: ModelRequest) -> stream::BoxStream<'static, Result<ModelEvent, ModelError>> {
        self.0.send(Instant::now()).unwrap();
        let turn = ModelTurn::new("done", greenroom::Usage::default());
        Box::pin(stream::iter([Ok(ModelEvent::Done(turn))]))
    }
}
