//! Single disasters, each at its worst moment. The times are printed; nothing depends on them but deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use greenroom::{RunId, RunStatus};
use serde_json::json;
use tokio::sync::watch;

use crate::checker;
use crate::crew::Crew;
use crate::history::History;
use crate::kind::Kind;
use crate::process::Worker;
use crate::storm::{ALONE, Logs, say};
use crate::tables;
use crate::wire::{Answer, Ask, Submit, What};

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(60);

const RUNS: usize = 500;

/// So long that it ends only with its process, or behind a network that lets nothing through: not on a slow machine.
const LEASE: Duration = Duration::from_secs(12);

fn submit(kind: Kind) -> Submit {
    let (agent, user) = (kind.name().to_owned(), "user".to_owned());
    Submit {
        run_id: RunId::new(),
        key: None,
        agent,
        session: "session".to_owned(),
        input: json!({ "user": user }),
        user,
    }
}

async fn history_of(crew: &Crew) -> History {
    crew.end().await;
    History::read(crew).await
}

/// Runs these at the first worker, which is the only one until they run.
async fn run_at_the_first(crew: &Crew, submits: &[Submit]) {
    join_all(crew.workers[1..].iter().map(Worker::terminate_for_good)).await;
    let asks = submits.iter().map(|submit| Ask::Submit(submit.clone()));
    stream::iter(asks)
        .for_each_concurrent(50, async |ask| {
            let answer = tokio::time::timeout(LONG, crew.insist(&ask)).await.expect("it is accepted");
            assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        })
        .await;
    all_are_in_attempt(crew, 1, submits.len()).await;
    join_all(crew.workers[1..].iter().map(Worker::start)).await;
}

/// Cancels all of these, and waits until they have settled.
async fn cancel_all(crew: &Crew, submits: &[Submit]) {
    let cancels = submits.iter().map(|submit| Ask::Cancel { run_id: submit.run_id });
    let cancelled = stream::iter(cancels).for_each_concurrent(50, async |cancel| drop(crew.insist(&cancel).await));
    tokio::time::timeout(LONG, cancelled).await.expect("all are cancelled");
    tokio::time::timeout(LONG, all_settle(crew)).await.expect("all settle");
}

