//! The storm: clients at work, one fault after the other, and the checker when all is quiet again.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use greenroom::{RunEventKind, RunId};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::checker::{self, Violation};
use crate::client::{Client, Known};
use crate::crew::Crew;
use crate::fault;
use crate::history::History;
use crate::kind::Kind;
use crate::plan::{self, Fault, Settings};
use crate::tables;
use crate::wire::{Answer, Ask, Continue};

/// One test after the other: each of them needs the machine.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// So short that the faults outlast it.
const LEASE: Duration = Duration::from_secs(2);

/// When nothing is broken any more, everything settles in this time: a lease, a sweep, the longest run, and a slow machine.
const TIME_TO_SETTLE: Duration = Duration::from_secs(90);

/// As long, and some more for readers to hear of it, in milliseconds.
const TIME_TO_SETTLE_AND_TELL: u64 = 110_000;

/// A directory for the logs of all processes; it stays when the test fails.
pub(crate) struct Logs(Option<TempDir>);

impl Logs {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::Builder::new().prefix("greenroom-torture-").tempdir().unwrap()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().expect("it is there until the drop").path()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take()
            && std::thread::panicking()
        {
            say(&format!("all logs are in {}", directory.keep().display()));
        }
    }
}

/// Past the capture of test output.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "greenroom torture: {line}").unwrap_or_default();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_guarantee_is_broken_in_a_storm() {
    let _alone = ALONE.lock().await;
    let settings = Settings::from_env();
    let seed = settings.seed;
    say(&format!("GREENROOM_TORTURE_SEED={seed}, {} workers, {:?}", settings.workers, settings.time));
    let logs = Logs::new();
    let Some(crew) = Crew::start(settings.workers, 150, LEASE, logs.path()).await else { return };
    let crew = Arc::new(crew);
    let mut rng = Rng::with_seed(seed);
    let plan = plan::faults(&settings, &mut rng);

    let faults = plan.len();
    weather(&crew, &settings, plan, &mut rng).await;
    let healed = Instant::now();
    let readers = follow_to_the_end(&crew).await;
    let settled = settle(&crew).await;
    let quiet = healed.elapsed();
    for reader in join_all(readers).await {
        let (what, answer) = reader.unwrap();
        let at_its_end = matches!(answer, Some(Answer::Watched { by_itself: true }));
        assert!(at_its_end || !settled, "seed {seed}: a reader in good weather was left alone: {what:?}: {answer:?}");
    }
    crew.end().await;

    let history = History::read(&crew).await;
    let violations = checker::check(&history);
    say(&summary(&history, faults, quiet, &violations));
    let late: Vec<String> = crew.workers.iter().map(|worker| worker.proxy.late().to_string()).collect();
    say(&format!("writes that were held back past everything: {}", late.join("; ")));
    if !violations.is_empty() || !settled {
        write_down(logs.path(), &crew, &history, &violations);
        let first: Vec<&Violation> = violations.iter().take(20).collect();
        panic!("seed {seed}: {} violations, all settled: {settled}: {first:#?}", violations.len());
    }
    assert!(checker::acknowledged(&history) > 0, "seed {seed}: there was no storm");
}

/// Lets the clients work, and the faults befall, until the time is over and every fault is healed.
async fn weather(crew: &Arc<Crew>, settings: &Settings, plan: Vec<(Duration, Fault)>, rng: &mut Rng) {
    let (stop, stopped) = watch::channel(false);
    let known = Arc::new(Known::default());
    let clients: Vec<_> = (0..settings.clients)
        .map(|_| {
            let (crew, known) = (Arc::clone(crew), Arc::clone(&known));
            tokio::spawn(Client { crew, known, rng: rng.fork(), stop: stopped.clone() }.work())
        })
        .collect();
    let begun = tokio::time::Instant::now();
    let postgres = Arc::new(tokio::sync::Mutex::new(()));
    let mut faults = JoinSet::new();
    for (at, fault) in plan {
        tokio::time::sleep_until(begun + at).await;
        let (crew, postgres) = (Arc::clone(crew), Arc::clone(&postgres));
        faults.spawn(async move { fault::befall(&crew, fault, &postgres).await });
    }
    tokio::time::sleep_until(begun + settings.time).await;
    while let Some(done) = faults.join_next().await {
        done.unwrap();
    }
    crew.workers.iter().for_each(|worker| worker.proxy.heal());
    stop.send_replace(true);
    for client in join_all(clients).await {
        client.unwrap();
    }
}

type Reader = JoinHandle<(Ask, Option<Answer>)>;

