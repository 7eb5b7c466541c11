//! Sub-runs: there is one child for each step, parents hold up nobody, and a cancel reaches every descendant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use greenroom::schemars::JsonSchema;
use greenroom::{
    Agent, AgentBuilder, AgentError, CrashPolicy, FailureKind, NewRun, PostgresOptions, RetryPolicy, Run, RunContext,
    RunHandle, RunId, RunQuery, RunStatus, Runtime, ScriptedModel, ScriptedTurn, SessionPolicy, Store, Tool,
    ToolContext,
};
use serde_json::json;

use crate::postgres::{Database, fresh_database};
use crate::support::{DropGuard, Gate, LONG, expire_the_lease_of, gated, on_each_store, settled, soon, start, text};

mod cascade;
mod resumed;

async fn start_all(store: impl Into<Store>, agents: impl IntoIterator<Item = AgentBuilder>) -> Runtime {
    start_with(store, agents, 10).await
}

async fn start_with(
    store: impl Into<Store>,
    agents: impl IntoIterator<Item = AgentBuilder>,
    max_running: usize,
) -> Runtime {
    let runtime = Runtime::builder().store(store).max_running(max_running);
    agents.into_iter().fold(runtime, greenroom::RuntimeBuilder::agent).start().await.unwrap()
}

fn echo() -> AgentBuilder {
    Agent::builder("echo").code(|cx: RunContext| async move { Ok(cx.input().clone()) })
}

/// Has `child` do the work, and returns what it has returned.
fn delegating(child: &'static str) -> AgentBuilder {
    Agent::builder("delegating").code(move |cx: RunContext| async move {
        let asked = cx.input().as_json().clone();
        cx.sub_run("work", NewRun::new(child, asked)).await
    })
}

async fn children(runtime: &Runtime, parent: RunId) -> Vec<Run> {
    runtime.list(RunQuery::new().parent_run_id(parent)).await.unwrap().runs
}

fn error_of(output: &greenroom::RunOutput) -> FailureKind {
    output.error.as_ref().unwrap().kind
}

on_each_store!(
    a_child_does_its_work_for_its_parent,
    parents_that_wait_leave_room_for_their_children,
    children_that_nobody_waits_for_go_on,
    a_child_that_fails_fails_its_parent_unless_it_looks,
    a_tool_has_children_of_its_own,
    a_child_of_the_same_agent_takes_its_parents_turn,
    what_can_be_no_child_is_refused,
    generations_end,
    a_run_that_is_tried_again_finds_its_child_again,
);

async fn a_child_does_its_work_for_its_parent(store: Store) {
    let runtime = start_all(store, [echo(), delegating("echo")]).await;
    let asked = NewRun::new("delegating", "hello").session_id("s").user_id("ann").priority(3);
    let run = runtime.submit(asked).await.unwrap();
    assert_eq!(text(&settled(&run).await), "hello");

    let found = children(&runtime, run.run_id()).await;
    let [child] = &found[..] else { panic!("{found:?}") };
    assert_eq!(child.output.parent_run_id, Some(run.run_id()));
    assert_eq!((child.output.session_id.as_str(), child.output.user_id.clone()), ("s", Some("ann".into())));
    assert_eq!((child.depth, child.priority, child.output.status), (1, 4, RunStatus::Completed));
    // Nobody else's.
    let of_bob = runtime.for_user("bob").list(RunQuery::new().parent_run_id(run.run_id())).await.unwrap();
    assert!(of_bob.runs.is_empty());
    let json = serde_json::to_value(child).unwrap();
    assert_eq!(json["parent_run_id"], json!(run.run_id()));
    runtime.shutdown(LONG).await;
}

async fn parents_that_wait_leave_room_for_their_children(store: Store) {
    // A chain of five, in a process and of an agent that have room for one.
    let chain = Agent::builder("chain").max_running(1).code(|cx: RunContext| async move {
        match cx.input_as::<u64>()? {
            0 => Ok(json!(0)),
            n => {
                let below = cx.sub_run("below", NewRun::new("chain", n - 1)).await?;
                Ok(json!(below.as_json().as_u64().unwrap_or_default() + 1))
            }
        }
    });
    let runtime = start_with(store, [chain], 1).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(runtime.submit(NewRun::new("chain", 5)).await.unwrap());
    }
    for run in &runs {
        assert_eq!(settled(run).await.content.unwrap().as_json(), &json!(5));
    }
    runtime.shutdown(LONG).await;
}