/// Waits until so many runs have been started this many times, and says how long that took.
async fn all_are_in_attempt(crew: &Crew, attempt: i32, runs: usize) -> Duration {
    let client = tables::connect(crew.server.url()).await;
    let count = "SELECT count(*) FROM greenroom.runs WHERE status <> 'PENDING' AND attempt = $1";
    let begun = Instant::now();
    while client.query_one(count, &[&attempt]).await.unwrap().get::<_, i64>(0) < i64::try_from(runs).unwrap() {
        assert!(begun.elapsed() < LONG, "not all have been started {attempt} times");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

/// Waits until these workers have called so much user code, which begins only after `RUNNING` is stored.
async fn user_code_has_begun(workers: &[Worker], runs: usize) {
    let begun = Instant::now();
    while join_all(workers.iter().map(Worker::starts)).await.iter().sum::<usize>() < runs {
        assert!(begun.elapsed() < LONG, "not all user code has begun");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn all_settle(crew: &Crew) {
    let client = tables::connect(crew.server.url()).await;
    while tables::unsettled(&client).await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_with_500_running_runs_loses_none() {
    let _alone = ALONE.lock().await;
    let logs = Logs::new();
    let Some(crew) = Crew::start(3, RUNS, LEASE, logs.path()).await else { return };
    let submits: Vec<Submit> = (0..RUNS).map(|_| submit(Kind::Parked)).collect();
    run_at_the_first(&crew, &submits).await;
    user_code_has_begun(&crew.workers[..1], RUNS).await;

    crew.workers[0].kill_for_good().await;

    let took = all_are_in_attempt(&crew, 2, RUNS).await;
    say(&format!("{RUNS} runs of a killed worker taken over and started {took:.2?} later, with a lease of {LEASE:?}"));
    user_code_has_begun(&crew.workers[1..], RUNS).await;
    cancel_all(&crew, &submits).await;
    let history = history_of(&crew).await;
    assert_eq!(checker::check(&history), []);
    let starts = |of: &[crate::history::Process]| {
        of.iter().flat_map(|process| &process.notes).filter(|note| note.what == What::Start).count()
    };
    assert_eq!((starts(&history.processes[..1]), starts(&history.processes[1..])), (RUNS, RUNS));
}

/// The writes are on their way when the lease ends, and arrive when others have started the runs again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_the_network_holds_back_past_a_takeover_are_refused() {
    const RUNS: usize = 40;
    let _alone = ALONE.lock().await;
    let logs = Logs::new();
    let Some(crew) = Crew::start(2, RUNS, LEASE, logs.path()).await else { return };
    // They speak until they are cancelled, so that there is something to write whenever the lease ends.
    let endless = || Submit { input: json!({ "user": "user", "words": u32::MAX }), ..submit(Kind::Long) };
    let submits: Vec<Submit> = (0..RUNS).map(|_| endless()).collect();
    run_at_the_first(&crew, &submits).await;
    let proxy = &crew.workers[0].proxy;

    proxy.hold_back();
    all_are_in_attempt(&crew, 2, RUNS).await;
    proxy.let_through();

    cancel_all(&crew, &submits).await;
    let late = proxy.late();
    say(&format!("writes of {RUNS} runs that were held back until these had been taken over: {late}"));
    assert!(late.refused > 0 && late.taken == 0, "{late:?}");
    assert_eq!(checker::check(&history_of(&crew).await), []);
}

/// Clients that submit and wait, one run after the other, and how many runs have completed for each of them.
struct Load {
    done: Vec<AtomicUsize>,
}

impl Load {
    fn total(&self) -> usize {
        self.done.iter().map(|done| done.load(Ordering::Relaxed)).sum()
    }

    async fn work(&self, client: usize, crew: &Crew, stopped: watch::Receiver<bool>) {
        let mut rng = Rng::with_seed(client as u64);
        while !*stopped.borrow() {
            let submit = submit(Kind::Instant);
            let wait = Ask::Wait { run_id: submit.run_id, millis: 5000 };
            let accepted = crew.any(&mut rng).ask(Ask::Submit(submit)).await;
            if !matches!(accepted, Some(Answer::Accepted { .. })) {
                continue;
            }
            let waited = crew.any(&mut rng).ask(wait).await;
            if matches!(waited, Some(Answer::Output { status: RunStatus::Completed, .. })) {
                self.done[client].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Completed runs a second, over this time.
    async fn rate(&self, over: Duration) -> f64 {
        let (before, begun) = (self.total(), Instant::now());
        tokio::time::sleep(over).await;
        (self.total() - before) as f64 / begun.elapsed().as_secs_f64()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgres_under_load_needs_no_restart_of_a_worker() {
    const CLIENTS: usize = 60;
    let _alone = ALONE.lock().await;
    let logs = Logs::new();
    let Some(crew) = Crew::start(3, RUNS, LEASE, logs.path()).await else { return };
    let crew = Arc::new(crew);
    let load = Arc::new(Load { done: (0..CLIENTS).map(|_| AtomicUsize::new(0)).collect() });
    let (stop, stopped) = watch::channel(false);
    let clients = (0..CLIENTS).map(|client| {
        let (crew, load, stopped) = (Arc::clone(&crew), Arc::clone(&load), stopped.clone());
        tokio::spawn(async move { load.work(client, &crew, stopped).await })
    });
    let clients: Vec<_> = clients.collect();
    while load.total() < CLIENTS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = load.rate(Duration::from_secs(2)).await;

    crew.server.stop_immediately().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    crew.server.start_again().await;

    let returned = Instant::now();
    let then: Vec<usize> = load.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
    let mut back = None;
    let everybody = || (0..CLIENTS).all(|client| load.done[client].load(Ordering::Relaxed) > then[client]);
    while back.is_none() || !everybody() {
        assert!(returned.elapsed() < LONG, "the load has not come back: {before:.0} runs/s before");
        let rate = load.rate(Duration::from_millis(250)).await;
        if back.is_none() && rate > before * 0.8 {
            back = Some(returned.elapsed());
        }
    }
    let after = load.rate(Duration::from_secs(2)).await;
    stop.send_replace(true);
    for client in join_all(clients).await {
        client.unwrap();
    }
    let back = back.unwrap_or_default();
    say(&format!(
        "{before:.0} runs/s; Postgres restarted; at four fifths of that {back:.2?} later, then {after:.0} runs/s"
    ));
    let history = history_of(&crew).await;
    assert_eq!(history.processes.len(), 3, "no worker was started again");
    assert_eq!(checker::check(&history), []);
}
