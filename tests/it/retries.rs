//! Attempts that fail, and runs that wait for too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenroom::model::{ModelError, ModelErrorKind};
use greenroom::{
    Agent, AgentBuilder, AgentError, CancelOutcome, FailureKind, NewRun, RetryPolicy, RunContext, RunEventKind,
    RunStatus, Runtime, Store,
};

use crate::postgres::fresh_database;
use crate::support::{Gate, LONG, gated, log, names, on_each_store, pieces, settled, start, text};

on_each_store!(
    an_attempt_that_fails_is_followed_by_another,
    the_last_error_is_the_runs,
    what_does_not_pass_is_not_tried_again,
    a_run_that_waits_for_its_next_attempt_is_cancelled,
    a_run_that_waits_for_too_long_fails_and_never_starts,
);

const HOUR: Duration = Duration::from_secs(60 * 60);

/// An agent whose attempts fail, so many of them, and say which they are.
fn flaky(failures: u32) -> AgentBuilder {
    Agent::builder("flaky").code(move |cx: RunContext| async move {
        let attempt = cx.attempt();
        cx.emit_text(format!("attempt {attempt}")).await;
        if attempt <= failures {
            return Err(AgentError::new(format!("failure {attempt}")));
        }
        Ok(format!("done by {attempt}"))
    })
}

fn at_once() -> RetryPolicy {
    RetryPolicy::new(Duration::ZERO)
}

async fn an_attempt_that_fails_is_followed_by_another(store: Store) {
    let agent = flaky(2).retry(RetryPolicy::new(Duration::from_millis(20)));
    // Its next attempt does not wait for a look at the store.
    let runtime = Runtime::builder().store(store).agent(agent).poll_interval(HOUR).start().await.unwrap();

    let run = runtime.submit(NewRun::new("flaky", "hi")).await.unwrap();

    let output = settled_by_its_events(&runtime, &run).await;
    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "done by 3"));
    assert_eq!(output.error, None);
    let log = log(&runtime, run.run_id()).await;
    let attempt = ["RunStarted", "RunContent", "RunRetrying"];
    assert_eq!(names(&log), [&attempt[..], &attempt[..], &["RunStarted", "RunContent", "RunCompleted"]].concat());
    assert_eq!(pieces(&log), ["attempt 1", "attempt 2", "attempt 3"]);
    let RunEventKind::RunRetrying { attempt, error_type, content, delay } = &log[5].kind else { panic!("{log:?}") };
    assert_eq!((*attempt, *error_type, content.as_str()), (2, FailureKind::AgentError, "failure 2"));
    assert!((0.03..=0.04).contains(delay), "{delay}");
    let run = runtime.get(run.run_id()).await.unwrap().unwrap();
    assert_eq!((run.starts, run.attempt), (3, 3));
}

async fn settled_by_its_events(runtime: &Runtime, run: &greenroom::RunHandle) -> greenroom::RunOutput {
    log(runtime, run.run_id()).await;
    run.output().await.unwrap()
}

async fn the_last_error_is_the_runs(store: Store) {
    let runtime = start(store, flaky(100).retry(at_once()).max_attempts(3)).await;
    let run = runtime.submit(NewRun::new("flaky", "hi")).await.unwrap();
    let output = settled(&run).await;
    assert_eq!((output.status, text(&output)), (RunStatus::Error, "attempt 3"));
    assert_eq!(output.error.unwrap().message, "failure 3");
    let once = runtime.submit(NewRun::new("flaky", "hi").max_attempts(1)).await.unwrap();
    assert_eq!(settled(&once).await.error.unwrap().message, "failure 1");
}

