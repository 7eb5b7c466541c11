//! A runtime that is shut down.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use greenroom::{Agent, CrashPolicy, Error, FailureKind, NewRun, RunContext, RunId, RunStatus, Runtime, Store};

use crate::support::{Gate, LONG, gated, log, names, soon, start, submit_all};

#[tokio::test]
async fn runs_may_finish_and_nothing_new_is_accepted() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    let runs = submit_all(&runtime, (0..3).map(|number| NewRun::new("gated", number))).await;
    gate.arrivals(3).await;

    let mut shutdown = Box::pin(runtime.shutdown(LONG));
    assert!(shutdown.as_mut().now_or_never().is_none());
    let refusal = runtime.submit(NewRun::new("gated", "late")).await.unwrap_err();
    assert!(matches!(refusal, Error::ShuttingDown), "{refusal:?}");
    assert_eq!(runs[0].output().await.unwrap().status, RunStatus::Running);
    runs[2].cancel().await.unwrap();
    assert_eq!(runs[2].output().await.unwrap().status, RunStatus::Cancelled);
    gate.open(2);
    let drained = soon(shutdown).await;

    assert_eq!((drained.settled, drained.handed_back, drained.lost), (3, 0, 0));
    for refusal in [
        runs[0].output().await.err(),
        runtime.cancel(RunId::new()).await.err(),
        runtime.submit(NewRun::new("gated", "late")).await.err(),
    ] {
        assert!(refusal.is_some(), "nothing is answered by what is not there any more");
    }
}

#[tokio::test]
async fn whoever_waits_is_told_how_a_run_ends_that_a_drain_lets_finish() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    let run = runtime.submit(NewRun::new("gated", 1)).await.unwrap();
    gate.arrivals(1).await;
    let waiting = tokio::spawn({
        let run = run.clone();
        async move { run.wait(LONG).await }
    });

    let mut drain = Box::pin(runtime.drain(LONG));
    assert!(drain.as_mut().now_or_never().is_none());
    gate.open(1);

    assert_eq!(soon(drain).await.settled, 1);
    assert_eq!(soon(waiting).await.unwrap().unwrap().status, RunStatus::Completed);
    assert_eq!(soon(runtime.shutdown(LONG)).await.settled, 1);
}

#[tokio::test]
async fn what_does_not_finish_is_handed_back_and_taken_up_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let agent = || gated(&gate).on_crash(CrashPolicy::Restart).max_attempts(1);
    let builder = || Runtime::builder().store(Store::sqlite(&path)).agent(agent());
    let first = builder().max_running(2).start().await.unwrap();
    let runs = submit_all(&first, (0..5).map(|number| NewRun::new("gated", number))).await;
    gate.arrivals(2).await;

    let drained = soon(first.shutdown(Duration::ZERO)).await;

    assert_eq!((drained.settled, drained.handed_back, drained.lost), (0, 2, 0));
    gate.open(5);
    let second = builder().start().await.unwrap();
    for (number, run) in runs.iter().enumerate() {
        // With one attempt allowed, the runs that were started would not start again if that had been burnt.
        let output = second.wait(run.run_id(), LONG).await.unwrap();
        assert_eq!((output.status, output.content), (RunStatus::Completed, Some(number.into())));
    }
    let mut again = 0;
    for run in &runs {
        let log = log(&second, run.run_id()).await;
        let (starts, last) = names(&log).into_iter().partition::<Vec<_>, _>(|name| *name == "RunStarted");
        assert_eq!(last, ["RunCompleted"]);
        again += starts.len() - 1;
    }
    assert_eq!(again, 2, "those that were handed back were started again");
}

#[tokio::test]
async fn code_that_takes_longer_to_clean_up_than_calls_may_take_is_waited_for() {
    let call_timeout = Duration::from_millis(400);
    let gate = Gate::new();
    let agent = Agent::builder("tidy").on_crash(CrashPolicy::Restart).code({
        let gate = gate.clone();
        move |cx: RunContext| {
            let gate = gate.clone();
            async move {
                assert!(!cx.is_cancelled(), "who asks is told");
                gate.arrive();
                cx.cancelled().await;
                tokio::time::sleep(call_timeout * 3).await;
                Ok(())
            }
        }
    });
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent);
    let runtime = builder.call_timeout(call_timeout).cancel_grace(LONG).start().await.unwrap();
    runtime.submit(NewRun::new("tidy", "hi")).await.unwrap();
    gate.arrivals(1).await;

    let drained = soon(runtime.shutdown(Duration::ZERO)).await;

    assert_eq!((drained.settled, drained.handed_back, drained.lost), (0, 1, 0));
}

