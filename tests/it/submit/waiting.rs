//! Runs that wait: for their time, or for room.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use futures_util::future::join_all;
use greenroom::{
    Agent, CancelOutcome, Error, NewRun, RunContext, RunId, RunQuery, RunStatus, Runtime, ScriptedModel, Store,
};

use crate::support::{Gate, LONG, gated, on_each_store, settled, submit_all, text};

on_each_store!(
    a_run_for_later_waits_until_its_time,
    what_waits_is_taken_up_by_priority_and_then_by_age,
    a_full_runtime_refuses_and_stores_nothing,
    a_thousand_runs_of_one_session_at_once_all_settle,
);

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn a_run_for_later_waits_until_its_time(store: Store) {
    let agent = Agent::builder("echo").model(ScriptedModel::echo());
    let builder = Runtime::builder().store(store).agent(agent);
    let runtime = builder.poll_interval(Duration::from_millis(10)).start().await.unwrap();
    let run_at = Utc::now() + Duration::from_millis(500);

    let later = runtime.submit(NewRun::new("echo", "later").run_at(run_at)).await.unwrap();
    let at_once = runtime.submit(NewRun::new("echo", "now")).await.unwrap();
    let never = runtime.submit(NewRun::new("echo", "never").run_at(Utc::now() + HOUR)).await.unwrap();
    let past = runtime.submit(NewRun::new("echo", "past").run_at(Utc::now() - HOUR)).await.unwrap();

    assert_eq!(later.status(), RunStatus::Pending);
    settled(&at_once).await;
    settled(&past).await;
    let output = settled(&later).await;
    assert_eq!(text(&output), "later");
    assert!(output.started_at.unwrap() >= run_at);
    assert_eq!(never.cancel().await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(settled(&never).await.status, RunStatus::Cancelled);
}

async fn what_waits_is_taken_up_by_priority_and_then_by_age(store: Store) {
    let (gate, order) = (Gate::new(), Arc::new(Mutex::new(Vec::new())));
    let agent = Agent::builder("noting").code({
        let (gate, order) = (gate.clone(), Arc::clone(&order));
        move |cx: RunContext| {
            order.lock().unwrap().push(cx.input().to_string());
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(())
            }
        }
    });
    let builder = Runtime::builder().store(store).agent(agent).max_running(1);
    // Room that becomes free is filled at once, not at the next look.
    let runtime = builder.poll_interval(HOUR).start().await.unwrap();
    let mut runs = vec![runtime.submit(NewRun::new("noting", "first")).await.unwrap()];
    gate.arrivals(1).await;

    for (input, priority) in [("a", 0), ("b", 5), ("c", -5), ("d", 5), ("e", 0)] {
        runs.push(runtime.submit(NewRun::new("noting", input).priority(priority)).await.unwrap());
    }
    assert_eq!(runs[1].output().await.unwrap().status, RunStatus::Pending);
    gate.open(6);

    for run in &runs {
        assert_eq!(settled(run).await.status, RunStatus::Completed);
    }
    assert_eq!(*order.lock().unwrap(), ["first", "b", "d", "a", "e", "c"]);
}

