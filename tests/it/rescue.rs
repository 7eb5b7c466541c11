//! A process that dies, or stands still, loses its runs to others: each once, and never two at a time.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use greenroom::{CancelOutcome, FailureKind, NewRun, RunEvent, RunId, RunStatus, Runtime};
use tokio_postgres::NoTls;

use crate::postgres::{Server, fresh_database};
use crate::support::expire_the_lease_of;

mod witness;

use self::witness::{What, Witness};

/// Its tenth is the time in which user code has to be stopped, on a slow machine as well.
const TTL: Duration = Duration::from_secs(12);
const LONG: Duration = Duration::from_secs(30);

async fn sql(url: &str, sql: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    if sql.starts_with("SELECT") {
        return client.query_one(sql, &[]).await.unwrap().get(0);
    }
    client.batch_execute(sql).await.unwrap();
    0
}

async fn log(runtime: &Runtime, run_id: RunId) -> Vec<RunEvent> {
    let events = runtime.subscribe(run_id, None).await.unwrap();
    tokio::time::timeout(LONG, events.try_collect()).await.unwrap().unwrap()
}

// A run that is submitted while its runtime looks for work is for whoever takes it up first. So where a run has to be in a certain
// runtime, the others come later.

#[tokio::test]
async fn what_a_runtime_leaves_that_was_dropped_is_taken_over() {
    let database = fresh_database().await;
    let witness = Witness::new();
    let dying = witness.lasting(database.url(), "dying").await;
    let restarts = witness.start(&dying, "restarts").await;
    let fails = witness.start(&dying, "fails").await;
    let cancelled = witness.start(&dying, "restarts").await;
    let unknown = witness.start(&dying, "dying").await;
    let other = witness.runtime(database.url(), "other").await;
    assert_eq!(other.cancel(cancelled).await.unwrap(), CancelOutcome::Requested);

    drop(dying);
    // It goes on for a moment, and its lease, as one that ends by itself, is longer than that.
    witness.has_seen(restarts, 1, What::Stop).await;
    expire_the_lease_of(restarts, database.url()).await;

    let again = witness.has_seen(restarts, 2, What::Start).await;
    assert_eq!(again.place, "other");
    witness.gate.add_permits(1);
    assert_eq!(other.wait(restarts, LONG).await.unwrap().status, RunStatus::Completed);
    assert_eq!(other.get(restarts).await.unwrap().unwrap().attempt, 2);
    let seqs: Vec<u64> = log(&other, restarts).await.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [0, 1, 2]);

    let failed = other.get(fails).await.unwrap().unwrap().output;
    assert_eq!((failed.status, failed.error.unwrap().kind), (RunStatus::Error, FailureKind::ProcessDied));
    assert!(log(&other, fails).await.last().unwrap().is_terminal());
    assert_eq!(other.get(cancelled).await.unwrap().unwrap().output.status, RunStatus::Cancelled);
    assert!(log(&other, cancelled).await.last().unwrap().is_terminal());
    // Nobody here has this agent: it waits for somebody who does.
    let waits = other.get(unknown).await.unwrap().unwrap();
    assert_eq!((waits.output.status, waits.attempt), (RunStatus::Pending, 1));
    witness.assert_never_two_at_a_time();
    other.shutdown(LONG).await;
}

#[tokio::test]
async fn a_runtime_takes_over_what_was_left_before_it_started() {
    let database = fresh_database().await;
    let witness = Witness::new();
    let dying = witness.lasting(database.url(), "dying").await;
    let run_id = witness.start(&dying, "restarts").await;
    drop(dying);
    witness.has_seen(run_id, 1, What::Stop).await;
    expire_the_lease_of(run_id, database.url()).await;

    let next = witness.lasting(database.url(), "next").await;

    witness.has_seen(run_id, 2, What::Start).await;
    witness.gate.add_permits(1);
    assert_eq!(next.wait(run_id, LONG).await.unwrap().status, RunStatus::Completed);
    next.shutdown(LONG).await;
}

