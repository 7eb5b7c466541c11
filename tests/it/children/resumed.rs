//! A run that resumes a failed one has its children: it waits for those that are there, and is cancelled with them.

use super::*;

on_each_store!(
    a_child_that_was_waited_for_when_its_parent_failed_is_waited_for_again,
    a_child_that_has_settled_since_its_parent_failed_is_found,
    a_cancel_reaches_the_children_of_the_run_that_was_resumed,
    a_tool_finds_the_child_of_a_call_that_did_not_end,
);

/// Waits for a child, submitted by one step or by two, until it is told to fail.
fn failing(fails: &Gate) -> AgentBuilder {
    let fails = fails.clone();
    Agent::builder("failing").code(move |cx: RunContext| {
        let fails = fails.clone();
        async move {
            let work = async {
                let asked = NewRun::new("gated", "done");
                if cx.input().as_text() == Some("one step") {
                    return cx.sub_run("work", asked).await;
                }
                let child = cx.submit_child("work", asked).await?;
                let output = cx.wait_for_child("worked", child).await?;
                output.content.ok_or_else(|| AgentError::new("it said nothing"))
            };
            tokio::select! {
                content = work => content,
                () = fails.pass() => Err(AgentError::new("it broke")),
            }
        }
    })
}

/// A run that has failed while it waited for its child, which is at work at the gate.
async fn failed(runtime: &Runtime, input: &str, fails: &Gate, gate: &Gate) -> (RunHandle, RunId) {
    let run = runtime.submit(NewRun::new("failing", input)).await.unwrap();
    gate.arrivals(1).await;
    let child = children(runtime, run.run_id()).await[0].output.run_id;
    fails.open(1);
    assert_eq!(error_of(&settled(&run).await), FailureKind::AgentError);
    fails.close();
    (run, child)
}

async fn a_child_that_was_waited_for_when_its_parent_failed_is_waited_for_again(store: Store) {
    let (fails, gate) = (Gate::new(), Gate::new());
    let runtime = start_all(store, [failing(&fails), gated(&gate)]).await;
    for input in ["one step", "two steps"] {
        let (run, child) = failed(&runtime, input, &fails, &gate).await;
        let resumed = run.resume_failed().await.unwrap();
        gate.open(1);
        let output = settled(&resumed).await;
        assert_eq!((output.status, text(&output)), (RunStatus::Completed, "done"), "{:?}", output.error);
        let found = children(&runtime, resumed.run_id()).await;
        assert_eq!(found.iter().map(|run| run.output.run_id).collect::<Vec<_>>(), [child]);
        assert_eq!(gate.unseen(), 0, "it was at work once");
    }
    runtime.shutdown(LONG).await;
}

async fn a_child_that_has_settled_since_its_parent_failed_is_found(store: Store) {
    let (fails, gate) = (Gate::new(), Gate::new());
    let runtime = start_all(store, [failing(&fails), gated(&gate)]).await;
    let (run, child) = failed(&runtime, "one step", &fails, &gate).await;
    gate.open(1);
    runtime.wait(child, LONG).await.unwrap();
    assert_eq!(text(&settled(&run.resume_failed().await.unwrap()).await), "done");
    assert_eq!(gate.unseen(), 0, "it was at work once");
    runtime.shutdown(LONG).await;
}

async fn a_cancel_reaches_the_children_of_the_run_that_was_resumed(store: Store) {
    let (fails, gate) = (Gate::new(), Gate::new());
    let runtime = start_all(store, [failing(&fails), gated(&gate)]).await;
    let (run, child) = failed(&runtime, "one step", &fails, &gate).await;
    let resumed = run.resume_failed().await.unwrap();
    resumed.cancel().await.unwrap();
    for run_id in [resumed.run_id(), child] {
        assert_eq!(runtime.wait(run_id, LONG).await.unwrap().status, RunStatus::Cancelled);
    }
    runtime.shutdown(LONG).await;
}

async fn a_tool_finds_the_child_of_a_call_that_did_not_end(store: Store) {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let ask = Tool::new("ask", "Asks.", move |cx: ToolContext, ask: Ask| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let child = cx.submit_child("ask", NewRun::new("echo", ask.question)).await?;
            assert!(!first, "it breaks");
            Ok(cx.wait_for_child(child).await?.content)
        }
    });
    let turns = [ScriptedTurn::default().then_call("ask", json!({"question": "why"})), ScriptedTurn::text("done")];
    let model = ScriptedModel::new(turns);
    let boss = Agent::builder("boss").model(model.clone()).tool(ask);
    let runtime = start_all(store, [echo(), boss]).await;
    let run = runtime.submit(NewRun::new("boss", "go")).await.unwrap();
    assert_eq!(error_of(&settled(&run).await), FailureKind::Panic);
    let resumed = run.resume_failed().await.unwrap();
    let output = settled(&resumed).await;
    assert_eq!(text(&output), "done", "{:?}", output.error);
    let told = model.requests()[1].messages.last().unwrap().content.to_string();
    assert_eq!((told.as_str(), tries.load(Ordering::SeqCst)), ("why", 2));
    assert_eq!(children(&runtime, resumed.run_id()).await.len(), 1);
    runtime.shutdown(LONG).await;
}
