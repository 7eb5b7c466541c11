//! A process is killed when its runs are paused: they are nobody's, and go on in another one.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use greenroom::{Agent, AgentBuilder, Decision, NewRun, RunContext, RunStatus, Runtime, Store};

use super::{id, paused};
use crate::postgres::fresh_database;
use crate::support::killed::killed_process;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_has_paused_goes_on_in_another() {
    let database = fresh_database().await;
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let (url, path) = (database.url().to_owned(), notes.clone());
    let kill = move || {
        let variables = [("GREENROOM_PAUSE_ON", url.as_ref()), ("GREENROOM_NOTE_AT", path.as_os_str())];
        let test = "people::kill::a_process_whose_runs_are_paused";
        killed_process(test, &variables, "has paused ", "all are paused")
    };
    let runs = tokio::task::spawn_blocking(kill).await.unwrap();
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