/// There is nobody who could take anything over meanwhile, and the runtime cannot know that.
#[tokio::test]
async fn a_runtime_goes_on_by_itself_when_postgres_was_away_for_longer_than_its_lease() {
    let Some(server) = Server::start().await else { return };
    let witness = Witness::new();
    let runtime = witness.runtime(server.url(), "alone").await;
    let restarts = witness.start(&runtime, "restarts").await;
    let fails = witness.start(&runtime, "fails").await;

    server.stop_immediately().await;
    witness.has_seen(restarts, 1, What::Stop).await;
    witness.has_seen(fails, 1, What::Stop).await;
    server.start_again().await;

    witness.has_seen(restarts, 2, What::Start).await;
    witness.gate.add_permits(1);
    assert_eq!(runtime.wait(restarts, LONG).await.unwrap().status, RunStatus::Completed);
    let failed = runtime.wait(fails, LONG).await.unwrap();
    assert_eq!(failed.error.unwrap().kind, FailureKind::ProcessDied);
    let new = witness.start(&runtime, "restarts").await;
    witness.gate.add_permits(1);
    assert_eq!(runtime.wait(new, LONG).await.unwrap().status, RunStatus::Completed);
    witness.assert_never_two_at_a_time();
    runtime.shutdown(LONG).await;
}

/// Its renewals hang, as over a connection that is dead and does not know it, while everything else of it works.
#[tokio::test]
async fn a_runtime_that_cannot_renew_its_lease_stops_its_runs_before_others_start_them() {
    let database = fresh_database().await;
    let witness = Witness::new();
    let mark = if database.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{mark}application_name=starved", database.url());
    let starved = witness.runtime(&url, "starved").await;
    let hang = "CREATE TABLE greenroom.hanging (name text); \
         CREATE FUNCTION greenroom.hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             WHILE EXISTS (SELECT FROM greenroom.hanging WHERE name = current_setting('application_name')) LOOP \
                 PERFORM pg_sleep(0.01); \
             END LOOP; \
             RETURN NULL; \
         END $$; \
         CREATE TRIGGER hang BEFORE UPDATE ON greenroom.nodes FOR EACH STATEMENT EXECUTE FUNCTION greenroom.hang()";
    sql(database.url(), hang).await;
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(witness.start(&starved, "restarts").await);
    }
    let fails = witness.start(&starved, "fails").await;
    let other = witness.runtime(database.url(), "other").await;

    sql(database.url(), "INSERT INTO greenroom.hanging VALUES ('starved')").await;
    let hung = Instant::now();
    for run_id in &runs {
        let stop = witness.has_seen(*run_id, 1, What::Stop).await;
        let start = witness.has_seen(*run_id, 2, What::Start).await;
        assert!(stop.at <= start.at, "{start:?} before {stop:?}");
    }
    let (stop, start) =
        (witness.has_seen(runs[0], 1, What::Stop).await, witness.has_seen(runs[0], 2, What::Start).await);
    println!("stopped {:?} after it hung, started again {:?} after that", stop.at - hung, start.at - stop.at);
    let failed = other.wait(fails, LONG).await.unwrap();
    assert_eq!(failed.error.unwrap().kind, FailureKind::ProcessDied);

    sql(database.url(), "DELETE FROM greenroom.hanging").await;
    let back = starved.submit(NewRun::new("starved", "go")).await.unwrap().run_id();
    let resumed = witness.seen.subscribe().wait_for(|all| all.iter().any(|seen| seen.run_id == back)).await.is_ok();
    assert!(resumed, "it is back and works on");
    witness.gate.add_permits(1000);
    for run_id in runs.into_iter().chain([back]) {
        assert_eq!(other.wait(run_id, LONG).await.unwrap().status, RunStatus::Completed);
    }
    witness.assert_never_two_at_a_time();
    starved.shutdown(LONG).await;
    other.shutdown(LONG).await;
}

