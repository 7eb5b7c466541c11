//! Steps: durable before the code goes on, and remembered by the next attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::journal::Journal;
use super::*;
use crate::agent::{Agent, Report, RunContext, ScriptedModel, ScriptedTurn, reports};
use crate::run::{CrashPolicy, FailureKind, Metrics, StepRecord, Usage};
use crate::store::conformance::samples::settle;
use crate::store::protocol::{Advance, Written};

const COST: Usage = Usage {
    input_tokens: 3,
    output_tokens: 4,
    total_tokens: 7,
    cache_read_tokens: 2,
    cache_write_tokens: 1,
    reasoning_tokens: 1,
};

fn record(name: &str, result: &str) -> StepRecord {
    StepRecord { position: 0, first_attempt: 1, name: name.to_owned(), result: result.to_owned() }
}

fn along(step: StepRecord) -> Report {
    Report::Step { step, event: None, durable: None }
}

async fn steps(scene: &Scene) -> Vec<StepRecord> {
    scene.store.inner().steps(scene.id()).await.unwrap()
}

async fn advance(scene: &Scene, advance: Advance) {
    let written = scene.store.inner().write(0, [Write::Advance(Box::new(advance))].into()).await.unwrap();
    assert!(matches!(written[0], Written::Advance(Ok(()))), "{written:?}");
}

/// Lets the first attempt of the scene's run finish `step` and give the run back, and takes it up again.
async fn again_after(scene: &Scene, finished: StepRecord) -> TakenRun {
    let id = scene.id();
    advance(scene, step(id, 1, 0, Change::Start)).await;
    advance(scene, Advance { steps: vec![finished], ..step(id, 1, 1, Change::Append) }).await;
    give_away(scene, 2).await
}

/// Gives the run back where its log stands, and takes it up as another node.
async fn give_away(scene: &Scene, next_seq: u64) -> TakenRun {
    advance(scene, step(scene.id(), 1, next_seq, Change::HandBack)).await;
    let agents = vec![scene.run.output.agent.clone()];
    scene
        .store
        .inner()
        .claim(Claim { node: NodeId::new(), agents, limited: Vec::new(), limit: 1 })
        .await
        .unwrap()
        .remove(0)
}

fn journal(scene: &Scene) -> Journal {
    Journal::new(&scene.run, 0, scene.around.writer.clone(), Arc::clone(&scene.around.hub), 1024)
}

#[actix::test]
async fn a_step_is_durable_before_the_code_goes_on() {
    let mut scene = Scene::of("code").await;
    let store = scene.store.clone();
    let agent = Agent::builder("code").code(move |cx: RunContext| {
        let store = store.clone();
        async move {
            cx.emit_text("before").await;
            let result = cx.step("a", || async { Ok(7) }).await?;
            Ok((result, store.inner().steps(cx.run_id()).await?.len()))
        }
    });

    scene.store.hold(only("append"));
    scene.play_as(agent.build().unwrap(), scene.taken(), None);
    scene.store.has_come(scene.id(), "append").await;
    scene.store.let_go();

    scene.settles(RunStatus::Completed).await;
    assert_eq!(scene.stored().await.output.content.unwrap().to_string(), "[7,1]");
    assert_eq!(scene.log().await, ["started", "content", "completed"]);
}

