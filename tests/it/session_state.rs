//! The state of a session: no change of it is lost, and none is made twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom::schemars::JsonSchema;
use greenroom::{
    Agent, AgentBuilder, AgentError, CrashPolicy, FailureKind, NewRun, RetryPolicy, RunContext, RunStatus, Runtime,
    ScriptedModel, ScriptedTurn, Store, Tool, ToolContext,
};
use serde_json::json;

use crate::support::{LONG, on_each_store, settled, start, submit_all, text};

on_each_store!(
    runs_at_the_same_time_lose_no_change,
    a_change_is_made_once_however_often_the_run_is_tried,
    users_have_states_of_their_own,
    a_tool_changes_the_state_once_for_each_call,
    a_change_is_made_once_also_when_its_run_fails_and_is_resumed,
    a_state_that_cannot_be_is_refused,
);

/// Adds to the number that the session has, as often as it is asked to.
fn counting() -> AgentBuilder {
    Agent::builder("counting").code(|cx: RunContext| async move {
        for _ in 0..cx.input_as()? {
            cx.update_session_state("add", |count: &mut u64| *count += 1).await?;
        }
        cx.session_state::<u64>().await
    })
}

async fn runs_at_the_same_time_lose_no_change(store: Store) {
    let runtime = start(store, counting()).await;
    let runs = (0..8).map(|_| NewRun::new("counting", 10).session_id("s"));
    for run in submit_all(&runtime, runs).await {
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
    }
    let state = runtime.session_state("s").await.unwrap().unwrap();
    assert_eq!((state.state, state.version), (json!(80), 80));
    assert_eq!(runtime.session_state("other").await.unwrap(), None);
    runtime.shutdown(LONG).await;
}

/// Fails until its third attempt, after it has changed the state.
fn tried(name: &str, policy: CrashPolicy, calls: &Arc<AtomicUsize>) -> AgentBuilder {
    let calls = Arc::clone(calls);
    let agent = Agent::builder(name).on_crash(policy).max_attempts(3).retry(RetryPolicy::new(Duration::from_millis(1)));
    agent.code(move |cx: RunContext| {
        let calls = Arc::clone(&calls);
        async move {
            let count = cx.update_session_state("add", move |names: &mut Vec<String>| {
                calls.fetch_add(1, Ordering::SeqCst);
                names.push("once".to_owned());
                names.len()
            });
            let count = count.await?;
            if cx.attempt() < 3 { Err(AgentError::new("once more")) } else { Ok(count) }
        }
    })
}

async fn a_change_is_made_once_however_often_the_run_is_tried(store: Store) {
    let calls = Arc::new(AtomicUsize::new(0));
    let resumes = tried("resumes", CrashPolicy::Resume, &calls);
    let restarts = tried("restarts", CrashPolicy::Restart, &calls);
    let runtime = Runtime::builder().store(store).agent(resumes).agent(restarts).start().await.unwrap();
    for (agent, called) in [("resumes", 1), ("restarts", 2)] {
        let run = runtime.submit(NewRun::new(agent, "").session_id(agent)).await.unwrap();
        assert_eq!(settled(&run).await.content.unwrap().as_json(), &json!(1));
        assert_eq!(calls.load(Ordering::SeqCst), called);
        let state = runtime.session_state(agent).await.unwrap().unwrap();
        assert_eq!((state.state, state.version), (json!(["once"]), 1));
    }
    runtime.shutdown(LONG).await;
}

async fn users_have_states_of_their_own(store: Store) {
    let runtime = start(store, counting()).await;
    for (user, times) in [("ann", 1), ("bob", 2)] {
        let asked = NewRun::new("counting", times).session_id("s").user_id(user);
        assert_eq!(settled(&runtime.submit(asked).await.unwrap()).await.content.unwrap().as_json(), &json!(times));
    }
    for (user, times) in [("ann", 1), ("bob", 2)] {
        assert_eq!(runtime.for_user(user).session_state("s").await.unwrap().unwrap().state, json!(times));
    }
    assert_eq!(runtime.for_user("eve").session_state("s").await.unwrap(), None);
    assert_eq!(runtime.session_state("s").await.unwrap(), None);
    assert!(runtime.session_state("").await.is_err());
    runtime.shutdown(LONG).await;
}

