//! The process that cancels, with the model beside it, so that one clock tells both ends; and the one that has the runs.

use std::time::{Duration, Instant};

use greenroom::{Agent, AgentBuilder, NewRun, OpenAIResponses, RunId, RunStatus, Runtime, Store};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::child::{Process, until_not_needed, was_told_to_go};
use crate::support::runtime;

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(60);

/// So long after it was asked, the model is in its state: it has said something, or its client is waiting to ask again.
const INTO_STATE: Duration = Duration::from_millis(30);

/// Plays `cancels URL STATE PLACE COUNT`, and prints one line of JSON: seconds of each cancel.
pub(crate) fn play(arguments: &[&str]) {
    let [url, state, place, count] = arguments else { unreachable!("four arguments") };
    let count = count.parse().unwrap();
    runtime::for_callers().block_on(async {
        let model = model(state).await;
        let (closed, known) = match (*state, *place) {
            ("dropped", _) => (drops(&model, count).await, Vec::new()),
            (state, "in another process") => {
                let mut owner = Process::start(&["owner", url, &model.base_url()]);
                let canceller = Runtime::builder().store(Store::postgres(*url)).start().await.unwrap();
                let submit = async || {
                    owner.go();
                    owner.line().parse().unwrap()
                };
                cancels(&canceller, &model, state, count, submit).await
            }
            (state, _) => {
                let runtime = start(url, &model.base_url()).await;
                let submit = async || runtime.submit(NewRun::new("writer", "An essay.")).await.unwrap().run_id();
                cancels(&runtime, &model, state, count, submit).await
            }
        };
        println!("{}", json!({"closed": closed, "known": known}));
        until_not_needed();
    });
}

/// Plays `owner URL MODEL`: submits a run whenever it is told to, and prints its id.
pub(crate) fn own(arguments: &[&str]) {
    let [url, model] = arguments else { unreachable!("two arguments") };
    runtime::for_callers().block_on(async {
        let runtime = start(url, model).await;
        while was_told_to_go().await {
            println!("{}", runtime.submit(NewRun::new("writer", "An essay.")).await.unwrap().run_id());
        }
    });
}

async fn start(url: &str, model: &str) -> Runtime {
    Runtime::builder().store(Store::postgres(url)).agent(writer(model)).start().await.unwrap()
}

fn writer(model: &str) -> AgentBuilder {
    Agent::builder("writer").model(OpenAIResponses::new("gpt-5-mini").api_key("none").base_url(model))
}

/// A model that is in this state as long as nobody hangs up.
async fn model(state: &str) -> ScriptedOpenAi {
    let reply = match state {
        "streaming" => Reply::text(vec!["and on "; 500]).delay(Duration::from_millis(10)),
        "stalled" | "dropped" => Reply::text(["Once", " upon"]).then_stall(),
        "in back-off" => Reply::status(503, "overloaded", "come again").header("retry-after", "30"),
        state => unreachable!("nobody asks for {state}"),
    };
    ScriptedOpenAi::start(move |_, _| reply.clone()).await
}

/// Cancels one run after the other: seconds until the model's connection was closed, and until the caller knew.
async fn cancels(
    runtime: &Runtime,
    model: &ScriptedOpenAi,
    state: &str,
    count: usize,
    mut submit: impl AsyncFnMut() -> RunId,
) -> (Vec<f64>, Vec<f64>) {
    let (mut closed, mut known) = (Vec::new(), Vec::new());
    // The first one warms up.
    for number in 0..=count {
        let run_id = submit().await;
        model.wait_for_requests(number + 1).await;
        tokio::time::sleep(INTO_STATE).await;
        let asked = Instant::now();
        runtime.cancel(run_id).await.unwrap();
        let output = runtime.wait(run_id, LONG).await.unwrap();
        let elapsed = asked.elapsed();
        assert_eq!(output.status, RunStatus::Cancelled);
        if number > 0 {
            known.push(elapsed.as_secs_f64());
        }
        if number > 0 && state != "in back-off" {
            closed.push(model.closed(number).await.saturating_duration_since(asked).as_secs_f64());
        }
    }
    (closed, known)
}

/// What nobody can be faster than: a client without a runtime around it that drops its connection.
async fn drops(model: &ScriptedOpenAi, count: usize) -> Vec<f64> {
    let address = model.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let mut closed = Vec::new();
    for number in 0..=count {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let body = json!({"model": "none", "input": "An essay.", "stream": true}).to_string();
        let head = format!("POST /v1/responses HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let read = stream.read(&mut [0; 64]).await.unwrap();
        assert!(read > 0, "the model answers");
        tokio::time::sleep(INTO_STATE).await;
        let dropped = Instant::now();
        drop(stream);
        let noticed = model.closed(number).await;
        if number > 0 {
            closed.push(noticed.saturating_duration_since(dropped).as_secs_f64());
        }
    }
    closed
}
