//! Postgres goes away under load and comes back: what was accepted is not lost, and everything goes on by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenroom::{
    Agent, AgentBuilder, AgentError, Error, NewRun, RunContext, RunEventKind, RunId, RunQuery, RunStatus, Runtime,
    RuntimeBuilder, Store,
};
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};

use crate::postgres::{Server, fresh_database};

/// Far less than the ten minutes for which a write is tried again.
const SOON: Duration = Duration::from_secs(60);

/// Speaks, waits for the gate, speaks again and returns; counts how often it was started.
#[derive(Clone, Default)]
struct Speaker {
    gate: Arc<watch::Sender<bool>>,
    starts: Arc<AtomicUsize>,
}

impl Speaker {
    fn agent(&self) -> AgentBuilder {
        let speaker = self.clone();
        Agent::builder("speaker").code(move |cx: RunContext| {
            let speaker = speaker.clone();
            async move {
                speaker.starts.fetch_add(1, Ordering::SeqCst);
                cx.emit("before", 1).await?;
                speaker.gate.subscribe().wait_for(|open| *open).await.map_err(|_| AgentError::new("no gate"))?;
                cx.emit("after", 2).await?;
                Ok("said")
            }
        })
    }

    fn open(&self) {
        self.gate.send_replace(true);
    }
}

fn builder(url: &str, speaker: &Speaker) -> RuntimeBuilder {
    let runtime = Runtime::builder().store(Store::postgres(url)).agent(speaker.agent());
    // No outage here lasts as long as the lease.
    runtime.lease_ttl(5 * SOON).poll_interval(Duration::from_millis(100))
}

/// Bounds a call whose answer does not wait for the end of an outage.
async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, call).await.expect("it is answered in time")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Submits a run until it is accepted.
async fn insist(runtime: &Runtime) -> RunId {
    let run_id = RunId::new();
    let submits = async {
        while let Err(error) = runtime.submit(NewRun::new("speaker", "speak").run_id(run_id)).await {
            assert!(error.is_retryable(), "{error}");
        }
    };
    in_time(submits).await;
    run_id
}

async fn submit_many(runtime: &Runtime, n: usize) -> Vec<RunId> {
    futures_util::future::join_all((0..n).map(|_| insist(runtime))).await
}

/// Each of these runs has completed once, and its log says so without a gap.
async fn assert_completed_once(runtime: &Runtime, url: &str, run_ids: &[RunId]) {
    for &run_id in run_ids {
        let output = wait(runtime, run_id).await;
        assert_eq!(output, RunStatus::Completed, "{run_id}");
    }
    let client = connect(url).await;
    let logs = "SELECT run_id::text, array_agg(seq ORDER BY seq) FROM greenroom.run_events GROUP BY run_id";
    let rows = client.query(logs, &[]).await.unwrap();
    for row in rows {
        let (run_id, seqs): (String, Vec<i64>) = (row.get(0), row.get(1));
        assert_eq!(seqs, [0, 1, 2, 3], "started, before, after, completed: {run_id}");
    }
    let outputs = "SELECT count(*), count(DISTINCT run_id) FROM greenroom.run_outputs";
    let row = client.query_one(outputs, &[]).await.unwrap();
    let runs = "SELECT count(*), coalesce(max(starts), 0) FROM greenroom.runs";
    let (stored, starts): (i64, i32) = client.query_one(runs, &[]).await.map(|row| (row.get(0), row.get(1))).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (stored, stored), "one output for each run");
    assert_eq!(starts, 1);
}

/// The status that the run settles with; the database may be away for a while.
async fn wait(runtime: &Runtime, run_id: RunId) -> RunStatus {
    let deadline = Instant::now() + SOON;
    loop {
        match runtime.wait(run_id, SOON).await {
            Ok(output) => return output.status,
            Err(error) => assert!(error.is_retryable() && Instant::now() < deadline, "{run_id}: {error}"),
        }
    }
}

