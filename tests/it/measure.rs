//! Measurements, run by hand: `cargo test --release --test it -- --ignored --nocapture measure::`.
//!
//! They print and assert nothing about time: machines differ.

use std::time::{Duration, Instant};

use greenroom::{Agent, NewRun, OpenAIResponses, RunContext, RunStatus, Runtime, Store};

use crate::postgres::Server;
use crate::scripted_openai::{Reply, ScriptedOpenAi};

mod elsewhere;
mod paused;

const LONG: Duration = Duration::from_secs(60);

#[allow(clippy::print_stdout, reason = "a measurement is there to be read")]
fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("{what}: median {:.2} ms, p99 {:.2} ms, most {:.2} ms", at(0.5), at(0.99), at(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cancel_latency() {
    let Some(server) = Server::start().await else { return };
    let model = ScriptedOpenAi::start(|_, _| Reply::text(["Once", " upon"]).then_stall()).await;
    let client = OpenAIResponses::new("gpt-5-mini").api_key("none").base_url(model.base_url());
    let runtime = Runtime::builder()
        .store(Store::postgres(server.url()))
        .agent(Agent::builder("writer").model(client))
        .start()
        .await
        .unwrap();

    let (mut closed, mut committed) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let run = runtime.submit(NewRun::new("writer", "A long essay, please.")).await.unwrap();
        model.wait_for_requests(n + 1).await;
        let asked = Instant::now();
        run.cancel().await.unwrap();
        committed.push(asked.elapsed());
        closed.push(model.closed(n).await.saturating_duration_since(asked));
        assert_eq!(run.output().await.unwrap().status, RunStatus::Cancelled);
    }

    print("cancel to connection closed", closed);
    print("cancel to CANCELLED committed", committed);
    runtime.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn lifecycles_a_second_by_max_running() {
    const RUNS: usize = 10_000;
    let Some(server) = Server::start().await else { return };
    for round in 0..3 {
        for max_running in [100, 500, 1000] {
            let agent = Agent::builder("instant").code(|_: RunContext| async { Ok("done") });
            let runtime = Runtime::builder().store(Store::postgres(server.url())).max_running(max_running).agent(agent);
            let runtime = runtime.start().await.unwrap();

            // As many callers as there is room for, each with its next run as soon as the last one has settled.
            let begun = Instant::now();
            let callers = (0..max_running).map(|_| async {
                for _ in 0..RUNS / max_running {
                    let run = runtime.submit(NewRun::new("instant", "go")).await.unwrap();
                    assert_eq!(run.wait(LONG).await.unwrap().status, RunStatus::Completed);
                }
            });
            futures_util::future::join_all(callers).await;
            let rate = RUNS as f64 / begun.elapsed().as_secs_f64();

            println!("round {round}, max_running {max_running}: {rate:.0} runs a second");
            runtime.shutdown(LONG).await;
        }
    }
}
