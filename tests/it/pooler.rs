//! A pooler in transaction mode between the runtimes and Postgres: PgBouncer, with one session of the server for everybody.

use std::time::Duration;

use futures_util::future::join_all;
use greenroom::{CancelOutcome, CrashPolicy, Error, NewRun, PostgresOptions, RunStatus, Runtime, Store};

use crate::postgres::{fresh_database, pooled, pooled_with_indulgence};
use crate::support::{Gate, LONG, gated, log, soon, start};

async fn start_polling(url: &str, gate: &Gate, max_running: usize) -> Runtime {
    let agent = gated(gate).on_crash(CrashPolicy::Restart);
    let options = PostgresOptions::new(url).poll_only();
    let runtime = Runtime::builder().store(options).agent(agent).max_running(max_running);
    runtime.poll_interval(Duration::from_millis(100)).start().await.unwrap()
}

#[tokio::test]
async fn two_runtimes_do_all_they_do_over_one_shared_session() {
    let database = fresh_database().await;
    let Some(url) = pooled(&database).await else { return };
    let gate = Gate::new();
    let (one, other) = tokio::join!(start_polling(&url, &gate, 20), start_polling(&url, &gate, 20));

    let submits = (0..60).map(|number| {
        let runtime = if number % 2 == 0 { &one } else { &other };
        runtime.submit(NewRun::new("gated", number))
    });
    let runs: Vec<_> = join_all(submits).await.into_iter().map(Result::unwrap).collect();
    gate.arrivals(40).await;
    let cancelled = &runs[7];
    let outcome = one.cancel(cancelled.run_id()).await.unwrap();
    assert!(matches!(outcome, CancelOutcome::Cancelled | CancelOutcome::Requested), "{outcome:?}");
    assert_eq!(soon(one.wait(cancelled.run_id(), LONG)).await.unwrap().status, RunStatus::Cancelled);
    gate.open(60);

    for run in runs.iter().filter(|run| run.run_id() != cancelled.run_id()) {
        for runtime in [&one, &other] {
            assert_eq!(soon(runtime.wait(run.run_id(), LONG)).await.unwrap().status, RunStatus::Completed);
            let seqs: Vec<u64> = log(runtime, run.run_id()).await.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, [0, 1]);
        }
    }
    one.shutdown(LONG).await;
    other.shutdown(LONG).await;
}

#[tokio::test]
async fn a_runtime_that_needs_sessions_does_not_start_over_a_pooler_and_says_why() {
    let database = fresh_database().await;
    let Some(url) = pooled(&database).await else { return };

    let refused = Runtime::builder().store(Store::postgres(&url)).agent(gated(&Gate::new())).start().await;

    let Err(Error::Store(error)) = refused else { panic!("it has started") };
    assert!(error.to_string().contains("unsupported startup parameter"), "{error}");
    let direct = start(PostgresOptions::new(database.url()).poll_only().into(), gated(&Gate::new())).await;
    direct.shutdown(LONG).await;
}

#[tokio::test]
async fn a_runtime_that_needs_sessions_leaves_no_trace_where_its_settings_are_ignored() {
    let database = fresh_database().await;
    let Some(url) = pooled_with_indulgence(&database).await else { return };

    let refused = Runtime::builder().store(Store::postgres(&url)).agent(gated(&Gate::new())).start().await;

    let Err(Error::Store(error)) = refused else { panic!("it has started") };
    assert!(error.to_string().contains("option `url`") && error.to_string().contains("`poll_only`"), "{error}");
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let made = "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    assert_eq!(client.query_one(made, &[]).await.unwrap().get::<_, i64>(0), 0);
    start_polling(&url, &Gate::new(), 1).await.shutdown(LONG).await;
}