async fn all_running(runtime: &Runtime, run_ids: &[RunId]) {
    for &run_id in run_ids {
        let mut events = runtime.subscribe(run_id, None).await.unwrap();
        while let Some(event) = futures_util::StreamExt::next(&mut events).await {
            if matches!(event.unwrap().kind, RunEventKind::CustomEvent { .. }) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_postgres_under_load_loses_nothing_and_does_nothing_twice() {
    let Some(server) = Server::start().await else { return };
    let speaker = Speaker::default();
    let runtime = builder(server.url(), &speaker).start().await.unwrap();
    let mut accepted = submit_many(&runtime, 200).await;
    all_running(&runtime, &accepted).await;

    // Submits go on all the time, before, during and after.
    let (stop, stopped) = watch::channel(false);
    let load = tokio::spawn({
        let runtime = runtime.clone();
        async move {
            let (mut accepted, mut refused) = (Vec::new(), Vec::new());
            while !*stopped.borrow() {
                match in_time(runtime.submit(NewRun::new("speaker", "speak"))).await {
                    Ok(run) => accepted.push(run.run_id()),
                    Err(error) => refused.push(error),
                }
            }
            (accepted, refused)
        }
    });
    server.stop_immediately().await;

    // What ends while the database is away is kept.
    speaker.open();
    let refused = in_time(runtime.submit(NewRun::new("speaker", "speak"))).await.unwrap_err();
    assert!(matches!(refused, Error::Unconfirmed { .. }) && refused.is_retryable(), "{refused}");
    let unread = in_time(runtime.get(accepted[0])).await.unwrap_err();
    assert!(unread.is_retryable(), "{unread}");
    server.start_again().await;

    let again = insist(&runtime).await;
    stop.send_replace(true);
    let (more, refused) = load.await.unwrap();
    assert!(!refused.is_empty(), "the load met the outage");
    for error in refused {
        assert!(error.is_retryable(), "{error}");
    }
    accepted.push(again);
    accepted.extend(more);
    assert_completed_once(&runtime, server.url(), &accepted).await;
    // Those that were refused may have been stored before the crash: they come to their end as well.
    let mut unsettled = runtime.list(RunQuery::new().status(RunStatus::Pending).limit(1000)).await.unwrap().runs;
    unsettled.extend(runtime.list(RunQuery::new().status(RunStatus::Running).limit(1000)).await.unwrap().runs);
    for run in unsettled {
        assert_eq!(wait(&runtime, run.output.run_id).await, RunStatus::Completed);
    }
    runtime.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_under_load_are_hardly_noticed() {
    let database = fresh_database().await;
    let speaker = Speaker::default();
    speaker.open();
    let runtime = builder(database.url(), &speaker).call_timeout(SOON).start().await.unwrap();
    let client = connect(database.url()).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = 'greenroom' AND datname = current_database()";

    let mut accepted = Vec::new();
    for _ in 0..5 {
        // There are connections to cut by then: those of the last round are gone.
        accepted.extend(submit_many(&runtime, 20).await);
        let submits = (0..100).map(|_| runtime.submit(NewRun::new("speaker", "speak")));
        let (submitted, cut) = tokio::join!(futures_util::future::join_all(submits), client.query_one(cut, &[]));
        assert!(cut.unwrap().get::<_, i64>(0) > 0, "there were connections to cut");
        for run in submitted {
            accepted.push(run.expect("a submit that waits sees nothing of it").run_id());
        }
    }

    assert_completed_once(&runtime, database.url(), &accepted).await;
    assert_eq!(speaker.starts.load(Ordering::SeqCst), 5 * 120);
    runtime.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_during_the_outage_is_answered_in_time_and_done_afterwards() {
    let Some(server) = Server::start().await else { return };
    let speaker = Speaker::default();
    let runtime = builder(server.url(), &speaker).start().await.unwrap();
    let accepted = submit_many(&runtime, 2).await;
    all_running(&runtime, &accepted).await;
    server.stop_fast().await;

    let (live, unknown) = (runtime.cancel(accepted[0]), runtime.cancel(RunId::new()));
    let (live, unknown) = in_time(async { tokio::join!(live, unknown) }).await;
    let live = live.unwrap_err();
    assert!(live.is_retryable() && unknown.is_err_and(|error| error.is_retryable()), "{live}");
    server.start_again().await;

    assert_eq!(wait(&runtime, accepted[0]).await, RunStatus::Cancelled);
    speaker.open();
    assert_eq!(wait(&runtime, accepted[1]).await, RunStatus::Completed);
    runtime.shutdown(SOON).await;
}