/// Follows runs that have not settled, each at a worker, from their beginnings. By now nothing is broken any more.
async fn follow_to_the_end(crew: &Arc<Crew>) -> Vec<Reader> {
    let client = tables::connect(crew.server.url()).await;
    let unsettled = "SELECT run_id::text FROM greenroom.runs WHERE settled_at IS NULL LIMIT 60";
    let mut readers = Vec::new();
    for (row, worker) in client.query(unsettled, &[]).await.unwrap().iter().zip((0..crew.workers.len()).cycle()) {
        let run_id: RunId = row.get::<_, &str>(0).parse().unwrap();
        let watch = Ask::Watch { run_id, after: None, millis: TIME_TO_SETTLE_AND_TELL };
        let crew = Arc::clone(crew);
        readers.push(tokio::spawn(async move {
            let answer = crew.workers[worker].ask(watch.clone()).await;
            (watch, answer)
        }));
    }
    readers
}

/// How many runs are ended at the same time.
const ENDED_AT_ONCE: usize = 20;

/// Waits until every run has settled; those that only a cancel ends are cancelled, and those that wait for people are
/// continued or cancelled.
async fn settle(crew: &Crew) -> bool {
    let deadline = Instant::now() + TIME_TO_SETTLE;
    let client = tables::connect(crew.server.url()).await;
    let stuck = "SELECT run_id::text, status = 'PAUSED' FROM greenroom.runs \
                 WHERE settled_at IS NULL AND (agent = $1 OR status = 'PAUSED')";
    let mut cancelled: BTreeSet<RunId> = BTreeSet::new();
    while Instant::now() < deadline {
        let rows = client.query(stuck, &[&Kind::Parked.name()]).await.unwrap();
        let runs = rows.iter().map(|row| (row.get::<_, &str>(0).parse::<RunId>().unwrap(), row.get::<_, bool>(1)));
        let runs: Vec<(RunId, bool)> = runs.filter(|(run_id, _)| !cancelled.contains(run_id)).collect();
        let continued = |run_id: RunId, is_paused: bool| is_paused && !run_id.as_uuid().as_u128().is_multiple_of(4);
        cancelled.extend(runs.iter().filter(|(run_id, paused)| !continued(*run_id, *paused)).map(|(run_id, _)| run_id));
        stream::iter(runs)
            .for_each_concurrent(ENDED_AT_ONCE, async |(run_id, is_paused)| {
                if continued(run_id, is_paused) {
                    go_on(crew, run_id).await;
                } else {
                    crew.insist(&Ask::Cancel { run_id }).await;
                }
            })
            .await;
        if tables::unsettled(&client).await == 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Lets a paused run go on, unless it expires before.
async fn go_on(crew: &Crew, run_id: RunId) {
    let awaited = crew.insist(&Ask::AwaitPause { run_id, millis: 1000 }).await;
    if let Answer::Paused { needs } = awaited
        && let Some(&need) = needs.first()
    {
        crew.insist(&Ask::Continue(Continue { run_id, user: None, need, answer: fastrand::u32(..) })).await;
    }
}

fn summary(history: &History, faults: usize, quiet: Duration, violations: &[Violation]) -> String {
    let again = history.runs.values().filter(|run| run.attempt > 1).count();
    let handed_back: usize =
        history.processes.iter().filter_map(|process| process.drained).map(|end| end.handed_back).sum();
    let count = |is_one: fn(&RunEventKind) -> bool| {
        history.runs.values().flat_map(|run| &run.events).filter(|event| is_one(&event.kind)).count()
    };
    format!(
        "{} acknowledged runs, {} calls, {} processes, {faults} faults; {again} runs taken up again, {handed_back} handed back, \
         {} pauses, {} continued; at most {} ms beside a later attempt; all settled {quiet:.1?} after the last fault: \
         {} violations",
        checker::acknowledged(history),
        history.calls.len(),
        history.processes.len(),
        count(|event| matches!(event, RunEventKind::RunPaused { .. })),
        count(|event| matches!(event, RunEventKind::RunContinued {})),
        checker::longest_overlap(history) / 1000,
        violations.len()
    )
}

/// Keeps what the checker has read, for people.
fn write_down(directory: &Path, crew: &Crew, history: &History, violations: &[Violation]) {
    std::fs::write(directory.join("history.json"), serde_json::to_vec_pretty(history).unwrap()).unwrap();
    let faults: Vec<String> = crew.book.faults().into_iter().map(|(at, fault)| format!("{at} {fault}")).collect();
    std::fs::write(directory.join("faults"), faults.join("\n")).unwrap();
    std::fs::write(directory.join("violations"), format!("{violations:#?}")).unwrap();
}