async fn what_does_not_pass_is_not_tried_again(store: Store) {
    let starts = Arc::new(AtomicU32::new(0));
    let agent = Agent::builder("broken").retry(at_once()).code({
        let starts = Arc::clone(&starts);
        move |cx: RunContext| {
            starts.fetch_add(1, Ordering::SeqCst);
            async move {
                let model = |kind| Err(ModelError::new(kind, "no").into());
                match cx.input().as_text().unwrap() {
                    "permanent" => Err(AgentError::new("never").permanent()),
                    "panic" => panic!("no"),
                    "timeout" => std::future::pending().await,
                    "too large" => Ok("x".repeat(5 * 1024 * 1024)),
                    "auth" => model(ModelErrorKind::Auth),
                    "too long" => model(ModelErrorKind::ContextTooLong),
                    "rate" => model(ModelErrorKind::RateLimited),
                    _ => Err(std::io::Error::other("it may pass").into()),
                }
            }
        }
    });
    let runtime = start(store, agent).await;
    for (what, times) in [
        ("permanent", 1),
        ("panic", 1),
        ("timeout", 1),
        ("too large", 1),
        ("auth", 1),
        ("too long", 1),
        ("rate", 3),
        ("else", 3),
    ] {
        let new = NewRun::new("broken", what);
        let new = if what == "timeout" { new.timeout(Duration::from_secs(2)) } else { new };
        let run = runtime.submit(new).await.unwrap();
        assert_eq!(settled(&run).await.status, RunStatus::Error, "{what}");
        assert_eq!(starts.swap(0, Ordering::SeqCst), times, "{what}");
    }
}

/// Waits until an attempt has failed and the run waits for the next one.
async fn waits_again(run: &greenroom::RunHandle) {
    use futures_util::StreamExt;
    let mut events = run.subscribe(None).await.unwrap();
    while let Some(event) = crate::support::soon(events.next()).await {
        if let RunEventKind::RunRetrying { .. } = event.unwrap().kind {
            return;
        }
    }
    panic!("the run ended");
}

async fn a_run_that_waits_for_its_next_attempt_is_cancelled(store: Store) {
    let runtime = start(store, flaky(1).retry(RetryPolicy::new(HOUR).max_delay(HOUR))).await;
    let run = runtime.submit(NewRun::new("flaky", "hi")).await.unwrap();
    waits_again(&run).await;
    assert_eq!(run.output().await.unwrap().status, RunStatus::Pending);

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
    assert_eq!(names(&log(&runtime, run.run_id()).await).last().unwrap(), "RunCancelled");
}

#[tokio::test]
async fn another_process_goes_on_with_a_run_whose_attempt_has_failed() {
    let database = fresh_database().await;
    let agent = || flaky(1).retry(RetryPolicy::new(Duration::from_secs(2)).jitter(0.0));
    let one = start(Store::postgres(database.url()), agent()).await;
    let run = one.submit(NewRun::new("flaky", "hi")).await.unwrap();
    waits_again(&run).await;
    one.shutdown(LONG).await;

    let two = start(Store::postgres(database.url()), agent()).await;

    let output = two.wait(run.run_id(), LONG).await.unwrap();
    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "done by 2"));
    two.shutdown(LONG).await;
}

async fn a_run_that_waits_for_too_long_fails_and_never_starts(store: Store) {
    let gate = Gate::new();
    let agent = gated(&gate).queue_timeout(Duration::from_millis(200));
    let builder = Runtime::builder().store(store).agent(agent).max_running(1);
    let runtime = builder.poll_interval(Duration::from_millis(20)).start().await.unwrap();
    let first = runtime.submit(NewRun::new("gated", "first").queue_timeout(HOUR)).await.unwrap();
    gate.arrivals(1).await;

    let late = runtime.submit(NewRun::new("gated", "late")).await.unwrap();
    let patient = runtime.submit(NewRun::new("gated", "patient").queue_timeout(HOUR)).await.unwrap();

    let output = settled(&late).await;
    assert_eq!((output.status, output.started_at), (RunStatus::Error, None));
    assert_eq!(output.error.unwrap().kind, FailureKind::QueueTimeout);
    assert_eq!(names(&log(&runtime, late.run_id()).await), ["RunError"]);
    assert_eq!(first.output().await.unwrap().status, RunStatus::Running, "it was started in time");
    gate.open(2);
    for run in [first, patient] {
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
    }
    gate.arrivals(1).await;
    assert_eq!(gate.unseen(), 0);
}
