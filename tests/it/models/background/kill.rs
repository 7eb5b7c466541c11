//! A process is killed while its model answers in the background: the answer is paid for once.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use greenroom::{NewRun, RunId, RunStatus, Store};

use super::{agent_at, goes_on};
use crate::scripted_openai::ScriptedOpenAi;
use crate::support::{LONG, has_spoken, start, text};

/// The process that is killed.
#[tokio::test]
#[ignore = "started by the test of what a killed process leaves behind"]
async fn a_process_whose_model_answers_in_the_background() {
    let (Ok(file), Ok(server)) = (env::var("GREENROOM_RUN_ON"), env::var("GREENROOM_ASK_AT")) else { return };
    let runtime = start(Store::sqlite(file), agent_at(&server)).await;
    let run = runtime.submit(NewRun::new("thinker", "1 + 2")).await.unwrap();
    has_spoken(&run).await;
    println!("has spoken: {}", run.run_id());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// Runs the process above until its run has said something, and kills it.
fn killed_process(file: &str, server: &str) -> RunId {
    let claim = "models::background::kill::a_process_whose_model_answers_in_the_background";
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", claim, "--ignored", "--nocapture"])
        .env("GREENROOM_RUN_ON", file)
        .env("GREENROOM_ASK_AT", server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let run_id = lines.filter_map(|line| line.split_once("has spoken: ").map(|(_, id)| id.trim().to_owned())).next();
    process.kill().unwrap();
    process.wait().unwrap();
    run_id.expect("the process ended by itself").parse().unwrap()
}

#[tokio::test]
async fn a_run_of_a_killed_process_pays_once() {
    let server = ScriptedOpenAi::answering(goes_on).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let (file, base_url) = (path.to_str().unwrap().to_owned(), server.base_url());
    let run_id = tokio::task::spawn_blocking(move || killed_process(&file, &base_url)).await.unwrap();

    let runtime = start(Store::sqlite(&path), agent_at(&server.base_url())).await;
    let output = runtime.wait(run_id, LONG).await.unwrap();

    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "Three."));
    let requests: Vec<_> = server.requests().iter().map(|request| request.method.clone()).collect();
    assert_eq!(requests, ["POST", "GET"], "what was asked is looked at, and not asked again");
}
