//! A runtime that goes without a shutdown, and the next one on the same file.

use std::path::Path;
use std::time::Duration;

use greenroom::{
    AgentBuilder, CancelOutcome, CrashPolicy, Error, FailureKind, NewRun, RunEventKind, RunId, RunStatus, Runtime,
    Store, StoreError,
};

use crate::support::{Gate, LONG, gated, log, names, settled, soon, start, submit_all};

/// Starts a runtime on a file whose last runtime has just been dropped: the file is free when its threads have ended.
async fn start_next(path: &Path, agent: impl Fn() -> AgentBuilder) -> Runtime {
    let starting = async {
        loop {
            match Runtime::builder().store(Store::sqlite(path)).agent(agent()).start().await {
                Err(Error::Store(StoreError::InUse(_))) => tokio::time::sleep(Duration::from_millis(1)).await,
                started => return started.unwrap(),
            }
        }
    };
    soon(starting).await
}

#[tokio::test]
async fn a_run_that_may_run_again_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let agent = || gated(&gate).on_crash(CrashPolicy::Restart);
    let first = Runtime::builder().store(Store::sqlite(&path)).agent(agent()).max_running(2).start().await.unwrap();
    let runs = submit_all(&first, (0..4).map(|number| NewRun::new("gated", number))).await;
    let run_ids: Vec<_> = runs.iter().map(greenroom::RunHandle::run_id).collect();
    let first_id = run_ids[0];
    gate.arrivals(2).await;
    drop((first, runs));

    let second = start_next(&path, agent).await;
    gate.open(4);

    let mut attempts = Vec::new();
    for (number, run_id) in run_ids.into_iter().enumerate() {
        let output = second.wait(run_id, LONG).await.unwrap();
        assert_eq!((output.status, output.content), (RunStatus::Completed, Some(number.into())));
        let log = log(&second, run_id).await;
        assert!(log.iter().map(|event| event.seq).eq(0..log.len() as u64), "the log goes on where it stood");
        attempts.push(names(&log).iter().filter(|name| *name == "RunStarted").count());
    }
    assert_eq!(attempts, [2, 2, 1, 1]);
    assert_eq!(second.get(first_id).await.unwrap().unwrap().attempt, 2);
}

#[tokio::test]
async fn a_run_that_may_not_run_again_fails_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let first = start(Store::sqlite(&path), gated(&gate)).await;
    let run_id = first.submit(NewRun::new("gated", "hi")).await.unwrap().run_id();
    gate.arrivals(1).await;
    drop(first);

    let second = start_next(&path, || gated(&gate)).await;

    let output = second.get(run_id).await.unwrap().unwrap().output;
    assert_eq!((output.status, output.error.unwrap().kind), (RunStatus::Error, FailureKind::ProcessDied));
    assert_eq!(names(&log(&second, run_id).await), ["RunStarted", "RunError"]);
    assert_eq!(second.cancel(run_id).await.unwrap(), CancelOutcome::AlreadySettled(RunStatus::Error));
}

#[tokio::test]
async fn a_run_whose_attempts_are_used_up_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let agent = || gated(&gate).on_crash(CrashPolicy::Restart);
    let run_id = RunId::new();
    for _ in 0..2 {
        let runtime = start_next(&path, agent).await;
        runtime.submit(NewRun::new("gated", "hi").run_id(run_id).max_attempts(2)).await.unwrap();
        gate.arrivals(1).await;
    }

    let last = start_next(&path, agent).await;

    let output = last.wait(run_id, LONG).await.unwrap();
    assert_eq!((output.status, output.error.unwrap().kind), (RunStatus::Error, FailureKind::AttemptsExhausted));
    assert_eq!(gate.unseen(), 0, "user code was started twice");
}

#[tokio::test]
async fn a_run_that_is_submitted_again_at_a_start_is_taken_up_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let agent = || gated(&gate).on_crash(CrashPolicy::Restart).max_attempts(100);
    let run_id = RunId::new();
    for _ in 0..20 {
        let runtime = start_next(&path, agent).await;
        let again = (0..5).map(|_| NewRun::new("gated", "hi").run_id(run_id).session_id("s"));
        submit_all(&runtime, again).await;
        gate.arrivals(1).await;
    }

    let last = start_next(&path, agent).await;
    gate.arrivals(1).await;
    gate.open(1);

    assert_eq!(last.wait(run_id, LONG).await.unwrap().status, RunStatus::Completed);
    assert_eq!(gate.unseen(), 0);
    let kinds: Vec<_> = log(&last, run_id).await.into_iter().map(|event| event.kind).collect();
    let started = (1..=21).map(|attempt| RunEventKind::RunStarted { attempt });
    assert!(kinds.iter().take(21).cloned().eq(started), "{kinds:?}");
    assert_eq!(kinds.len(), 22);
}

#[tokio::test]
async fn what_was_asked_before_the_end_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let (wanted, unwanted) = (RunId::new(), RunId::new());
    let first = start(Store::sqlite(&path), gated(&gate)).await;
    first.cancel(unwanted).await.unwrap();
    first.submit(NewRun::new("gated", "hi").run_id(wanted).session_id("s")).await.unwrap();
    gate.arrivals(1).await;
    gate.open(1);
    let before = first.wait(wanted, LONG).await.unwrap();
    drop(first);

    let second = start_next(&path, || gated(&gate)).await;

    assert_eq!(second.get_run_output(wanted, "s").await.unwrap(), Some(before));
    let again = second.submit(NewRun::new("gated", "hi").run_id(wanted).session_id("s")).await.unwrap();
    assert_eq!(again.status(), RunStatus::Completed);
    let run = second.submit(NewRun::new("gated", "hi").run_id(unwanted)).await.unwrap();
    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_file_serves_one_runtime_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.sqlite");
    let gate = Gate::new();
    let first = start(Store::sqlite(&path), gated(&gate)).await;

    let refusal = Runtime::builder().store(Store::sqlite(&path)).agent(gated(&gate)).start().await.unwrap_err();

    assert!(matches!(refusal, Error::Store(StoreError::InUse(_))), "{refusal:?}");
    let run = first.submit(NewRun::new("gated", "hi")).await.unwrap();
    gate.open(1);
    assert_eq!(settled(&run).await.status, RunStatus::Completed, "the first one is none the worse");
    first.shutdown(LONG).await;
    start(Store::sqlite(&path), gated(&gate)).await;
}