#[tokio::test]
async fn a_cancel_of_a_run_whose_lease_was_lost_is_not_forgotten() {
    let database = fresh_database().await;
    let witness = Witness::new();
    let runtime = witness.runtime(database.url(), "alone").await;
    let run_id = witness.start(&runtime, "restarts").await;
    // Somebody else has ended its lease.
    sql(database.url(), "DELETE FROM greenroom.nodes").await;
    witness.has_seen(run_id, 1, What::Stop).await;

    let outcome = loop {
        match runtime.cancel(run_id).await {
            Ok(outcome) => break outcome,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };

    assert!(!matches!(outcome, CancelOutcome::IntentStored), "{outcome:?}");
    assert_eq!(runtime.wait(run_id, LONG).await.unwrap().status, RunStatus::Cancelled);
    witness.assert_never_two_at_a_time();
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_runtime_that_ends_in_good_order_leaves_no_lease() {
    let database = fresh_database().await;
    let witness = Witness::new();
    let ending = witness.lasting(database.url(), "ending").await;
    let run_id = witness.start(&ending, "restarts").await;
    let count = "SELECT count(*) FROM greenroom.nodes";
    assert_eq!(sql(database.url(), count).await, 1);

    assert_eq!(ending.shutdown(Duration::ZERO).await.handed_back, 1);

    assert_eq!(sql(database.url(), count).await, 0);
    let next = witness.lasting(database.url(), "next").await;
    witness.has_seen(run_id, 2, What::Start).await;
    witness.gate.add_permits(1);
    assert_eq!(next.wait(run_id, LONG).await.unwrap().status, RunStatus::Completed);
    next.shutdown(LONG).await;
    assert_eq!(sql(database.url(), count).await, 0);
}

/// The lease is kept for as long as a shutdown takes.
#[tokio::test]
async fn a_runtime_that_shuts_down_keeps_its_runs_until_they_have_ended() {
    let database = fresh_database().await;
    let witness = Witness::new();
    let ending = witness.runtime(database.url(), "ending").await;
    let run_id = witness.start(&ending, "restarts").await;
    let other = witness.runtime(database.url(), "other").await;
    let lease = format!(
        "SELECT (1000 * extract(epoch FROM lease_until))::bigint FROM greenroom.nodes JOIN greenroom.runs \
         USING (node_id) WHERE run_id = '{run_id}'"
    );
    let opened = async {
        // The first renewal may have been on its way already.
        for _ in 0..2 {
            let before = sql(database.url(), &lease).await;
            while sql(database.url(), &lease).await == before {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        witness.gate.add_permits(1);
    };

    let (drained, ()) = tokio::join!(ending.shutdown(LONG), opened);

    assert_eq!(drained.settled, 1);
    let run = other.get(run_id).await.unwrap().unwrap();
    assert_eq!((run.output.status, run.attempt), (RunStatus::Completed, 1));
    other.shutdown(LONG).await;
}

/// The other process of the test below.
#[tokio::test]
#[ignore = "started by the test of what a killed process leaves behind"]
async fn a_process_that_has_runs() {
    let Ok(url) = env::var("GREENROOM_RUN_ON") else { return };
    let witness = Witness::new();
    let runtime = witness.lasting(&url, "killed").await;
    for _ in 0..10 {
        println!("has started {}", witness.start(&runtime, "restarts").await);
    }
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn what_a_killed_process_leaves_is_taken_over() {
    let database = fresh_database().await;
    let witness = Witness::new();
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "rescue::a_process_that_has_runs", "--ignored", "--nocapture"])
        .env("GREENROOM_RUN_ON", database.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let started = lines.filter_map(|line| line.split_once("has started ")?.1.trim().parse().ok());
    let runs: Vec<RunId> = started.take(10).collect();
    assert_eq!(runs.len(), 10);
    let other = witness.runtime(database.url(), "other").await;

    process.kill().unwrap();
    process.wait().unwrap();
    expire_the_lease_of(runs[0], database.url()).await;

    for run_id in &runs {
        witness.has_seen(*run_id, 2, What::Start).await;
    }
    witness.gate.add_permits(10);
    for run_id in runs {
        assert_eq!(other.wait(run_id, LONG).await.unwrap().status, RunStatus::Completed);
        assert_eq!(other.get(run_id).await.unwrap().unwrap().attempt, 2);
    }
    other.shutdown(LONG).await;
}
