//! A process is killed in the middle of 500 running runs: what it has acknowledged is still there.

use std::collections::HashSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use greenroom::{
    Agent, AgentBuilder, CrashPolicy, FailureKind, NewRun, RunContext, RunId, RunQuery, RunStatus, Runtime, Store,
    StoreError,
};
use tokio_postgres::NoTls;

use crate::postgres::fresh_database;
use crate::support::LONG;

const RUNS: usize = 500;

/// Says a word and never returns.
fn endless(name: &str, policy: CrashPolicy) -> AgentBuilder {
    let code = |cx: RunContext| async move {
        cx.emit("begun", cx.attempt()).await?;
        std::future::pending::<()>().await;
        Ok(())
    };
    Agent::builder(name).code(code).on_crash(policy)
}

async fn start(store: Store) -> Result<Runtime, greenroom::Error> {
    let runtime = Runtime::builder()
        .store(store)
        .agent(endless("restart", CrashPolicy::Restart))
        .agent(endless("fail", CrashPolicy::Fail));
    // No lease ends, and no call is given up, because the machine is slow.
    runtime.max_running(RUNS).lease_ttl(LONG * 10).call_timeout(LONG).start().await
}

fn store_at(place: &str) -> Store {
    if place.starts_with("postgres") { Store::postgres(place) } else { Store::sqlite(place) }
}

/// The process that is killed.
#[tokio::test]
#[ignore = "started by the tests of what a killed process leaves behind"]
async fn a_process_with_running_runs() {
    let Ok(place) = env::var("GREENROOM_DIE_AT") else { return };
    let runtime = start(store_at(&place)).await.unwrap();
    let run = |n: usize| NewRun::new(if n.is_multiple_of(2) { "restart" } else { "fail" }, n.to_string());
    let submits = (0..RUNS).map(|n| runtime.submit(run(n)));
    for run in futures_util::future::join_all(submits).await {
        println!("run {}", run.unwrap().run_id());
    }
    loop {
        let running = runtime.list(RunQuery::new().status(RunStatus::Running).limit(1000)).await.unwrap();
        if running.runs.len() == RUNS {
            break;
        }
    }
    println!("all are running");
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}

/// Runs the process above until all its runs are running, kills it, and returns what it had acknowledged.
async fn killed_process(place: String) -> HashSet<RunId> {
    let killed = move || {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::a_process_with_running_runs", "--ignored", "--nocapture"])
            .env("GREENROOM_DIE_AT", place)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = HashSet::new();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let all_running = output.by_ref().any(|line| {
            if let Some((_, run_id)) = line.split_once("run ")
                && let Ok(run_id) = run_id.parse()
            {
                acknowledged.insert(run_id);
            }
            line.contains("all are running")
        });
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(all_running, "the process ended by itself");
        acknowledged
    };
    tokio::task::spawn_blocking(killed).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_every_acknowledged_run_is_there_with_a_truthful_status() {
    let database = fresh_database().await;

    let acknowledged = killed_process(database.url().to_owned()).await;

    assert_eq!(acknowledged.len(), RUNS);
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let query = "SELECT r.run_id::text, r.status, r.attempt, r.starts, r.next_seq, \
                        (SELECT array_agg(seq ORDER BY seq) FROM greenroom.run_events e WHERE e.run_id = r.run_id) \
                 FROM greenroom.runs r";
    let rows = client.query(query, &[]).await.unwrap();
    let stored: HashSet<RunId> = rows.iter().map(|row| row.get::<_, &str>(0).parse().unwrap()).collect();
    assert_eq!(stored, acknowledged);
    for row in rows {
        let (run_id, status): (&str, &str) = (row.get(0), row.get(1));
        let (attempt, starts): (i32, i32) = (row.get(2), row.get(3));
        assert_eq!((status, attempt, starts), ("RUNNING", 1, 1), "{run_id}");
        let seqs: Vec<i64> = row.get(5);
        assert_eq!(seqs, (0..row.get::<_, i64>(4)).collect::<Vec<_>>(), "{run_id}");
    }
    // Another process reads them as they are.
    let runtime = start(Store::postgres(database.url())).await.unwrap();
    for &run_id in &acknowledged {
        assert_eq!(runtime.get(run_id).await.unwrap().unwrap().output.status, RunStatus::Running);
    }
    runtime.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_the_next_start_takes_everything_over_as_each_agent_wants() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("runs.db");

    let acknowledged = killed_process(place.to_str().unwrap().to_owned()).await;

    assert_eq!(acknowledged.len(), RUNS);
    let runtime = start(Store::sqlite(&place)).await.expect("the lock is free");
    let second = start(Store::sqlite(&place)).await;
    assert!(matches!(second, Err(greenroom::Error::Store(StoreError::InUse(_)))), "and then it is taken: {second:?}");
    let mut again = 0;
    for &run_id in &acknowledged {
        let mut events = runtime.subscribe(run_id, None).await.unwrap();
        let run = runtime.get(run_id).await.unwrap().unwrap();
        if run.output.agent == "fail" {
            assert_eq!(run.output.error.unwrap().kind, FailureKind::ProcessDied);
            continue;
        }
        // Waits until the second attempt has said its word, over a log without gaps.
        let mut seq = 0;
        while let Some(event) = futures_util::StreamExt::next(&mut events).await {
            let event = event.unwrap();
            assert_eq!(event.seq, seq);
            seq += 1;
            let text = serde_json::to_value(&event).unwrap();
            if text["name"] == "begun" && text["data"] == 2 {
                break;
            }
        }
        let run = runtime.get(run_id).await.unwrap().unwrap();
        assert_eq!((run.output.status, run.attempt), (RunStatus::Running, 2), "{run_id}");
        again += 1;
    }
    assert_eq!(again, RUNS / 2);
    runtime.shutdown(Duration::ZERO).await;
}
