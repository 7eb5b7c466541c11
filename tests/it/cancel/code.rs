//! A cancel of code that is the user's own: it heeds the cancel, or does not, or cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom::{
    Agent, AgentError, CancelOutcome, FailureKind, NewRun, RunContext, RunStatus, Runtime, ScriptedModel, ScriptedTurn,
    Store,
};

use crate::support::{DropGuard, Gate, LONG, has_spoken, settled, start, text};

#[tokio::test]
async fn code_that_does_not_ask_is_dropped_where_it_waits() {
    let (gate, dropped) = (Gate::new(), Gate::new());
    let agent = Agent::builder("deaf").code({
        let (gate, dropped) = (gate.clone(), dropped.clone());
        move |cx: RunContext| {
            let (gate, guard) = (gate.clone(), DropGuard(dropped.clone()));
            async move {
                let _guard = guard;
                cx.emit_text("so far").await;
                gate.pass().await;
                Ok("never")
            }
        }
    });
    // The grace is for code that heeds a cancel; this code is not given any.
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent);
    let runtime = builder.cancel_grace(Duration::from_secs(60 * 60)).start().await.unwrap();
    let run = runtime.submit(NewRun::new("deaf", "hi")).await.unwrap();
    gate.arrivals(1).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    assert_eq!(dropped.unseen(), 1, "the future is gone before the cancel is answered");
    let output = run.output().await.unwrap();
    assert_eq!((output.status, text(&output)), (RunStatus::Cancelled, "so far"));
}

#[tokio::test]
async fn code_that_heeds_a_cancel_may_say_its_last_words() {
    let gate = Gate::new();
    let agent = Agent::builder("polite").code({
        let gate = gate.clone();
        move |cx: RunContext| {
            let gate = gate.clone();
            async move {
                cx.emit_text("so far").await;
                assert!(!cx.is_cancelled(), "who asks is told");
                gate.arrive();
                cx.cancelled().await;
                for _ in 0..100 {
                    cx.emit_text(", bye").await;
                }
                Ok("what is returned after a cancel is not the content")
            }
        }
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let run = runtime.submit(NewRun::new("polite", "hi")).await.unwrap();
    gate.arrivals(1).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    let output = run.output().await.unwrap();
    assert_eq!((output.status, text(&output)), (RunStatus::Cancelled, &*format!("so far{}", ", bye".repeat(100))));
}

#[tokio::test]
async fn code_that_fails_or_panics_upon_a_cancel_is_cancelled() {
    let gate = Gate::new();
    let agent = Agent::builder("upset").code({
        let gate = gate.clone();
        move |cx: RunContext| {
            let gate = gate.clone();
            async move {
                assert!(!cx.is_cancelled(), "who asks is told");
                gate.arrive();
                cx.cancelled().await;
                assert!(cx.is_cancelled() && cx.input().as_text() != Some("panic"), "as it was told to");
                Err::<(), _>(AgentError::new("upset"))
            }
        }
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    for input in ["fail", "panic"] {
        let run = runtime.submit(NewRun::new("upset", input)).await.unwrap();
        gate.arrivals(1).await;

        assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);
        assert_eq!(run.output().await.unwrap().error, None);
    }
}

#[tokio::test]
async fn code_that_heeds_a_cancel_and_does_not_return_is_abandoned() {
    let (gate, dropped) = (Gate::new(), Gate::new());
    let agent = Agent::builder("stubborn").code({
        let (gate, dropped) = (gate.clone(), dropped.clone());
        move |cx: RunContext| {
            let (gate, guard) = (gate.clone(), DropGuard(dropped.clone()));
            async move {
                let _guard = guard;
                assert!(!cx.is_cancelled(), "who asks is told");
                gate.arrive();
                cx.cancelled().await;
                cx.emit_text("no").await;
                std::future::pending::<Result<(), AgentError>>().await
            }
        }
    });
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent);
    let runtime = builder.cancel_grace(Duration::from_millis(100)).start().await.unwrap();
    let run = runtime.submit(NewRun::new("stubborn", "hi")).await.unwrap();
    gate.arrivals(1).await;
    let asked = Instant::now();

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    assert!(asked.elapsed() >= Duration::from_millis(100), "it was given its grace");
    assert_eq!(text(&run.output().await.unwrap()), "no");
    dropped.arrivals(1).await;
}

#[tokio::test]
async fn a_timeout_is_told_to_code_like_a_cancel() {
    let agent = Agent::builder("polite").code(|cx: RunContext| async move {
        cx.cancelled().await;
        cx.emit_text("bye").await;
        Ok(())
    });
    let runtime = start(Store::sqlite_in_memory(), agent.timeout(Duration::from_secs(2))).await;

    let output = settled(&runtime.submit(NewRun::new("polite", "hi")).await.unwrap()).await;

    assert_eq!(output.error.as_ref().unwrap().kind, FailureKind::Timeout);
    assert_eq!(text(&output), "bye");
}

#[tokio::test]
async fn code_that_blocks_its_thread_does_not_hold_up_others() {
    let (gate, end) = (Gate::new(), Arc::new(AtomicBool::new(false)));
    let blocking = Agent::builder("blocking").code({
        let (gate, end) = (gate.clone(), Arc::clone(&end));
        move |_| {
            let (gate, end) = (gate.clone(), Arc::clone(&end));
            async move {
                gate.arrive();
                while !end.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
        }
    });
    let stalling = Agent::builder("stalling").model(ScriptedModel::new([ScriptedTurn::text("partly").then_stall()]));
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(blocking).agent(stalling);
    let runtime = builder.agent_threads(3).cancel_grace(Duration::from_millis(100)).start().await.unwrap();
    let mut blockers = Vec::new();
    for _ in 0..2 {
        blockers.push(runtime.submit(NewRun::new("blocking", "hi").timeout(LONG)).await.unwrap());
    }
    gate.arrivals(2).await;

    let run = runtime.submit(NewRun::new("stalling", "hi")).await.unwrap();
    has_spoken(&run).await;
    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);
    // Nobody can stop a thread: the run is abandoned after its grace, and the thread goes on.
    assert_eq!(blockers[0].cancel().await.unwrap(), CancelOutcome::Cancelled);

    end.store(true, Ordering::Release);
    assert_eq!(settled(&blockers[1]).await.status, RunStatus::Completed);
    assert_eq!(blockers[0].output().await.unwrap().status, RunStatus::Cancelled);
}
