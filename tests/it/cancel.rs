//! What a cancel does to a run, and what it answers.

use std::collections::HashSet;

use futures_util::FutureExt;
use futures_util::future::join_all;
use greenroom::{
    Agent, AgentBuilder, CancelOutcome, NewRun, RunContext, RunStatus, Runtime, ScriptedModel, ScriptedTurn, Store,
};

use crate::support::{Gate, gated, has_spoken, log, names, on_each_store, settled, start, text};

mod code;
mod intent;
mod model;

on_each_store!(
    a_running_run_is_cancelled_durably_and_keeps_what_it_has_said,
    a_run_that_waits_for_room_is_cancelled_where_it_waits,
    cancelling_again_and_again_is_harmless,
    a_cancel_after_the_end_says_how_the_run_ended,
    a_cancel_that_races_the_end_says_what_became_of_the_run,
    a_session_goes_on_after_a_cancel,
);

/// An agent whose model says something, and then nothing more for ever.
fn stalling() -> AgentBuilder {
    Agent::builder("stalling").model(ScriptedModel::new([ScriptedTurn::text("partly").then_stall()]))
}

async fn a_running_run_is_cancelled_durably_and_keeps_what_it_has_said(store: Store) {
    let runtime = start(store, stalling()).await;
    let run = runtime.submit(NewRun::new("stalling", "hi")).await.unwrap();
    has_spoken(&run).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    let output = run.output().await.unwrap();
    assert_eq!((output.status, text(&output)), (RunStatus::Cancelled, "partly"));
    assert!(output.error.is_none() && output.settled_at.is_some());
    let log = log(&runtime, run.run_id()).await;
    assert_eq!(names(&log), ["RunStarted", "ModelRequestStarted", "RunContent", "RunCancelled"]);
}

async fn a_run_that_waits_for_room_is_cancelled_where_it_waits(store: Store) {
    let gate = Gate::new();
    let builder = Runtime::builder().store(store).agent(gated(&gate));
    let runtime = builder.max_running(1).start().await.unwrap();
    let first = runtime.submit(NewRun::new("gated", "runs")).await.unwrap();
    gate.arrivals(1).await;
    let waiting = runtime.submit(NewRun::new("gated", "waits")).await.unwrap();
    let mut wait = Box::pin(settled(&waiting));
    assert!(wait.as_mut().now_or_never().is_none());

    assert_eq!(waiting.cancel().await.unwrap(), CancelOutcome::Cancelled);

    let output = wait.await;
    assert_eq!((output.status, output.started_at), (RunStatus::Cancelled, None));
    assert_eq!(names(&log(&runtime, waiting.run_id()).await), ["RunCancelled"]);
    gate.open(2);
    assert_eq!(settled(&first).await.status, RunStatus::Completed);
    assert_eq!(gate.unseen(), 0, "the run that was cancelled never started");
}

async fn cancelling_again_and_again_is_harmless(store: Store) {
    let runtime = start(store, stalling()).await;
    let run = runtime.submit(NewRun::new("stalling", "hi")).await.unwrap();
    has_spoken(&run).await;

    let cancels = (0..50).map(|_| {
        let run = run.clone();
        tokio::spawn(async move { run.cancel().await })
    });
    let answers: Vec<_> = join_all(cancels).await.into_iter().map(|answer| answer.unwrap().unwrap()).collect();

    let late = CancelOutcome::AlreadySettled(RunStatus::Cancelled);
    assert!(answers.contains(&CancelOutcome::Cancelled));
    assert!(answers.iter().all(|answer| [CancelOutcome::Cancelled, late].contains(answer)), "{answers:?}");
    assert_eq!(run.cancel().await.unwrap(), late);
    let log = log(&runtime, run.run_id()).await;
    assert_eq!(names(&log).iter().filter(|name| *name == "RunCancelled").count(), 1);
    assert_eq!(run.output().await.unwrap().status, RunStatus::Cancelled);
}