#[tokio::test]
async fn a_shutdown_may_take_as_long_as_it_likes() {
    let gate = Gate::new();
    let runtime = start(Store::sqlite_in_memory(), gated(&gate)).await;
    runtime.submit(NewRun::new("gated", "hi")).await.unwrap();
    gate.arrivals(1).await;
    let mut shutdown = Box::pin(runtime.shutdown(Duration::MAX));
    assert!(shutdown.as_mut().now_or_never().is_none());

    gate.open(1);

    assert_eq!(soon(shutdown).await.settled, 1);
}

#[tokio::test]
async fn what_may_not_run_twice_is_settled_by_a_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let agent = || gated(&gate).on_crash(CrashPolicy::Fail);
    let builder = || Runtime::builder().store(Store::sqlite(&path)).agent(agent());
    let first = builder().max_running(1).start().await.unwrap();
    let runs = submit_all(&first, ["runs", "waits"].map(|input| NewRun::new("gated", input))).await;
    gate.arrivals(1).await;
    let mut events = runs[0].subscribe(None).await.unwrap();
    assert_eq!(names(&[soon(events.next()).await.unwrap().unwrap()]), ["RunStarted"]);

    let drained = soon(first.shutdown(Duration::ZERO)).await;

    assert_eq!((drained.settled, drained.handed_back, drained.lost), (1, 0, 0));
    let events: Vec<_> = soon(events.try_collect()).await.unwrap();
    assert_eq!(names(&events), ["RunError"], "who follows the run is told");
    gate.open(2);
    let second = builder().start().await.unwrap();
    let failed = second.wait(runs[0].run_id(), LONG).await.unwrap();
    assert_eq!((failed.status, failed.error.unwrap().kind), (RunStatus::Error, FailureKind::Shutdown));
    let waited = second.wait(runs[1].run_id(), LONG).await.unwrap();
    assert_eq!(waited.status, RunStatus::Completed, "what was never started may start");
}

#[tokio::test]
async fn shutting_down_again_is_the_same_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let runtime = start(Store::sqlite(&path), gated(&gate)).await;
    let run = runtime.submit(NewRun::new("gated", "hi")).await.unwrap();
    gate.arrivals(1).await;
    let mut given_up = Box::pin(runtime.shutdown(LONG));
    assert!(given_up.as_mut().now_or_never().is_none());
    drop(given_up);

    gate.open(1);
    let (one, other) = soon(futures_util::future::join(runtime.shutdown(LONG), runtime.shutdown(LONG))).await;

    assert_eq!((one.settled, other.settled), (1, 1));
    assert_eq!(soon(runtime.shutdown(LONG)).await.settled, 1, "what is over is told as well");
    let next = start(Store::sqlite(&path), gated(&gate)).await;
    assert_eq!(next.wait(run.run_id(), LONG).await.unwrap().status, RunStatus::Completed);
}

#[tokio::test]
async fn whoever_is_told_of_a_shutdown_may_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    for _ in 0..20 {
        let runtime = start(Store::sqlite(&path), gated(&Gate::new())).await;
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let runtime = runtime.clone();
                tokio::spawn(async move { runtime.shutdown(LONG).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
            // Each of them, not only the one that did it, is answered when the file is free.
            let next = start(Store::sqlite(&path), gated(&Gate::new())).await;
            next.shutdown(LONG).await;
        }
    }
}

#[tokio::test]
async fn a_shutdown_that_is_given_up_in_the_middle_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    for polls in 1..20 {
        let runtime = start(Store::sqlite(&path), gated(&Gate::new())).await;
        let mut given_up = Box::pin(runtime.shutdown(LONG));
        for _ in 0..polls {
            if given_up.as_mut().now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(given_up);

        soon(runtime.shutdown(LONG)).await;

        let next = start(Store::sqlite(&path), gated(&Gate::new())).await;
        next.shutdown(LONG).await;
    }
}
