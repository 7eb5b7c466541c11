//! A process is killed when its runs are paused: they are nobody's, and go on in another one.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use greenroom::{Agent, AgentBuilder, Decision, NewRun, RunContext, RunId, RunStatus, Runtime, Store};

use super::{id, paused};
use crate::postgres::fresh_database;
use crate::support::{LONG, text};

const RUNS: usize = 20;

/// No lease ends here: nothing has to be rescued.
const TTL: Duration = Duration::from_secs(300);

/// Works, asks, and works again. Each work is a line of a file, outside of all processes.
fn careful(notes: &Path) -> AgentBuilder {
    let notes: PathBuf = notes.to_owned();
    Agent::builder("careful").max_attempts(1).code(move |cx: RunContext| {
        let notes = notes.clone();
        async move {
            let note = |what: &str| {
                let mut file = OpenOptions::new().create(true).append(true).open(&notes)?;
                file.write_all(format!("{} {what}\n", cx.run_id()).as_bytes())
            };
            cx.step("before", async || Ok(note("before")?)).await?;
            let said = cx.confirm("go", ()).await?;
            cx.step("after", async || Ok(note("after")?)).await?;
            Ok(if said.confirmed { "went" } else { "stayed" })
        }
    })
}

async fn runtime(url: &str, notes: &Path) -> Runtime {
    let builder = Runtime::builder().store(Store::postgres(url)).agent(careful(notes)).lease_ttl(TTL);
    builder.start().await.unwrap()
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test of what a killed process leaves paused"]
async fn a_process_whose_runs_are_paused() {
    let (Ok(url), Ok(notes)) = (env::var("GREENROOM_PAUSE_ON"), env::var("GREENROOM_NOTE_AT")) else { return };
    let runtime = runtime(&url, Path::new(&notes)).await;
    let submits = (0..RUNS).map(|_| runtime.submit(NewRun::new("careful", "go")));
    for run in join_all(submits).await {
        let run = run.unwrap();
        paused(&run).await;
        println!("has paused {}", run.run_id());
    }
    println!("all are paused");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// Runs the process above until all its runs are paused, and kills it.
fn killed_process(url: &str, notes: &Path) -> Vec<RunId> {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "people::kill::a_process_whose_runs_are_paused", "--ignored", "--nocapture"])
        .env("GREENROOM_PAUSE_ON", url)
        .env("GREENROOM_NOTE_AT", notes)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut runs = Vec::new();
    let all_paused = lines.by_ref().any(|line| {
        runs.extend(line.split_once("has paused ").and_then(|(_, run_id)| run_id.trim().parse::<RunId>().ok()));
        line.contains("all are paused")
    });
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(all_paused, "the process ended by itself");
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_has_paused_goes_on_in_another() {
    let database = fresh_database().await;
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let (url, path) = (database.url().to_owned(), notes.clone());
    let runs = tokio::task::spawn_blocking(move || killed_process(&url, &path)).await.unwrap();
    assert_eq!(runs.len(), RUNS);

    let other = runtime(database.url(), &notes).await;
    for (place, run_id) in runs.iter().enumerate() {
        let output = other.get(*run_id).await.unwrap().unwrap().output;
        assert_eq!(output.status, RunStatus::Paused);
        let decision = if place == 0 { Decision::reject(id(&output), "no") } else { Decision::confirm(id(&output)) };
        other.continue_run(*run_id, [decision]).await.unwrap();
    }
    for (place, run_id) in runs.iter().enumerate() {
        let output = other.wait(*run_id, LONG).await.unwrap();
        assert_eq!((output.status, text(&output)), (RunStatus::Completed, if place == 0 { "stayed" } else { "went" }));
    }
    other.shutdown(LONG).await;

    let notes = fs::read_to_string(notes).unwrap();
    for run_id in runs {
        let done: Vec<&str> = notes.lines().filter_map(|line| line.strip_prefix(&*run_id.to_string())).collect();
        assert_eq!(done, [" before", " after"], "each piece of work is done once");
    }
}