async fn a_full_runtime_refuses_and_stores_nothing(store: Store) {
    let gate = Gate::new();
    let builder = Runtime::builder().store(store).agent(gated(&gate));
    let runtime = builder.max_running(1).max_waiting(2).poll_interval(HOUR).start().await.unwrap();
    // At its start a runtime looks how many runs wait, and may count one that it takes up meanwhile. That is over when a first
    // run is.
    let before = runtime.submit(NewRun::new("gated", "before")).await.unwrap();
    gate.arrivals(1).await;
    gate.open(1);
    settled(&before).await;
    let mut runs = vec![runtime.submit(NewRun::new("gated", "runs")).await.unwrap()];
    gate.arrivals(1).await;

    let submits = (0..50).map(|_| runtime.submit(NewRun::new("gated", "waits")));
    let (accepted, refused): (Vec<_>, Vec<_>) = join_all(submits).await.into_iter().partition(Result::is_ok);

    assert_eq!(accepted.len(), 2);
    for refusal in refused {
        let refusal = refusal.unwrap_err();
        assert!(matches!(refusal, Error::Full(2)) && refusal.is_retryable(), "{refusal:?}");
    }
    assert_eq!(runtime.list(RunQuery::new()).await.unwrap().runs.len(), 4);
    // What is there already needs no room.
    let known = accepted[0].as_ref().unwrap();
    let again = NewRun::new("gated", "waits").run_id(known.run_id());
    assert_eq!(runtime.submit(again).await.unwrap().session_id(), known.session_id());
    let by_key = NewRun::new("gated", "waits").idempotency_key("new here");
    assert!(matches!(runtime.submit(by_key).await, Err(Error::Full(2))));
    let other = NewRun::new("gated", "waits for something else").run_id(known.run_id());
    assert!(matches!(runtime.submit(other).await, Err(Error::Conflict(_))));
    let unknown = NewRun::new("gated", "waits").run_id(RunId::new());
    assert!(matches!(runtime.submit(unknown).await, Err(Error::Full(2))));
    gate.open(4);
    runs.extend(accepted.into_iter().map(Result::unwrap));
    for run in &runs {
        assert_eq!(settled(run).await.status, RunStatus::Completed);
    }
    let later = runtime.submit(NewRun::new("gated", "there is room again")).await.unwrap();
    assert_eq!(settled(&later).await.status, RunStatus::Completed);
}

#[tokio::test]
async fn a_cancel_that_is_not_answered_yet_counts_among_the_calls() {
    let gate = Gate::new();
    let agent = Agent::builder("heeding").code({
        let gate = gate.clone();
        move |cx: RunContext| {
            let gate = gate.clone();
            async move {
                assert!(!cx.is_cancelled(), "who asks is told");
                gate.arrive();
                cx.cancelled().await;
                gate.pass().await;
                Ok(())
            }
        }
    });
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent);
    let runtime = builder.max_calls(1).start().await.unwrap();
    let run = runtime.submit(NewRun::new("heeding", "hi")).await.unwrap();
    gate.arrivals(1).await;

    let cancel = tokio::spawn({
        let run = run.clone();
        async move { run.cancel().await }
    });
    gate.arrivals(1).await;
    let refusals = [runtime.submit(NewRun::new("heeding", "hi")).await.err(), run.cancel().await.err()];

    for refusal in refusals {
        assert!(matches!(refusal, Some(Error::Overloaded(1))), "{refusal:?}");
    }
    gate.open(1);
    assert_eq!(cancel.await.unwrap().unwrap(), CancelOutcome::Cancelled);
    runtime.submit(NewRun::new("heeding", "hi")).await.unwrap();
}

async fn a_thousand_runs_of_one_session_at_once_all_settle(store: Store) {
    let agent = Agent::builder("echo").model(ScriptedModel::echo());
    let runtime = Runtime::builder().store(store).agent(agent).call_timeout(LONG).start().await.unwrap();
    let new = |number: usize| NewRun::new("echo", format!("number {number}")).session_id("busy");

    let runs = submit_all(&runtime, (0..1000).map(new)).await;

    for (number, run) in runs.iter().enumerate() {
        let output = settled(run).await;
        assert_eq!((output.status, text(&output)), (RunStatus::Completed, &*format!("number {number}")));
    }
    let mut query = RunQuery::new().session_id("busy").status(RunStatus::Completed).limit(300);
    let (mut seen, mut sizes, mut last) = (HashSet::new(), Vec::new(), None);
    loop {
        let page = runtime.list(query.clone()).await.unwrap();
        sizes.push(page.runs.len());
        for run in page.runs {
            assert!(last.is_none_or(|last| run.output.created_at <= last), "the newest come first");
            last = Some(run.output.created_at);
            seen.insert(run.output.run_id);
        }
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    assert_eq!(sizes, [300, 300, 300, 100]);
    assert_eq!(seen, runs.iter().map(greenroom::RunHandle::run_id).collect());
}