#[derive(serde::Deserialize, JsonSchema)]
struct Add {
    number: u64,
}

impl Add {
    /// Adds the number to what the session keeps.
    async fn to_sum(&self, cx: &ToolContext) -> Result<u64, AgentError> {
        let number = self.number;
        let added = cx.update_session_state("sum", move |sum: &mut u64| {
            *sum += number;
            *sum
        });
        added.await
    }
}

async fn a_tool_changes_the_state_once_for_each_call(store: Store) {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let add = Tool::new("add", "Adds to the sum.", move |cx: ToolContext, add: Add| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let sum = add.to_sum(&cx).await?;
            let seen: u64 = cx.session_state().await?;
            // A call that is tried again has made its change already.
            if first { Err(AgentError::new(format!("once more after {seen}"))) } else { Ok(sum) }
        }
    });
    let add = add.retries(1, RetryPolicy::new(Duration::from_millis(1)));
    let turn = |n: u64| ScriptedTurn::default().then_call("add", json!({ "number": n }));
    let model = ScriptedModel::new([turn(2), turn(3), ScriptedTurn::text("done")]);
    let runtime = start(store, Agent::builder("adding").model(model).tool(add)).await;
    let run = runtime.submit(NewRun::new("adding", "").session_id("s")).await.unwrap();
    assert_eq!(text(&settled(&run).await), "done");
    assert_eq!(runtime.session_state("s").await.unwrap().unwrap().state, json!(5));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    runtime.shutdown(LONG).await;
}

async fn a_change_is_made_once_also_when_its_run_fails_and_is_resumed(store: Store) {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let add = Tool::new("add", "Adds to the sum.", move |cx: ToolContext, add: Add| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let sum = add.to_sum(&cx).await?;
            assert!(!first, "it breaks");
            Ok(sum)
        }
    });
    let model = ScriptedModel::new([
        ScriptedTurn::default().then_call("add", json!({"number": 2})),
        ScriptedTurn::text("done"),
    ]);
    let runtime = start(store, Agent::builder("adding").model(model).tool(add)).await;
    let failed = runtime.submit(NewRun::new("adding", "").session_id("s")).await.unwrap();
    assert_eq!(settled(&failed).await.error.unwrap().kind, FailureKind::Panic);
    let resumed = settled(&failed.resume_failed().await.unwrap()).await;
    assert_eq!((resumed.status, text(&resumed)), (RunStatus::Completed, "done"));
    let state = runtime.session_state("s").await.unwrap().unwrap();
    assert_eq!((state.state, state.version, tries.load(Ordering::SeqCst)), (json!(2), 1, 2));
    runtime.shutdown(LONG).await;
}

async fn a_state_that_cannot_be_is_refused(store: Store) {
    let agent = Agent::builder("greedy").code(|cx: RunContext| async move {
        let large = cx.update_session_state("large", |text: &mut String| text.push_str(&"x".repeat(200)));
        let large = large.await.unwrap_err().to_string();
        cx.update_session_state("small", |text: &mut String| text.push('x')).await?;
        let other = cx.update_session_state("other", |number: &mut u64| *number += 1).await.unwrap_err();
        Ok(format!("{large}; {other}"))
    });
    let runtime = Runtime::builder().store(store).agent(agent).max_output(150).start().await.unwrap();
    let run = runtime.submit(NewRun::new("greedy", "").session_id("s")).await.unwrap();
    let output = settled(&run).await;
    let said = text(&output);
    assert!(said.contains("at most 150 bytes") || output.error.is_some(), "{output:?}");
    assert_eq!(runtime.session_state("s").await.unwrap().unwrap().state, json!("x"));
    runtime.shutdown(LONG).await;
}