async fn a_cancel_after_the_end_says_how_the_run_ended(store: Store) {
    let model = ScriptedModel::new([ScriptedTurn::text("done"), ScriptedTurn::text("bro").then_cut()]);
    let runtime = start(store, Agent::builder("model").model(model)).await;
    for (status, content) in [(RunStatus::Completed, "done"), (RunStatus::Error, "bro")] {
        let run = runtime.submit(NewRun::new("model", "hi")).await.unwrap();
        let before = settled(&run).await;

        let answer = run.cancel().await.unwrap();

        assert_eq!(answer, CancelOutcome::AlreadySettled(status));
        assert!(!answer.was_live());
        let after = run.output().await.unwrap();
        assert_eq!(after, before);
        assert_eq!((after.status, text(&after)), (status, content));
    }
}

async fn a_cancel_that_races_the_end_says_what_became_of_the_run(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    let mut seen = HashSet::new();
    for round in 0..200 {
        let run = runtime.submit(NewRun::new("gated", round)).await.unwrap();
        gate.arrivals(1).await;

        let mut cancel = Box::pin(run.cancel());
        let early = if round % 2 == 0 { cancel.as_mut().now_or_never() } else { None };
        gate.open(1);
        let answer = if let Some(answer) = early { answer } else { cancel.await };
        let answer = answer.unwrap();

        let status = run.output().await.unwrap().status;
        let expected = match answer {
            CancelOutcome::Cancelled => RunStatus::Cancelled,
            CancelOutcome::AlreadySettled(status) => status,
            CancelOutcome::Requested | CancelOutcome::IntentStored | _ => panic!("the run is live here: {answer:?}"),
        };
        assert_eq!(status, expected, "round {round}");
        assert_eq!(settled(&run).await.status, status);
        assert_eq!(names(&log(&runtime, run.run_id()).await).len(), 2, "round {round}");
        seen.insert(status);
        gate.close();
    }
    assert_eq!(seen.len(), 2, "the race was always won by the same side: {seen:?}");
}

async fn a_session_goes_on_after_a_cancel(store: Store) {
    let model = ScriptedModel::new([ScriptedTurn::text("so far").then_stall(), ScriptedTurn::text("done")]);
    let runtime = start(store, Agent::builder("model").model(model)).await;
    let new = || NewRun::new("model", "hi").session_id("s");
    let first = runtime.submit(new()).await.unwrap();
    has_spoken(&first).await;
    first.cancel().await.unwrap();

    let second = runtime.submit(new()).await.unwrap();

    assert_eq!(text(&settled(&second).await), "done");
    assert_eq!(first.output().await.unwrap().status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_cancel_whose_caller_goes_away_happens_all_the_same() {
    let runtime = start(Store::sqlite_in_memory(), stalling()).await;
    let run = runtime.submit(NewRun::new("stalling", "hi")).await.unwrap();
    has_spoken(&run).await;

    // Polled once, and dropped.
    run.cancel().now_or_never();

    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_cancel_ends_its_run_and_no_other() {
    let gate = Gate::new();
    let agent = Agent::builder("talking").code({
        let gate = gate.clone();
        move |cx: RunContext| {
            let gate = gate.clone();
            async move {
                cx.emit_text("so far").await;
                gate.pass().await;
                Ok(cx.input().clone())
            }
        }
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let mut runs = Vec::new();
    for number in 0..20 {
        runs.push(runtime.submit(NewRun::new("talking", number).session_id("s")).await.unwrap());
    }
    gate.arrivals(20).await;

    let cancelled = runs.swap_remove(7);
    assert_eq!(cancelled.cancel().await.unwrap(), CancelOutcome::Cancelled);

    gate.open(19);
    for run in &runs {
        assert_eq!(settled(run).await.status, RunStatus::Completed);
    }
    assert_eq!(cancelled.output().await.unwrap().status, RunStatus::Cancelled);
}
