//! Background execution, three times: a run that is polled, a run that is cancelled, and a run that is cancelled before it
//! was submitted.
//!
//! ```text
//! cargo run --example background_execution
//! ```
//!
//! With `OPENAI_API_KEY` it talks to OpenAI (`OPENAI_BASE_URL` to talk to somebody else); without, to a scripted server
//! inside this process, by the same HTTP client. With `DATABASE_URL` it keeps its runs in that Postgres; without, in a new
//! SQLite file.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use greenroom::{Agent, NewRun, OpenAIResponses, RunId, RunOutput, RunStatus, Runtime, Store};

#[path = "support/capital_and_essay.rs"]
mod capital_and_essay;
#[path = "../tests/support/scripted_openai.rs"]
mod scripted_openai;

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let scripted = match std::env::var("OPENAI_API_KEY") {
        Ok(_) => None,
        Err(_) => Some(capital_and_essay::serve().await),
    };
    let mut model = OpenAIResponses::new("gpt-5-mini");
    if let Some(server) = &scripted {
        println!("OPENAI_API_KEY is not set: the answers come from a scripted server at {}", server.base_url());
        model = model.api_key("scripted").base_url(server.base_url());
    }
    let agent = Agent::builder("BackgroundAgent").model(model).description("An agent that runs in the background");
    let runtime = Runtime::builder().store(store()).agent(agent).start().await?;

    polling(&runtime).await?;
    cancel(&runtime).await?;
    let asked_before = scripted.as_ref().map(|server| server.request_count());
    cancel_before_start(&runtime).await?;
    if let (Some(server), Some(before)) = (&scripted, asked_before) {
        println!("The model was asked {} times", server.request_count() - before);
    }

    runtime.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

fn store() -> Store {
    match std::env::var("DATABASE_URL") {
        Ok(url) => Store::postgres(url),
        Err(_) => {
            let path = std::env::temp_dir().join(format!("greenroom-example-{}.sqlite", RunId::new()));
            println!("DATABASE_URL is not set: the runs are kept in {}", path.display());
            Store::sqlite(path)
        }
    }
}

/// A run is submitted, comes back at once, and is polled until it has settled.
async fn polling(runtime: &Runtime) -> Result<(), Failure> {
    println!("\n=== Polling ===");
    let agent = runtime.agent("BackgroundAgent")?;
    let run = agent.submit("What is the capital of France? Answer in one sentence.").await?;
    println!("Run ID: {}", run.run_id());
    println!("Session ID: {}", run.session_id());
    println!("Status: {}", run.status());
    expect(run.status() == RunStatus::Pending, "the run should come back as PENDING")?;

    for second in 1..=30 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(output) = runtime.get_run_output(run.run_id(), run.session_id().clone()).await? else {
            println!("[{second}s] Run not found yet");
            continue;
        };
        println!("[{second}s] Status: {}", output.status);
        match output.status {
            RunStatus::Completed => {
                println!("Completed! Content: {}", text_of(&output));
                return Ok(());
            }
            RunStatus::Error | RunStatus::Cancelled => {
                return Err(format!("the run ended as {}: {:?}", output.status, output.error).into());
            }
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused => {}
        }
    }
    Err("the run did not complete within 30 seconds".into())
}

/// A long run is cancelled while it is under way; what it has said so far is kept.
async fn cancel(runtime: &Runtime) -> Result<(), Failure> {
    println!("\n=== Cancelling ===");
    let agent = runtime.agent("BackgroundAgent")?;
    let run = agent.submit("Write a 5000-word essay about the history of artificial intelligence.").await?;
    println!("Run ID: {}", run.run_id());
    println!("Status: {}", run.status());
    tokio::time::sleep(Duration::from_secs(2)).await;

    println!("Cancel result: {:?}", runtime.cancel(run.run_id()).await?);
    let output = run.output().await?;
    println!("Final status: {}", output.status);
    let text = text_of(&output);
    println!("Partial content ({} bytes): {} …", text.len(), text.chars().take(60).collect::<String>());
    expect(output.status == RunStatus::Cancelled, "the run should be CANCELLED")?;
    expect(!text.is_empty(), "the run should have kept what it had said")
}

/// A run is cancelled before it is submitted: it is accepted, and ends without having started.
async fn cancel_before_start(runtime: &Runtime) -> Result<(), Failure> {
    println!("\n=== Cancelling before the start ===");
    let run_id = RunId::new();
    println!("Run ID: {run_id}");
    println!("Cancel result: {:?}", runtime.cancel(run_id).await?);

    let run = runtime.submit(NewRun::new("BackgroundAgent", "Tell me a long story.").run_id(run_id)).await?;
    println!("Status: {}", run.status());
    expect(run.status() == RunStatus::Pending, "the run should come back as PENDING")?;
    let output = run.wait(Duration::from_secs(10)).await?;
    println!("Final status: {}", output.status);
    expect(output.status == RunStatus::Cancelled, "the run should be CANCELLED")
}

fn text_of(output: &RunOutput) -> &str {
    output.content.as_ref().and_then(|content| content.as_text()).unwrap_or_default()
}

fn expect(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(what.into()) }
}
