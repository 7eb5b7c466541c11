//! Steps: a run is stopped in the middle by a shutdown, and goes on where it was.
//!
//! ```text
//! cargo run --example steps
//! ```
//!
//! With `DATABASE_URL` it keeps its runs in that Postgres; without, in a new SQLite file. After a crash it would be the
//! same: the steps are in the database.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use greenroom::{Agent, AgentBuilder, AgentError, CrashPolicy, NewRun, RunContext, RunId, Runtime, Store};
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("greenroom-example-{}.sqlite", RunId::new()));
    let store = || std::env::var("DATABASE_URL").map_or_else(|_| Store::sqlite(&path), Store::postgres);
    let booked = Arc::new(Notify::new());

    println!("A first runtime:");
    let first = Runtime::builder().store(store()).agent(travel_agent(&booked)).start().await?;
    let run_id = first.submit(NewRun::new("travel", "Paris")).await?.run_id();
    booked.notified().await;
    first.shutdown(Duration::ZERO).await;

    println!("A second one, as after a deploy:");
    let second = Runtime::builder().store(store()).agent(travel_agent(&booked)).start().await?;
    let output = second.wait(run_id, Duration::from_secs(30)).await?;
    println!("{}: {}", output.status, output.content.ok_or("the run has no content")?);
    second.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// An agent with three steps, of which the last one takes its time in the first attempt.
fn travel_agent(booked: &Arc<Notify>) -> AgentBuilder {
    let booked = Arc::clone(booked);
    Agent::builder("travel").on_crash(CrashPolicy::Resume).code(move |cx: RunContext| {
        let booked = Arc::clone(&booked);
        async move {
            let city = cx.input().as_text().ok_or_else(|| AgentError::new("expected a city"))?;
            let train = cx.step("book the train", async || done(format!("a train to {city}"))).await?;
            // A service that knows the key books once, however often it is asked.
            let hotel = cx.step_with_key("book the hotel", async |key| done(format!("a hotel, as {key}"))).await?;
            let post = async || {
                if cx.attempt() == 1 {
                    booked.notify_one();
                    std::future::pending::<()>().await;
                }
                done("a postcard".to_owned())
            };
            let card = cx.step("write home", post).await?;
            Ok([train, hotel, card])
        }
    })
}

fn done(what: String) -> Result<String, AgentError> {
    println!("  {what}");
    Ok(what)
}