async fn children_that_nobody_waits_for_go_on(store: Store) {
    let gate = Gate::new();
    let parent = Agent::builder("parent").code(|cx: RunContext| async move {
        let child = cx.submit_child("later", NewRun::new("gated", "goes on")).await?;
        if cx.input().as_text() == Some("fail") { Err(AgentError::new("it broke")) } else { Ok(child) }
    });
    let runtime = start_all(store, [parent, gated(&gate)]).await;
    for (input, status) in [("end", RunStatus::Completed), ("fail", RunStatus::Error)] {
        let run = runtime.submit(NewRun::new("parent", input)).await.unwrap();
        gate.arrivals(1).await;
        assert_eq!(settled(&run).await.status, status);
        let child = children(&runtime, run.run_id()).await[0].output.run_id;
        gate.open(1);
        assert_eq!(runtime.wait(child, LONG).await.unwrap().status, RunStatus::Completed);
    }
    runtime.shutdown(LONG).await;
}

async fn a_child_that_fails_fails_its_parent_unless_it_looks(store: Store) {
    let broken = Agent::builder("broken").code(|_: RunContext| async { Err::<(), _>(AgentError::new("no luck")) });
    let looking = Agent::builder("looking").code(|cx: RunContext| async move {
        let child = cx.submit_child("try", NewRun::new("broken", "")).await?;
        let output = cx.wait_for_child("tried", child).await?;
        Ok(format!("{}: {}", output.status, output.error.map(|error| error.message).unwrap_or_default()))
    });
    // Trying again would be of no use: the end of a child is remembered.
    let delegating = delegating("broken").max_attempts(3).retry(RetryPolicy::new(Duration::from_millis(1)));
    let runtime = start_all(store, [broken, looking, delegating]).await;
    let run = runtime.submit(NewRun::new("delegating", "")).await.unwrap();
    let output = settled(&run).await;
    assert_eq!(error_of(&output), FailureKind::ChildFailed);
    let message = output.error.unwrap().message;
    assert!(message.contains("agent `broken` ended as ERROR") && message.contains("no luck"), "{message}");
    assert_eq!(children(&runtime, run.run_id()).await.len(), 1);

    let run = runtime.submit(NewRun::new("looking", "")).await.unwrap();
    assert_eq!(text(&settled(&run).await), "ERROR: no luck");
    runtime.shutdown(LONG).await;
}

#[derive(serde::Deserialize, JsonSchema)]
struct Ask {
    question: String,
}

async fn a_tool_has_children_of_its_own(store: Store) {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let ask = Tool::new("ask", "Asks twice.", move |cx: ToolContext, ask: Ask| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let one = cx.sub_run("ask", NewRun::new("echo", ask.question.as_str())).await?;
            let two = cx.sub_run("ask", NewRun::new("echo", format!("{one} again"))).await?;
            // A call that is tried again finds both of them.
            if first { Err(AgentError::new("once more")) } else { Ok(two) }
        }
    });
    let ask = ask.retries(1, RetryPolicy::new(Duration::from_millis(1)));
    let turns = [ScriptedTurn::default().then_call("ask", json!({"question": "why"})), ScriptedTurn::text("done")];
    let model = ScriptedModel::new(turns);
    let boss = Agent::builder("boss").model(model.clone()).tool(ask);
    let runtime = start_with(store, [echo(), boss], 1).await;
    let run = runtime.submit(NewRun::new("boss", "go")).await.unwrap();
    assert_eq!(text(&settled(&run).await), "done");
    let told = model.requests()[1].messages.last().unwrap().content.to_string();
    assert_eq!((told.as_str(), tries.load(Ordering::SeqCst)), ("why again", 2));
    assert_eq!(children(&runtime, run.run_id()).await.len(), 2);
    runtime.shutdown(LONG).await;
}

