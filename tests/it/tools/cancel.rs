//! A cancel ends a loop of tools where it is.

use std::sync::atomic::{AtomicU64, Ordering};

use greenroom::{CancelOutcome, RetryPolicy, RunOutput, ToolExecution};

use super::*;
use crate::support::DropGuard;

on_each_store!(
    after_a_cancel_in_the_first_of_four_turns_no_tool_is_called_and_no_turn_asked_for,
    after_a_cancel_in_the_first_of_four_calls_no_other_is_made,
    a_tool_that_heeds_a_cancel_cleans_up_before_the_run_is_cancelled,
    a_blocking_tool_that_heeds_a_cancel_cleans_up_before_the_run_is_cancelled,
    a_call_that_waits_to_be_tried_again_is_not_tried_after_a_cancel,
    a_panic_of_a_tool_lets_the_others_clean_up_and_no_other_begin,
);

/// Four calls, each in a turn of its own or all in one; the first one waits for ever, and says when it is dropped.
fn four_calls(together: bool, begun: &Gate, dropped: &Gate, calls: &Arc<AtomicU64>) -> (ScriptedModel, AgentBuilder) {
    let model = ScriptedModel::answering(move |request| match outputs(request).len() as u64 {
        4 => ScriptedTurn::text("done"),
        _ if together => (1..=4).fold(ScriptedTurn::text("Well. "), |turn, n| turn.then_call("work", number(n))),
        done => ScriptedTurn::text("Well. ").then_call("work", number(done + 1)),
    });
    let (begun, dropped, calls) = (begun.clone(), dropped.clone(), Arc::clone(calls));
    let work = Tool::new("work", "Works.", move |_: ToolContext, args: Number| {
        calls.fetch_add(1, Ordering::AcqRel);
        let (begun, guard) = (begun.clone(), DropGuard(dropped.clone()));
        async move {
            let _guard = guard;
            if args.number == 1 {
                begun.pass().await;
            }
            Ok(args.number)
        }
    });
    (model.clone(), Agent::builder("a").model(model).tool(work).parallel_tool_calls(1))
}

/// The calls that a run has made, and which of them had ended.
fn ended(output: &RunOutput) -> Vec<(&str, bool)> {
    let has_ended = |call: &ToolExecution| call.result.is_some() && call.metrics.is_some();
    output.tools.iter().map(|call| (call.tool_call_id.as_str(), has_ended(call))).collect()
}

async fn cancelled_in_the_first_call(store: Store, together: bool) {
    let (begun, dropped, calls) = (Gate::new(), Gate::new(), Arc::default());
    let (model, agent) = four_calls(together, &begun, &dropped, &calls);
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    begun.arrivals(1).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    dropped.arrivals(1).await;
    // Whoever wanted to go on could.
    begun.open(10);
    let output = run.output().await.unwrap();
    assert_eq!((output.status, text(&output)), (RunStatus::Cancelled, "Well. "));
    assert_eq!(ended(&output), [("call_1_1", false)], "the call is kept");
    assert_eq!(output.tools[0].tool_args.as_json(), &number(1));
    soon(runtime.shutdown(LONG)).await;
    assert_eq!((calls.load(Ordering::Acquire), model.requests().len(), model.open_turns()), (1, 1, 0));
}

async fn after_a_cancel_in_the_first_of_four_turns_no_tool_is_called_and_no_turn_asked_for(store: Store) {
    cancelled_in_the_first_call(store, false).await;
}

async fn after_a_cancel_in_the_first_of_four_calls_no_other_is_made(store: Store) {
    cancelled_in_the_first_call(store, true).await;
}

/// Waits for a cancel, and then cleans up.
fn heeds(begun: &Gate, cleaned: &Gate) -> Tool {
    let (begun, cleaned) = (begun.clone(), cleaned.clone());
    Tool::new("heeds", "Cleans up.", move |cx: ToolContext, _: Number| {
        let (begun, cleaned) = (begun.clone(), cleaned.clone());
        async move {
            let cancelled = cx.cancelled();
            tokio::pin!(cancelled);
            // It has asked when it says that it has begun.
            let early = futures_util::poll!(&mut cancelled);
            assert!(early.is_pending());
            begun.arrive();
            cancelled.await;
            cx.emit("cleaned", "up").await?;
            cleaned.arrive();
            Ok("cleaned up")
        }
    })
}

