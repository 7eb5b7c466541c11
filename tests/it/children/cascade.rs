//! A cancel of a run reaches all of its descendants, on whichever node they are, and whoever dies in between.

use greenroom::CancelOutcome;

use super::*;

const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(50);

on_each_store!(
    a_cancel_reaches_children_and_their_children,
    a_child_that_waits_for_room_is_cancelled_with_its_parent,
    a_paused_child_is_cancelled_with_its_parent,
    a_cancel_reaches_past_a_child_that_has_completed,
);

/// Has a child of the agent `below` and waits for it.
fn above(name: &'static str, below: &'static str) -> AgentBuilder {
    Agent::builder(name).code(move |cx: RunContext| async move { cx.sub_run("below", NewRun::new(below, "")).await })
}

/// Is at work until it is dropped, which its gate tells.
fn busy(gate: &Gate) -> AgentBuilder {
    let gate = gate.clone();
    Agent::builder("busy").code(move |_: RunContext| {
        let dropped = DropGuard(gate.clone());
        gate.arrive();
        async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
            Ok(())
        }
    })
}

async fn only_child(runtime: &Runtime, parent: RunId) -> RunId {
    let found = children(runtime, parent).await;
    assert_eq!(found.len(), 1);
    found[0].output.run_id
}

async fn is_cancelled(runtime: &Runtime, run_id: RunId) {
    assert_eq!(runtime.wait(run_id, LONG).await.unwrap().status, RunStatus::Cancelled);
}

/// A run, its child and its grandchild, which is at work.
async fn three_generations(runtime: &Runtime, gate: &Gate) -> (RunHandle, RunId, RunId) {
    let run = runtime.submit(NewRun::new("top", "")).await.unwrap();
    gate.arrivals(1).await;
    let child = only_child(runtime, run.run_id()).await;
    let grandchild = only_child(runtime, child).await;
    (run, child, grandchild)
}

async fn a_cancel_reaches_children_and_their_children(store: Store) {
    let gate = Gate::new();
    let agents = [above("top", "middle"), above("middle", "busy"), busy(&gate)];
    let builder = Runtime::builder().store(store).poll_interval(NEVER);
    let runtime = agents.into_iter().fold(builder, greenroom::RuntimeBuilder::agent).start().await.unwrap();
    let (run, child, grandchild) = three_generations(&runtime, &gate).await;
    let stranger = runtime.submit(NewRun::new("busy", "")).await.unwrap();
    gate.arrivals(1).await;

    run.cancel().await.unwrap();
    for run_id in [run.run_id(), child, grandchild] {
        is_cancelled(&runtime, run_id).await;
    }
    gate.arrivals(1).await;
    assert_eq!(runtime.get(stranger.run_id()).await.unwrap().unwrap().output.status, RunStatus::Running);
    runtime.shutdown(Duration::ZERO).await;
}

async fn a_child_that_waits_for_room_is_cancelled_with_its_parent(store: Store) {
    let gate = Gate::new();
    let parent = Agent::builder("parent").code(|cx: RunContext| async move {
        let late = NewRun::new("busy", "").run_at(chrono::Utc::now() + chrono::Duration::days(1));
        cx.submit_child("tomorrow", late).await?;
        cx.sub_run("now", NewRun::new("busy", "")).await
    });
    let runtime = start_all(store, [parent, busy(&gate)]).await;
    let run = runtime.submit(NewRun::new("parent", "")).await.unwrap();
    gate.arrivals(1).await;
    run.cancel().await.unwrap();
    let found = children(&runtime, run.run_id()).await;
    assert_eq!(found.len(), 2);
    for child in found {
        is_cancelled(&runtime, child.output.run_id).await;
    }
    runtime.shutdown(LONG).await;
}