#[actix::test]
async fn an_attempt_that_was_replaced_remembers_nothing_and_its_code_goes_no_further() {
    let mut scene = Scene::of("code").await;
    let passed = Arc::new(AtomicUsize::new(0));
    let passes = Arc::clone(&passed);
    let agent = Agent::builder("code").code(move |cx: RunContext| {
        let passes = Arc::clone(&passes);
        async move {
            cx.step("a", || async { Ok(()) }).await?;
            passes.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    scene.store.hold(only("append"));
    scene.play_as(agent.build().unwrap(), scene.taken(), None);
    scene.store.has_come(scene.id(), "append").await;

    give_away(&scene, 1).await;
    scene.store.let_go();

    let ending = scene.ending().await;
    assert!(matches!(ending, Some(Ending::Fenced)), "{ending:?}");
    assert_eq!((steps(&scene).await, passed.load(Ordering::SeqCst)), (Vec::new(), 0));
}

#[actix::test]
async fn a_lost_answer_to_a_step_changes_nothing() {
    let mut scene = Scene::of("code").await;
    let agent = Agent::builder("code").code(|cx: RunContext| async move { cx.step("a", || async { Ok(7) }).await });
    scene.store.hold(only("append"));
    scene.play_as(agent.build().unwrap(), scene.taken(), None);
    scene.store.has_come(scene.id(), "append").await;
    scene.store.lose_answers(1);
    scene.store.let_go();

    scene.settles(RunStatus::Completed).await;
    assert_eq!(steps(&scene).await, [record("a", "7")]);
    assert_eq!(scene.log().await, ["started", "completed"]);
}

#[actix::test]
async fn what_goes_along_is_written_with_the_next_write_unless_that_is_the_end() {
    for (change, written) in [(Change::Append, 1), (Change::HandBack, 1), (settle(RunStatus::Completed), 0)] {
        let scene = Scene::of("instant").await;
        let mut journal = journal(&scene);
        journal.commit(Change::Start, Some(RunEventKind::RunStarted { attempt: 1 })).await.unwrap().unwrap();
        journal.note(along(record("a", "7")));
        journal.commit(change.clone(), None).await.unwrap().unwrap();
        assert_eq!(steps(&scene).await.len(), written, "{change:?}");
    }
}

#[actix::test]
async fn what_was_finished_before_a_failure_is_written_with_it_since_the_run_may_be_resumed() {
    for (status, written) in
        [(RunStatus::Error, vec![record("a", "7")]), (RunStatus::Completed, vec![]), (RunStatus::Cancelled, vec![])]
    {
        let scene = Scene::of("instant").await;
        let mut journal = journal(&scene);
        journal.commit(Change::Start, Some(RunEventKind::RunStarted { attempt: 1 })).await.unwrap().unwrap();
        let (durable, _waits) = tokio::sync::oneshot::channel();
        journal.note(Report::Step { step: record("a", "7"), event: None, durable: Some(durable) });
        journal.note(along(StepRecord { position: 1, ..record("answer", "8") }));
        journal.commit(settle(status), None).await.unwrap().unwrap();
        assert_eq!(steps(&scene).await, written, "{status}");
    }
}

#[actix::test]
async fn what_goes_along_is_written_by_itself_when_nothing_else_comes() {
    let scene = Scene::of("instant").await;
    let mut journal = journal(&scene);
    journal.commit(Change::Start, None).await.unwrap().unwrap();
    journal.note(along(record("a", "7")));
    let (_reporter, reports) = reports();
    soon(journal.keep(&reports)).await.unwrap().unwrap();
    assert_eq!(steps(&scene).await, [record("a", "7")]);
}

#[actix::test]
async fn what_is_recalled_counts_and_is_not_said_again() {
    let scene = Scene::of("instant").await;
    let mut journal = journal(&scene);
    journal.note(Report::Recalled { text: "Paris\0.".to_owned(), usage: COST });
    assert_eq!((journal.text(), journal.metrics().usage), ("Paris\u{fffd}.", COST));
    journal.commit(Change::Start, None).await.unwrap().unwrap();
    assert!(scene.log().await.is_empty());
}

#[actix::test]
async fn a_model_turn_that_was_finished_is_not_asked_for_again() {
    let mut scene = Scene::of("model").await;
    let model = ScriptedModel::new([ScriptedTurn::text("never")]);
    let agent = Agent::builder("model").model(model.clone()).build().unwrap();
    let turn = serde_json::json!({"text": "Paris.", "usage": COST});
    let taken = again_after(&scene, record("model turn", &turn.to_string())).await;

    scene.play_as(agent, taken, None);

    scene.settles(RunStatus::Completed).await;
    let output = scene.stored().await.output;
    assert_eq!(output.content.unwrap().as_text(), Some("Paris."));
    assert_eq!(Metrics { duration: None, ..output.metrics }, Metrics { usage: COST, ..Metrics::default() });
    assert!(model.requests().is_empty());
    assert_eq!(scene.log().await, ["started", "content", "content", "started", "completed"]);
}

#[actix::test]
async fn changed_steps_fail_the_run_whatever_its_code_makes_of_them() {
    let mut scene = Scene::of("code").await;
    let agent = Agent::builder("code").on_crash(CrashPolicy::Resume).code(|cx: RunContext| async move {
        let first = cx.step("b", || async { Ok(1) }).await.unwrap_err();
        let second = cx.step("c", || async { Ok(2) }).await.unwrap_err();
        assert_eq!([first.kind(), second.kind()], [FailureKind::StepsChanged; 2]);
        Ok("fine")
    });
    let taken = again_after(&scene, record("a", "7")).await;

    scene.play_as(agent.build().unwrap(), taken, None);

    scene.settles(RunStatus::Error).await;
    let error = scene.stored().await.output.error.unwrap();
    assert_eq!(error.kind, FailureKind::StepsChanged);
    assert!(["position 0", "`a`", "`b`"].iter().all(|part| error.message.contains(part)), "{error}");
}

#[actix::test]
async fn an_agent_that_begins_anew_sees_no_step_and_leaves_only_its_own() {
    let mut scene = Scene::of("code").await;
    let agent = Agent::builder("code")
        .on_crash(CrashPolicy::Restart)
        .code(|cx: RunContext| async move { cx.step("b", || async { Ok(1) }).await });
    let taken = again_after(&scene, record("a", "7")).await;

    scene.play_as(agent.build().unwrap(), taken, None);

    scene.settles(RunStatus::Completed).await;
    assert_eq!(steps(&scene).await, [StepRecord { first_attempt: 2, ..record("b", "1") }]);
}
