//! A process is killed in the middle of 500 runs: what their steps have asked of a model is not asked again.

use std::collections::HashMap;
use std::env;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use greenroom::model::{Message, Model, ModelEvent, ModelRequest, Role};
use greenroom::{
    Agent, AgentBuilder, AgentError, CrashPolicy, NewRun, OpenAIResponses, RunContext, RunStatus, Runtime, Store,
};
use tokio::sync::{Semaphore, watch};
use tokio_postgres::NoTls;

use crate::postgres::fresh_database;
use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::LONG;
use crate::support::killed::killed_process;

const RUNS: usize = 500;

/// No lease ends here because the machine is slow.
const TTL: Duration = Duration::from_secs(300);

/// How many turns are under way at the same time: each takes a connection.
const TURNS: usize = 32;

async fn turn(model: &OpenAIResponses, question: String) -> Result<String, AgentError> {
    let mut request = ModelRequest::default();
    request.messages.push(Message::new(Role::User, question));
    let mut answer = model.respond(request);
    while let Some(event) = answer.next().await {
        if let ModelEvent::Done(turn) = event? {
            return Ok(turn.text);
        }
    }
    Err(AgentError::new("the turn has no end"))
}

/// Two steps that ask the model at `server`, and a third one that waits at the gate.
fn asks_twice(server: &str, gate: &watch::Sender<bool>, at_gate: &watch::Sender<usize>) -> AgentBuilder {
    let model = Arc::new(OpenAIResponses::new("gpt-5-mini").api_key("none").base_url(server));
    let turns = Arc::new(Semaphore::new(TURNS));
    let (gate, at_gate) = (gate.clone(), at_gate.clone());
    Agent::builder("asks twice").on_crash(CrashPolicy::Resume).code(move |cx: RunContext| {
        let (model, turns, gate, at_gate) = (Arc::clone(&model), Arc::clone(&turns), gate.clone(), at_gate.clone());
        async move {
            let mut answers = Vec::new();
            for number in 1..=2 {
                let question = format!("{} {number}", cx.run_id());
                let ask = async || {
                    let _turn = turns.acquire().await?;
                    turn(&model, question).await
                };
                answers.push(cx.step("ask", ask).await?);
            }
            let wait = async || {
                at_gate.send_modify(|count| *count += 1);
                gate.subscribe().wait_for(|open| *open).await?;
                Ok(cx.attempt())
            };
            let attempt = cx.step("wait", wait).await?;
            Ok((answers, attempt))
        }
    })
}

async fn runtime(url: &str, agent: AgentBuilder) -> Runtime {
    let builder = Runtime::builder().store(Store::postgres(url)).agent(agent).lease_ttl(TTL).max_running(RUNS);
    // Nothing here happens because somebody looked by chance.
    builder.poll_interval(LONG * 100).call_timeout(LONG).start().await.unwrap()
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test of what a killed process leaves behind"]
async fn a_process_in_the_middle_of_steps() {
    let (Ok(url), Ok(server)) = (env::var("GREENROOM_RUN_ON"), env::var("GREENROOM_ASK_AT")) else { return };
    let (gate, at_gate) = (watch::Sender::new(false), watch::Sender::new(0));
    let runtime = runtime(&url, asks_twice(&server, &gate, &at_gate)).await;
    let submits = (0..RUNS).map(|_| runtime.submit(NewRun::new("asks twice", "go")));
    for run in join_all(submits).await {
        println!("has submitted {}", run.unwrap().run_id());
    }
    at_gate.subscribe().wait_for(|count| *count == RUNS).await.unwrap();
    println!("all have asked twice");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_has_asked_a_model_is_not_asked_again() {
    let database = fresh_database().await;
    let echo = |_: usize, body: &serde_json::Value| Reply::text([format!("heard {}", question(body))]);
    let server = ScriptedOpenAi::start(echo).await;
    let (gate, at_gate) = (watch::Sender::new(true), watch::Sender::new(0));
    let (url, base_url) = (database.url().to_owned(), server.base_url());
    let kill = move || {
        let variables = [("GREENROOM_RUN_ON", url.as_ref()), ("GREENROOM_ASK_AT", base_url.as_ref())];
        let test = "steps::kill::a_process_in_the_middle_of_steps";
        killed_process(test, &variables, "has submitted ", "all have asked twice")
    };
    let runs = tokio::task::spawn_blocking(kill).await.unwrap();
    assert_eq!(runs.len(), RUNS);
    end_leases(database.url()).await;
    let began = Instant::now();
    let other = runtime(database.url(), asks_twice(&server.base_url(), &gate, &at_gate)).await;

    let outputs = join_all(runs.iter().map(|run_id| other.wait(*run_id, LONG))).await;
    println!("all had ended {:?} after the lease of their process", began.elapsed());
    for (run_id, output) in runs.iter().zip(outputs) {
        let output = output.unwrap();
        assert_eq!(output.status, RunStatus::Completed, "{:?}", output.error);
        let answers = [1, 2].map(|number| format!("heard {run_id} {number}"));
        assert_eq!(output.content, Some(serde_json::json!([answers, 2]).into()));
    }
    let mut asked: HashMap<String, usize> = HashMap::new();
    for request in server.requests() {
        *asked.entry(question(&request.body)).or_default() += 1;
    }
    assert_eq!(asked.len(), 2 * RUNS);
    assert!(asked.values().all(|times| *times == 1), "something was asked twice");
    other.shutdown(LONG).await;
}

async fn end_leases(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("UPDATE greenroom.nodes SET lease_until = now()").await.unwrap();
}

/// What a request asks.
fn question(body: &serde_json::Value) -> String {
    let input = &body["input"];
    let last = input.as_array().and_then(|items| items.last()).map_or(input, |item| &item["content"]);
    last.as_str().map_or_else(|| last[0]["text"].as_str().unwrap_or_default().to_owned(), str::to_owned)
}
