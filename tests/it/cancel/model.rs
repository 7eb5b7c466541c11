//! A cancel reaches the model's connection, whatever is going on there.

use std::time::{Duration, Instant};

use greenroom::{Agent, AgentBuilder, CancelOutcome, NewRun, OpenAIResponses, RunHandle, RunStatus, Runtime, Store};

use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::{has_spoken, log, names, pieces, settled, soon, start, text};

fn agent(server: &ScriptedOpenAi, streaming: bool) -> AgentBuilder {
    let model = OpenAIResponses::new("gpt-5-mini").api_key("key").base_url(server.base_url());
    Agent::builder("BackgroundAgent").model(model.streaming(streaming))
}

async fn submitted(server: &ScriptedOpenAi, streaming: bool) -> (Runtime, RunHandle) {
    let runtime = start(Store::sqlite_in_memory(), agent(server, streaming)).await;
    let run = runtime.submit(NewRun::new("BackgroundAgent", "Write an essay.")).await.unwrap();
    soon(server.wait_for_requests(1)).await;
    (runtime, run)
}

/// Cancels, and says what the run had said by then.
async fn cancelled(server: &ScriptedOpenAi, run: &RunHandle) -> String {
    let asked = Instant::now();
    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);
    let closed = soon(server.closed(0)).await;
    assert!(closed.saturating_duration_since(asked) < Duration::from_secs(10), "the connection was closed late");
    let output = run.output().await.unwrap();
    assert_eq!(output.status, RunStatus::Cancelled);
    assert_eq!(server.request_count(), 1);
    text(&output).to_owned()
}

#[tokio::test]
async fn a_stream_that_flows_is_closed() {
    let reply = || Reply::text(vec!["word "; 4_000]).delay(Duration::from_millis(5));
    let server = ScriptedOpenAi::start(move |_, _| reply()).await;
    let (runtime, run) = submitted(&server, true).await;
    has_spoken(&run).await;

    let said = cancelled(&server, &run).await;

    assert!(said.starts_with("word ") && said.len() < 5 * 4_000);
    let log = log(&runtime, run.run_id()).await;
    assert_eq!(pieces(&log).concat(), said);
    assert_eq!(names(&log).last().unwrap(), "RunCancelled");
}

#[tokio::test]
async fn a_stream_that_stalls_is_closed() {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["so far"]).then_stall()).await;
    let (_runtime, run) = submitted(&server, true).await;
    has_spoken(&run).await;

    assert_eq!(cancelled(&server, &run).await, "so far");
}

#[tokio::test]
async fn a_request_without_an_answer_is_closed() {
    for streaming in [true, false] {
        let server = ScriptedOpenAi::start(|_, _| Reply::stall()).await;
        let (_runtime, run) = submitted(&server, streaming).await;

        assert_eq!(cancelled(&server, &run).await, "");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_closed() {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["so far"]).then_stall()).await;
    let (_runtime, run) = submitted(&server, false).await;

    assert_eq!(cancelled(&server, &run).await, "");
}

#[tokio::test]
async fn a_model_that_is_to_be_asked_again_is_not() {
    // Time enough for the cancel before the third request.
    let wait = |n: usize| if n == 0 { "10" } else { "3000" };
    let refusal = move |n| Reply::status(429, "busy", "later").header("retry-after-ms", wait(n));
    let server = ScriptedOpenAi::start(move |n, _| refusal(n)).await;
    let model = OpenAIResponses::new("gpt-5-mini").api_key("key").base_url(server.base_url()).max_retries(100);
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("BackgroundAgent").model(model)).await;
    let run = runtime.submit(NewRun::new("BackgroundAgent", "Write an essay.")).await.unwrap();
    // The second request shows that the first wait was over, so that the second one is next.
    soon(server.wait_for_requests(2)).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
    let third = tokio::time::timeout(Duration::from_secs(4), server.wait_for_requests(3)).await;
    assert!(third.is_err(), "nobody is left to ask again");
}