async fn a_child_of_the_same_agent_takes_its_parents_turn(store: Store) {
    let alone = |policy: SessionPolicy, name: &'static str| {
        Agent::builder(name).sessions(policy).code(move |cx: RunContext| async move {
            if cx.input().as_text() == Some("child") {
                return Ok(json!("child"));
            }
            Ok(cx.sub_run("again", NewRun::new(name, "child")).await?.into_json())
        })
    };
    let agents = [alone(SessionPolicy::InOrder, "in order"), alone(SessionPolicy::Refuse, "refusing")];
    let runtime = start_all(store, agents).await;
    for agent in ["in order", "refusing"] {
        let run = runtime.submit(NewRun::new(agent, "parent").session_id("s")).await.unwrap();
        assert_eq!(text(&settled(&run).await), "child");
    }
    runtime.shutdown(LONG).await;
}

async fn what_can_be_no_child_is_refused(store: Store) {
    let asking = Agent::builder("asking").code(|cx: RunContext| async move {
        let run = || NewRun::new("echo", "x");
        let deep = json!({"a": "x".repeat(2000)});
        let impossible = [
            ("run_id", run().run_id(RunId::new())),
            ("idempotency_key", run().idempotency_key("k")),
            ("user_id", run().user_id("bob")),
            ("input", NewRun::new("echo", deep)),
            ("nobody", NewRun::new("nobody", "x")),
        ];
        for (what, run) in impossible {
            let error = cx.sub_run("impossible", run).await.unwrap_err();
            assert_eq!(error.kind(), FailureKind::ChildRefused, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
        let stranger: RunId = cx.input_as()?;
        for run_id in [stranger, RunId::new()] {
            let error = cx.wait_for_child("stranger", run_id).await.unwrap_err();
            assert_eq!(error.kind(), FailureKind::ChildRefused, "{error}");
        }
        let most = (0..995).map(|_| cx.submit_child("one of many", run()));
        for submitted in join_all(most).await {
            submitted?;
        }
        let error = cx.submit_child("one too many", run()).await.unwrap_err();
        assert!(error.to_string().contains("at most 1000 children"), "{error}");
        Ok("all refused")
    });
    let runtime = Runtime::builder().store(store).agent(asking).agent(echo()).max_input(1000);
    let runtime = runtime.start().await.unwrap();
    let stranger = runtime.submit(NewRun::new("echo", "x").user_id("ann")).await.unwrap();
    settled(&stranger).await;
    let run = runtime.submit(NewRun::new("asking", json!(stranger.run_id())).user_id("ann")).await.unwrap();
    let output = settled(&run).await;
    assert_eq!(text(&output), "all refused", "{:?}", output.error);
    runtime.shutdown(LONG).await;
}

async fn generations_end(store: Store) {
    let endless = Agent::builder("endless").code(|cx: RunContext| async move {
        match cx.sub_run("below", NewRun::new("endless", "")).await {
            Err(error) if error.kind() == FailureKind::ChildRefused => Ok(json!(1)),
            below => Ok(json!(below?.as_json().as_u64().unwrap_or_default() + 1)),
        }
    });
    let runtime = start(store, endless).await;
    let run = runtime.submit(NewRun::new("endless", "")).await.unwrap();
    assert_eq!(settled(&run).await.content.unwrap().as_json(), &json!(17));
    runtime.shutdown(LONG).await;
}

async fn a_run_that_is_tried_again_finds_its_child_again(store: Store) {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    let child = Agent::builder("child").code(move |_: RunContext| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(format!("child {n}")) }
    });
    // What it asks for is another thing each time, and its steps are forgotten.
    let parent = Agent::builder("parent")
        .on_crash(CrashPolicy::Restart)
        .retry(RetryPolicy::new(Duration::from_millis(1)))
        .code(|cx: RunContext| async move {
            let asked = format!("in attempt {}", cx.attempt());
            let child = cx.sub_run("work", NewRun::new("child", asked)).await?;
            if cx.attempt() < 3 { Err(AgentError::new("once more")) } else { Ok(child) }
        });
    let runtime = start_all(store, [child, parent]).await;
    let run = runtime.submit(NewRun::new("parent", "")).await.unwrap();
    assert_eq!(text(&settled(&run).await), "child 0");
    assert_eq!(starts.load(Ordering::SeqCst), 1);
    assert_eq!(children(&runtime, run.run_id()).await.len(), 1);
    runtime.shutdown(LONG).await;
}
