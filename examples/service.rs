//! A whole service: agents over HTTP, until it is told to stop.
//!
//! ```text
//! cargo run --example service
//! ```
//!
//! It listens on `GREENROOM_LISTEN`, 127.0.0.1:8080 when that is not set: whoever can connect can use it, so leave it on
//! loopback. With `DATABASE_URL` it keeps its runs in that Postgres; without, in a new SQLite file. With `OPENAI_API_KEY` it
//! talks to OpenAI (`OPENAI_BASE_URL` to talk to somebody else); without, to a scripted server inside this process.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, error::Error, time::Duration};

use actix_web::{App, HttpServer};
use greenroom::{Agent, AgentBuilder, AgentError, OpenAIResponses, Prometheus, RunContext, RunId, Runtime, Store, web};
use tokio::signal::unix::{SignalKind, signal};

#[path = "support/capital_and_essay.rs"]
mod capital_and_essay;
#[path = "../tests/support/scripted_openai.rs"]
mod scripted_openai;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut model = OpenAIResponses::new("gpt-5-mini");
    let script = capital_and_essay::serve().await;
    if env::var_os("OPENAI_API_KEY").is_none() {
        println!("OPENAI_API_KEY is not set: the answers of `assistant` come from a script");
        model = model.api_key("scripted").base_url(script.base_url());
    }
    let assistant = Agent::builder("assistant").model(model).description("A helpful assistant.").history(10);
    let runtime = Runtime::builder().store(store()).agent(assistant).agent(countdown()).start().await?;

    let door = web::Door::new(runtime.clone()).metrics(Prometheus::install()?);
    let server = HttpServer::new(move || App::new().service(door.scope("")))
        .h1_allow_half_closed(false) // a reader that goes is noticed at once
        .disable_signals()
        .shutdown_timeout(5)
        .bind(env::var("GREENROOM_LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_owned()))?;
    for address in server.addrs() {
        println!("Listening on http://{address}");
    }
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
    println!("Stopping");
    // New runs are refused, and whoever waits for one that is under way is told how it ends.
    let drained = runtime.drain(Duration::from_secs(20)).await;
    handle.stop(true).await;
    runtime.shutdown(Duration::ZERO).await;
    println!("Stopped: {} runs settled, {} left for the next start", drained.settled, drained.handed_back);
    Ok(serving.await??)
}

fn store() -> Store {
    match env::var("DATABASE_URL") {
        Ok(url) => Store::postgres(url),
        Err(_) => {
            let path = env::temp_dir().join(format!("greenroom-service-{}.sqlite", RunId::new()));
            println!("DATABASE_URL is not set: the runs are kept in {}", path.display());
            Store::sqlite(path)
        }
    }
}

/// An agent of code: counts down from its input, a number, once a second.
fn countdown() -> AgentBuilder {
    Agent::builder("countdown").description("Counts down from a number.").code(|cx: RunContext| async move {
        let from: u64 = cx.input_as()?;
        for number in (1..=from).rev() {
            cx.emit_text(format!("{number} ")).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<_, AgentError>("lift-off")
    })
}