async fn a_tool_that_heeds_a_cancel_cleans_up_before_the_run_is_cancelled(store: Store) {
    let (begun, cleaned, dropped) = (Gate::new(), Gate::new(), Gate::new());
    let model = ScriptedModel::new([ScriptedTurn::calls([])
        .then_call("heeds", number(1))
        .then_call("does_not", number(1))
        .then_call("heeds", number(2))]);
    let heeds = heeds(&begun, &cleaned);
    let (at_begin, at_drop) = (begun.clone(), dropped.clone());
    let does_not = Tool::new("does_not", "Waits.", move |_: ToolContext, _: Number| {
        let (begun, guard) = (at_begin.clone(), DropGuard(at_drop.clone()));
        async move {
            let _guard = guard;
            begun.pass().await;
            Ok(())
        }
    });
    // The third call waits for room.
    let agent = Agent::builder("a").model(model.clone()).tool(heeds).tool(does_not).parallel_tool_calls(2);
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    begun.arrivals(2).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    assert_eq!((cleaned.unseen(), dropped.unseen(), begun.unseen()), (1, 1, 0));
    assert_eq!(model.requests().len(), 1);
    let log = log(&runtime, run.run_id()).await;
    let last = names(&log).split_off(log.len() - 3);
    assert_eq!(last, ["CustomEvent", "ToolCallCompleted", "RunCancelled"]);
    assert_eq!(ended(&run.output().await.unwrap()), [("call_1_1", true), ("call_1_2", false)]);
}

async fn a_blocking_tool_that_heeds_a_cancel_cleans_up_before_the_run_is_cancelled(store: Store) {
    let (begun, cleaned) = (Gate::new(), Gate::new());
    let model = ScriptedModel::new([ScriptedTurn::default().then_call("heeds", number(1))]);
    let (at_begin, at_clean) = (begun.clone(), cleaned.clone());
    let heeds = Tool::blocking("heeds", "Cleans up.", move |cx: ToolContext, _: Number| {
        // It has asked when it says that it has begun.
        assert!(!cx.is_cancelled());
        at_begin.arrive();
        while !cx.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        at_clean.arrive();
        Ok("cleaned up")
    });
    let runtime = start(store, Agent::builder("a").model(model.clone()).tool(heeds)).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    begun.arrivals(1).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    assert_eq!((cleaned.unseen(), model.requests().len()), (1, 1));
    assert_eq!(ended(&run.output().await.unwrap()), [("call_1_1", true)]);
}

async fn a_call_that_waits_to_be_tried_again_is_not_tried_after_a_cancel(store: Store) {
    let tried = Gate::new();
    let model = ScriptedModel::new([ScriptedTurn::default().then_call("breaks", number(1))]);
    let at_try = tried.clone();
    let breaks = Tool::new("breaks", "Breaks.", move |cx: ToolContext, _: Number| {
        // Code that has asked is given its grace.
        assert!(!cx.is_cancelled());
        at_try.arrive();
        async { Err::<(), _>(AgentError::new("not yet")) }
    });
    let breaks = breaks.retries(3, RetryPolicy::new(Duration::from_secs(3600)));
    let agent = Agent::builder("a").model(model.clone()).tool(breaks);
    let runtime = Runtime::builder().store(store).agent(agent).cancel_grace(2 * LONG).start().await.unwrap();
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    // The pause begins in the same poll.
    tried.arrivals(1).await;

    assert_eq!(soon(run.cancel()).await.unwrap(), CancelOutcome::Cancelled);

    let output = run.output().await.unwrap();
    assert_eq!((output.status, ended(&output)), (RunStatus::Cancelled, vec![("call_1_1", false)]));
    assert_eq!((tried.unseen(), model.requests().len()), (0, 1));
}

async fn a_panic_of_a_tool_lets_the_others_clean_up_and_no_other_begin(store: Store) {
    let (begun, cleaned) = (Gate::new(), Gate::new());
    let model = ScriptedModel::new([ScriptedTurn::calls([])
        .then_call("heeds", number(1))
        .then_call("panics", number(1))
        .then_call("heeds", number(2))]);
    let go = Gate::new();
    let at_go = go.clone();
    let panics = Tool::new("panics", "Panics.", move |_: ToolContext, _: Number| {
        let go = at_go.clone();
        async move {
            go.pass().await;
            if true { panic!("no more") } else { Ok(()) }
        }
    });
    // The third call waits for room, which the panic makes.
    let agent = Agent::builder("a").model(model).tool(heeds(&begun, &cleaned)).tool(panics).parallel_tool_calls(2);
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    begun.arrivals(1).await;
    go.open(1);

    let output = settled(&run).await;

    let error = output.error.as_ref().unwrap();
    assert_eq!((output.status, error.kind, &*error.message), (RunStatus::Error, FailureKind::Panic, "no more"));
    assert_eq!((cleaned.unseen(), begun.unseen()), (1, 0));
    assert!(names(&log(&runtime, run.run_id()).await).contains(&"CustomEvent".to_owned()));
}
