//! A process that is asked to end.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use greenroom::{CrashPolicy, NewRun, RunQuery, RunStatus, Runtime, RuntimeBuilder, Store};

use crate::support::{Gate, LONG, gated, soon};

fn runtime_at(path: &Path, gate: &Gate) -> RuntimeBuilder {
    Runtime::builder().store(Store::sqlite(path)).agent(gated(gate).on_crash(CrashPolicy::Restart).max_attempts(1))
}

/// The process that is asked to end.
#[tokio::test]
#[ignore = "started by the test of what becomes of its runs"]
async fn a_process_that_heeds_sigterm() {
    let Ok(path) = env::var("GREENROOM_END_AT") else { return };
    let gate = Gate::new();
    let builder = runtime_at(Path::new(&path), &gate).shutdown_on_sigterm(Duration::ZERO);
    let runtime = builder.start().await.unwrap();
    runtime.submit(NewRun::new("gated", "hi")).await.unwrap();
    gate.arrivals(1).await;
    println!("the run is live");
    std::io::stdout().flush().unwrap();
    let drained = soon(runtime.stopped()).await;
    println!("drained {} {} {}", drained.settled, drained.handed_back, drained.lost);
}

#[tokio::test]
async fn sigterm_shuts_the_runtime_down_and_its_runs_are_handed_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let at = path.clone();
    let ended = tokio::task::spawn_blocking(move || {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "embedding::sigterm::a_process_that_heeds_sigterm", "--ignored", "--nocapture"])
            .env("GREENROOM_END_AT", at)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("the run is live")));
        let killed = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let drained = lines.find(|line| line.contains("drained"));
        (process.wait().unwrap(), drained)
    });
    let (status, drained) = ended.await.unwrap();
    assert!(status.success(), "{status}");
    assert!(drained.unwrap().contains("drained 0 1 0"));

    let gate = Gate::new();
    gate.open(1);
    let next = runtime_at(&path, &gate).start().await.unwrap();
    let run = next.list(RunQuery::new()).await.unwrap().runs.remove(0);
    let output = next.wait(run.output.run_id, LONG).await.unwrap();
    assert_eq!(output.status, RunStatus::Completed, "no attempt was burnt");
}

#[tokio::test]
async fn whoever_waits_for_the_end_hears_of_a_shutdown_by_anybody() {
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(gated(&Gate::new())).start().await.unwrap();
    let waiting = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.stopped().await }
    });
    let drained = soon(runtime.shutdown(LONG)).await;
    assert_eq!(soon(waiting).await.unwrap(), drained);
    assert_eq!(soon(runtime.stopped()).await, drained, "also when it is long over");
}