async fn a_paused_child_is_cancelled_with_its_parent(store: Store) {
    let asking = Agent::builder("asking").code(|cx: RunContext| async move { cx.confirm("sure", ()).await });
    let runtime = start_all(store, [above("top", "asking"), asking]).await;
    let run = runtime.submit(NewRun::new("top", "")).await.unwrap();
    let child = soon(async {
        loop {
            let found = children(&runtime, run.run_id()).await;
            if let Some(child) = found.iter().find(|child| child.output.status == RunStatus::Paused) {
                return child.output.run_id;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    run.cancel().await.unwrap();
    is_cancelled(&runtime, child).await;
    runtime.shutdown(LONG).await;
}

async fn a_cancel_reaches_past_a_child_that_has_completed(store: Store) {
    let gate = Gate::new();
    let submitting = Agent::builder("submitting").code(|cx: RunContext| async move {
        cx.submit_child("now", NewRun::new("busy", "")).await?;
        let late = NewRun::new("busy", "").run_at(chrono::Utc::now() + chrono::Duration::days(1));
        cx.submit_child("tomorrow", late).await
    });
    let top = Agent::builder("top").code(|cx: RunContext| async move {
        cx.sub_run("below", NewRun::new("submitting", "")).await?;
        cx.sub_run("beside", NewRun::new("busy", "")).await
    });
    let builder = Runtime::builder().store(store).poll_interval(NEVER);
    let agents = [top, submitting, busy(&gate)];
    let runtime = agents.into_iter().fold(builder, greenroom::RuntimeBuilder::agent).start().await.unwrap();
    let run = runtime.submit(NewRun::new("top", "")).await.unwrap();
    // The grandchild, and the second child, for which the first one has completed.
    gate.arrivals(2).await;
    let found = children(&runtime, run.run_id()).await;
    let completed = found.iter().find(|child| child.output.status == RunStatus::Completed).unwrap();
    let grandchildren = children(&runtime, completed.output.run_id).await;
    assert_eq!(grandchildren.len(), 2);

    run.cancel().await.unwrap();
    for grandchild in grandchildren {
        is_cancelled(&runtime, grandchild.output.run_id).await;
    }
    // Their code is gone.
    gate.arrivals(2).await;
    runtime.shutdown(LONG).await;
}

/// A process that has only some of the agents at work, so that it is known who runs where.
fn process(
    database: &Database,
    poll_interval: Duration,
    agents: impl IntoIterator<Item = AgentBuilder>,
) -> greenroom::RuntimeBuilder {
    let options = PostgresOptions::new(database.url());
    let options = if poll_interval == NEVER { options } else { options.poll_only() };
    let builder = Runtime::builder().store(options).poll_interval(poll_interval);
    agents.into_iter().fold(builder, greenroom::RuntimeBuilder::agent)
}

/// An agent of which a process has no room for a run, since it has one that waits for ever.
fn blocked(name: &'static str) -> AgentBuilder {
    Agent::builder(name).max_running(1).code(|_: RunContext| async {
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// Has the one place of a blocked agent taken, before there is another process that could take up the run.
async fn occupy(runtime: &Runtime, name: &str) {
    let blocks = runtime.submit(NewRun::new(name, "")).await.unwrap().run_id();
    soon(async {
        while runtime.get(blocks).await.unwrap().unwrap().output.status != RunStatus::Running {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn a_cancel_here_reaches_what_runs_elsewhere(by: Duration) {
    let gate = Gate::new();
    let database = fresh_database().await;
    // Here, nothing but the top has room: its descendants are left to the other process.
    let here =
        process(&database, by, [above("top", "middle"), blocked("middle"), blocked("busy")]).start().await.unwrap();
    occupy(&here, "middle").await;
    occupy(&here, "busy").await;
    let elsewhere = process(&database, by, [above("middle", "busy"), busy(&gate)]).start().await.unwrap();
    let (run, child, grandchild) = three_generations(&here, &gate).await;
    run.cancel().await.unwrap();
    for run_id in [run.run_id(), child, grandchild] {
        is_cancelled(&here, run_id).await;
    }
    // Its code is gone, there.
    gate.arrivals(1).await;
    elsewhere.shutdown(LONG).await;
    here.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_cancel_reaches_children_in_another_process_by_hints() {
    a_cancel_here_reaches_what_runs_elsewhere(NEVER).await;
}

#[tokio::test]
async fn a_cancel_reaches_children_in_another_process_by_polls() {
    a_cancel_here_reaches_what_runs_elsewhere(OFTEN).await;
}

#[tokio::test]
async fn a_cancel_is_handed_down_by_others_when_the_process_dies_that_should_have() {
    let gate = Gate::new();
    let database = fresh_database().await;
    let dying = process(&database, OFTEN, [above("top", "busy"), blocked("busy")]).lease_ttl(NEVER);
    let dying = dying.start().await.unwrap();
    occupy(&dying, "busy").await;
    let run_id = dying.submit(NewRun::new("top", "")).await.unwrap().run_id();
    let elsewhere = process(&database, OFTEN, [busy(&gate), above("middle", "busy")]).start().await.unwrap();
    gate.arrivals(1).await;
    let child = only_child(&elsewhere, run_id).await;

    // The request is on the row of a run whose process has died before it could see it.
    drop(dying);
    assert_eq!(elsewhere.cancel(run_id).await.unwrap(), CancelOutcome::Requested);
    expire_the_lease_of(run_id, database.url()).await;

    is_cancelled(&elsewhere, run_id).await;
    is_cancelled(&elsewhere, child).await;
    gate.arrivals(1).await;
    elsewhere.shutdown(LONG).await;
}
