//! What paused runs cost the process that has paused them: its memory after so many of them, against that of a process whose
//! runs have completed. Each figure is of a process of its own, and both are measured several times, in turn.

#![allow(clippy::print_stdout, reason = "a measurement is there to be read")]

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use greenroom::{Agent, AgentBuilder, Decision, NewRun, RunContext, RunId, RunQuery, RunStatus, Runtime, Store};

use super::LONG;
use crate::postgres::fresh_database;

const RUNS: usize = 10_000;

/// So many runs warm everything up before.
const WARM_UP: usize = 2000;

/// How many runs are under way at the same time.
const AT_ONCE: usize = 500;

const REPETITIONS: usize = 5;

fn asks() -> AgentBuilder {
    Agent::builder("asks").code(|cx: RunContext| async move {
        // The input says whether it asks anybody.
        let goes = !cx.input_as::<bool>()? || cx.confirm("go", "?").await?.confirmed;
        Ok(if goes { "went" } else { "stayed" })
    })
}

async fn runtime(url: &str) -> Runtime {
    Runtime::builder().store(Store::postgres(url)).agent(asks()).start().await.unwrap()
}

/// Submits so many runs, and waits until all of them have completed or are paused.
async fn submit(runtime: &Runtime, runs: usize, pauses: bool) {
    for _ in 0..runs / AT_ONCE {
        for run in join_all((0..AT_ONCE).map(|_| runtime.submit(NewRun::new("asks", pauses)))).await {
            run.unwrap();
        }
        for status in [RunStatus::Pending, RunStatus::Running] {
            while !runtime.list(RunQuery::new().status(status).limit(1)).await.unwrap().runs.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// What so many runs would cost that cost anything: a hundred bytes each, in KiB.
const SOMETHING: i64 = 1000;

/// The resident memory of this process, in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The process that is measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the measurement of paused runs"]
async fn a_process_with_many_runs() {
    let (Ok(url), Ok(pauses)) = (env::var("GREENROOM_MEASURE_ON"), env::var("GREENROOM_MEASURE_PAUSES")) else {
        return;
    };
    let runtime = runtime(&url).await;
    submit(&runtime, WARM_UP, false).await;
    let before = resident();
    submit(&runtime, RUNS, pauses == "true").await;
    println!("resident {before} {}", resident());
}

/// By how much the memory of a process grows with so many runs, in KiB.
fn growth(url: &str, pauses: bool) -> i64 {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "people::memory::a_process_with_many_runs", "--ignored", "--nocapture"])
        .env("GREENROOM_MEASURE_ON", url)
        .env("GREENROOM_MEASURE_PAUSES", pauses.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let figures = said.split_once("resident ").map(|(_, rest)| rest.split_whitespace().take(2));
    let figures: Vec<i64> =
        figures.expect("the process has ended well").map(|figure| figure.parse().unwrap()).collect();
    println!("{}: {} KiB, then {} KiB", if pauses { "paused" } else { "completed" }, figures[0], figures[1]);
    figures[1] - figures[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn memory_of_ten_thousand_paused_runs() {
    let mut growths = [Vec::new(), Vec::new()];
    let mut last = None;
    for _ in 0..REPETITIONS {
        for (pauses, growths) in [false, true].into_iter().zip(&mut growths) {
            let database = fresh_database().await;
            let url = database.url().to_owned();
            growths.push(tokio::task::spawn_blocking(move || growth(&url, pauses)).await.unwrap());
            last = Some(database);
        }
    }
    let [completed, paused] = growths.map(|mut growths| {
        growths.sort_unstable();
        (growths[0], growths[REPETITIONS / 2], growths[REPETITIONS - 1])
    });
    println!("{RUNS} runs, growth in KiB (least, median, most): completed {completed:?}, paused {paused:?}");
    let noise = completed.2 - completed.0;
    assert!(paused.1 - completed.1 <= noise + SOMETHING, "{paused:?} KiB with paused runs, {completed:?} without");

    // The process that has paused them is gone by now.
    let begun = Instant::now();
    let database = last.unwrap();
    let runtime = runtime(database.url()).await;
    continue_all(&runtime).await;
    println!("all continued and completed in another process: {:.1} s", begun.elapsed().as_secs_f64());
    runtime.shutdown(LONG).await;
}

async fn continue_all(runtime: &Runtime) {
    let mut continued = 0;
    loop {
        let page = runtime.list(RunQuery::new().status(RunStatus::Paused).limit(AT_ONCE)).await.unwrap();
        if page.runs.is_empty() {
            break;
        }
        let decide = async |run: &greenroom::Run| -> RunId {
            let run_id = run.output.run_id;
            let output = runtime.get(run_id).await.unwrap().unwrap().output;
            runtime.continue_run(run_id, [Decision::confirm(output.requirements[0].requirement_id)]).await.unwrap();
            run_id
        };
        for run_id in join_all(page.runs.iter().map(decide)).await {
            let output = runtime.wait(run_id, LONG).await.unwrap();
            assert_eq!(output.content.unwrap().as_text(), Some("went"));
            continued += 1;
        }
    }
    assert_eq!(continued, RUNS);
}
