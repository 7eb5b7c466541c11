//! How long it takes until one process knows what another one has done.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use greenroom::{Agent, NewRun, OpenAIResponses, PostgresOptions, RunContext, RunEventKind, RunId, Runtime};
use tokio::sync::mpsc;

use super::{LONG, print};
use crate::postgres::Server;
use crate::scripted_openai::{Reply, ScriptedOpenAi};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

fn options(url: &str, poll_only: bool) -> PostgresOptions {
    let options = PostgresOptions::new(url);
    if poll_only { options.poll_only() } else { options }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cancel_latency_across_processes() {
    let Some(server) = Server::start().await else { return };
    for (poll_only, runs) in [(false, 1000), (true, 50)] {
        let model = ScriptedOpenAi::start(|_, _| Reply::text(["Once", " upon"]).then_stall()).await;
        let writer = || {
            let client = OpenAIResponses::new("gpt-5-mini").api_key("none").base_url(model.base_url());
            Agent::builder("writer").model(client)
        };
        let runtime = Runtime::builder().store(options(server.url(), poll_only)).poll_interval(POLL_INTERVAL);
        let owner = runtime.agent(writer()).start().await.unwrap();
        let warm_up = owner.submit(NewRun::new("writer", "Warm up.")).await.unwrap();
        model.wait_for_requests(1).await;
        owner.cancel(warm_up.run_id()).await.unwrap();
        // It knows no agent, so it takes up nothing.
        let other = Runtime::builder().store(options(server.url(), poll_only)).start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;

        let (mut answered, mut closed) = (Vec::new(), Vec::new());
        for n in 1..=runs {
            let run = owner.submit(NewRun::new("writer", "A long essay, please.")).await.unwrap();
            model.wait_for_requests(n + 1).await;
            let asked = Instant::now();
            other.cancel(run.run_id()).await.unwrap();
            answered.push(asked.elapsed());
            closed.push(model.closed(n).await.saturating_duration_since(asked));
        }
        let how = if poll_only { "poll_only, 1 s" } else { "hints" };
        print(&format!("{how}: cancel in another process to its answer"), answered);
        print(&format!("{how}: cancel in another process to connection closed"), closed);
        other.shutdown(LONG).await;
        owner.shutdown(LONG).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn event_latency_across_processes() {
    let Some(server) = Server::start().await else { return };
    for (poll_only, events) in [(false, 500), (true, 30)] {
        let (ticks, told_by_code) = mpsc::channel(1);
        let told_by_code = std::sync::Arc::new(tokio::sync::Mutex::new(told_by_code));
        let agent = Agent::builder("counting").code(move |cx: RunContext| {
            let told_by_code = std::sync::Arc::clone(&told_by_code);
            async move {
                while let Some(number) = told_by_code.lock().await.recv().await {
                    cx.emit("count", number).await?;
                }
                Ok(())
            }
        });
        let runtime = Runtime::builder().store(options(server.url(), poll_only)).poll_interval(POLL_INTERVAL);
        let owner = runtime.agent(agent).start().await.unwrap();
        let run_id = owner.submit(NewRun::new("counting", "go")).await.unwrap().run_id();
        let other = Runtime::builder().store(options(server.url(), poll_only)).start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;

        let latencies = follow(&other, run_id, ticks, events).await;
        let how = if poll_only { "poll_only, 1 s" } else { "hints" };
        print(&format!("{how}: event in another process to its reader"), latencies);
        other.shutdown(LONG).await;
        owner.shutdown(LONG).await;
    }
}

async fn follow(runtime: &Runtime, run_id: RunId, ticks: mpsc::Sender<u64>, events: u64) -> Vec<Duration> {
    let mut followed = runtime.subscribe(run_id, None).await.unwrap();
    let mut latencies = Vec::new();
    for number in 0..events {
        ticks.send(number).await.unwrap();
        let said = Instant::now();
        loop {
            let event = followed.next().await.unwrap().unwrap();
            if matches!(&event.kind, RunEventKind::CustomEvent { data, .. } if data.as_json().as_u64() == Some(number))
            {
                break;
            }
        }
        latencies.push(said.elapsed());
    }
    latencies
}
