//! What is accepted, and what is refused.

use std::time::Duration;

use futures_util::future::join_all;
use greenroom::{
    Agent, AgentError, Error, FailureKind, InvalidAgent, Metadata, NewRun, RetryPolicy, RunContext, RunId, RunQuery,
    RunStatus, Runtime, ScriptedModel, ScriptedTurn, SessionPolicy, Store, StoreError,
};
use serde_json::json;

use crate::support::{Gate, LONG, gated, has_spoken, idle, on_each_store, settled, start, text};

mod content;
mod keys;
mod waiting;

on_each_store!(
    a_submit_comes_back_pending_and_durable,
    what_is_asked_for_twice_is_one_run,
    fifty_submits_of_one_id_at_once_are_one_run,
    each_impossible_field_is_refused_by_its_name_and_nothing_is_stored,
);

fn metadata(value: serde_json::Value) -> Metadata {
    serde_json::from_value(value).unwrap()
}

async fn a_submit_comes_back_pending_and_durable(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    let new = NewRun::new("gated", json!({"city": "Paris"}))
        .session_id("trip")
        .user_id("ada")
        .metadata(metadata(json!({"ticket": 7})))
        .priority(3)
        .timeout(LONG)
        .max_attempts(7);

    let run = runtime.submit(new).await.unwrap();

    assert_eq!(run.status(), RunStatus::Pending);
    let stored = runtime.get(run.run_id()).await.unwrap().unwrap();
    assert!(matches!(stored.output.status, RunStatus::Pending | RunStatus::Running));
    assert_eq!(stored.input, json!({"city": "Paris"}).into());
    assert_eq!(stored.output.session_id, "trip".into());
    assert_eq!(stored.output.user_id, Some("ada".into()));
    assert_eq!(stored.metadata, metadata(json!({"ticket": 7})));
    assert_eq!((stored.priority, stored.timeout, stored.max_attempts), (3, Some(LONG), 7));
    gate.open(1);
    let output = settled(&run).await;
    assert_eq!(output.status, RunStatus::Completed);
    assert_eq!(output.content, Some(json!({"city": "Paris"}).into()));
}

#[tokio::test]
async fn what_is_left_out_is_made_up() {
    let gate = Gate::new();
    let agent = gated(&gate).max_attempts(5).timeout(LONG);
    let runtime = start(Store::sqlite_in_memory(), agent).await;

    let one = runtime.agent("gated").unwrap().submit("a").await.unwrap();
    let other = runtime.agent("gated").unwrap().submit("b").await.unwrap();

    assert_eq!(one.run_id().as_uuid().get_version_num(), 7);
    assert!(one.session_id().as_str().parse::<RunId>().is_ok());
    assert!(one.run_id() != other.run_id() && one.session_id() != other.session_id());
    let stored = runtime.get(one.run_id()).await.unwrap().unwrap();
    assert_eq!((stored.max_attempts, stored.timeout, stored.priority), (5, Some(LONG), 0));
    assert_eq!(stored.output.user_id, None);
    assert_eq!(stored.run_at, stored.output.created_at);
}

#[tokio::test]
async fn an_unknown_agent_is_refused_by_its_name() {
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;

    let refusals = [runtime.submit(NewRun::new("nobody", "hi")).await.err(), runtime.agent("nobody").err()];

    for refusal in refusals {
        assert!(matches!(&refusal, Some(Error::UnknownAgent(name)) if name == "nobody"), "{refusal:?}");
        assert!(refusal.unwrap().is_not_found());
    }
    assert!(runtime.list(RunQuery::new()).await.unwrap().runs.is_empty());
}

#[tokio::test]
async fn a_runtime_that_cannot_work_does_not_start() {
    let gate = Gate::new();
    let builder = || Runtime::builder().store(Store::sqlite_in_memory());
    let model = ScriptedModel::echo;

    let twice = builder().agent(gated(&gate)).agent(gated(&gate)).start().await.unwrap_err();
    assert!(matches!(&twice, Error::AgentTwice(name) if name == "gated"), "{twice:?}");
    let without_store = Runtime::builder().agent(gated(&gate)).start().await.unwrap_err();
    assert!(matches!(without_store, Error::NoStore), "{without_store:?}");
    let cases = [
        (Agent::builder("a"), InvalidAgent::Nothing("a".to_owned())),
        (gated(&gate).model(model()), InvalidAgent::ModelAndCode("gated".to_owned())),
        (gated(&gate).instruction("Be brief"), InvalidAgent::InstructionsWithoutModel("gated".to_owned())),
    ];
    for (agent, expected) in cases {
        let refusal = builder().agent(agent).start().await.unwrap_err();
        assert!(matches!(&refusal, Error::InvalidAgent(found) if *found == expected), "{refusal:?}");
    }
    let fields = [
        ("name", Agent::builder("").model(model())),
        ("name", Agent::builder("a\nb").model(model())),
        ("history", Agent::builder("a").model(model()).history(101)),
        ("max_attempts", Agent::builder("a").model(model()).max_attempts(0)),
        ("timeout", Agent::builder("a").model(model()).timeout(Duration::ZERO)),
        ("queue_timeout", Agent::builder("a").model(model()).queue_timeout(Duration::ZERO)),
        ("retry", Agent::builder("a").model(model()).retry(RetryPolicy::new(LONG).factor(0.5))),
        ("max_running", Agent::builder("a").model(model()).max_running(0)),
        ("max_running_everywhere", Agent::builder("a").model(model()).max_running_everywhere(0)),
    ];
    for (field, agent) in fields {
        let refusal = builder().agent(agent).start().await.unwrap_err();
        let found =
            matches!(&refusal, Error::InvalidAgent(InvalidAgent::Field { invalid, .. }) if invalid.field() == field);
        assert!(found, "{field}: {refusal:?}");
    }
}

#[tokio::test]
async fn an_impossible_option_is_refused_by_its_name() {
    let builder = || Runtime::builder().store(Store::sqlite_in_memory());
    let cases = [
        ("max_running", builder().max_running(0)),
        ("max_waiting", builder().agent(idle().sessions(SessionPolicy::InOrder)).max_waiting(0)),
        ("max_waiting", builder().agent(idle().max_running_everywhere(1)).max_waiting(0)),
        ("max_calls", builder().max_calls(0)),
        ("agent_threads", builder().agent_threads(0)),
        ("poll_interval", builder().poll_interval(Duration::ZERO)),
        ("call_timeout", builder().call_timeout(Duration::ZERO)),
        ("intent_ttl", builder().intent_ttl(Duration::MAX)),
        ("cancel_grace", builder().cancel_grace(Duration::MAX)),
        ("write_retry_limit", builder().write_retry_limit(Duration::MAX)),
    ];
    for (name, builder) in cases {
        let refusal = builder.start().await.unwrap_err();
        assert!(matches!(&refusal, Error::Option { option, .. } if *option == name), "{name}: {refusal:?}");
    }
}

async fn each_impossible_field_is_refused_by_its_name_and_nothing_is_stored(store: Store) {
    let builder = Runtime::builder().store(store).agent(gated(&Gate::new()));
    let runtime = builder.max_input(100).start().await.unwrap();
    let run = || NewRun::new("gated", "input");
    let cases = [
        ("session_id", run().session_id("")),
        ("session_id", run().session_id("a\0b")),
        ("user_id", run().user_id("u".repeat(256).as_str())),
        ("input", NewRun::new("gated", "x".repeat(101))),
        ("input", NewRun::new("gated", "a\0b")),
        ("input", NewRun::new("gated", json!({"deep": ["a\0"]}))),
        ("metadata", run().metadata(metadata(json!({"a\0": 1})))),
        ("metadata", run().metadata(metadata(json!({"a": "x".repeat(100)})))),
        ("run_at", run().run_at(chrono::Utc::now() + chrono::Duration::days(400))),
        ("timeout", run().timeout(Duration::ZERO)),
        ("timeout", run().timeout(Duration::MAX)),
        ("max_attempts", run().max_attempts(0)),
        ("max_attempts", run().max_attempts(1001)),
    ];
    for (field, run) in cases {
        let refusal = runtime.submit(run).await.unwrap_err();
        assert!(matches!(&refusal, Error::Invalid(wrong) if wrong.field() == field), "{field}: {refusal:?}");
        assert!(!refusal.is_retryable());
    }
    assert!(runtime.list(RunQuery::new()).await.unwrap().runs.is_empty());

    runtime.submit(NewRun::new("gated", "x".repeat(100)).session_id("s".repeat(255).as_str())).await.unwrap();
}

async fn what_is_asked_for_twice_is_one_run(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    let new = || NewRun::new("gated", "hi").run_id(run_id_of(1)).session_id("s");

    let first = runtime.submit(new()).await.unwrap();
    let again = runtime.submit(new()).await.unwrap();

    assert_eq!(again.run_id(), first.run_id());
    for other in [new().session_id("t"), new().priority(1), new().user_id("u"), new().max_attempts(1)] {
        let refusal = runtime.submit(other).await.unwrap_err();
        assert!(matches!(refusal, Error::Conflict(run_id) if run_id == first.run_id()), "{refusal:?}");
    }
    gate.open(10);
    settled(&first).await;
    let late = runtime.submit(new()).await.unwrap();
    assert_eq!(late.status(), RunStatus::Completed);
    gate.arrivals(1).await;
    assert_eq!(gate.unseen(), 0, "user code was started once");
    assert_eq!(runtime.list(RunQuery::new()).await.unwrap().runs.len(), 1);
}

async fn fifty_submits_of_one_id_at_once_are_one_run(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, gated(&gate)).await;
    gate.open(50);

    let submits = (0..50).map(|_| {
        let runtime = runtime.clone();
        tokio::spawn(async move { runtime.submit(NewRun::new("gated", "hi").run_id(run_id_of(2))).await })
    });
    let runs: Vec<_> = join_all(submits).await.into_iter().map(|run| run.unwrap().unwrap()).collect();

    for run in &runs {
        assert_eq!(run.run_id(), run_id_of(2));
        assert_eq!(run.session_id(), runs[0].session_id(), "the session that was made up is the one run's");
        assert_eq!(settled(run).await.status, RunStatus::Completed);
    }
    gate.arrivals(1).await;
    assert_eq!(gate.unseen(), 0, "user code was started once");
}

fn run_id_of(number: u128) -> RunId {
    uuid::Uuid::from_u128(number).into()
}

#[test]
fn what_may_pass_is_told_from_what_never_will() {
    let unavailable = || StoreError::Unavailable("away".to_owned());
    let passing = [
        Error::Full(1),
        Error::Overloaded(1),
        Error::TooManyIntents(run_id_of(1)),
        Error::Unconfirmed { run_id: run_id_of(1), reason: unavailable() },
        Error::Store(unavailable()),
    ];
    let lasting = [
        Error::UnknownAgent("a".to_owned()),
        Error::Conflict(run_id_of(1)),
        Error::ShuttingDown,
        Error::NotFound(run_id_of(1)),
        Error::Store(StoreError::Closed),
    ];
    assert!(passing.iter().all(Error::is_retryable));
    assert!(!lasting.iter().any(Error::is_retryable));
}

#[tokio::test]
async fn a_run_that_takes_too_long_fails_and_keeps_what_it_has_said() {
    let agent = Agent::builder("slow").code(|cx: RunContext| async move {
        cx.emit_text("so far").await;
        std::future::pending::<Result<String, AgentError>>().await
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;

    let run = runtime.submit(NewRun::new("slow", "hi").timeout(Duration::from_secs(3))).await.unwrap();

    let output = settled(&run).await;
    assert_eq!(output.status, RunStatus::Error);
    assert_eq!(output.error.as_ref().unwrap().kind, FailureKind::Timeout);
    assert_eq!(text(&output), "so far");
}

#[tokio::test]
async fn the_agents_timeout_is_that_of_its_runs_unless_they_say_otherwise() {
    let model = ScriptedModel::new([ScriptedTurn::text("partly").then_stall()]);
    let agent = Agent::builder("slow").model(model.clone()).timeout(Duration::from_secs(1));
    let runtime = start(Store::sqlite_in_memory(), agent).await;

    let patient = runtime.submit(NewRun::new("slow", "hi").timeout(LONG)).await.unwrap();
    has_spoken(&patient).await;
    let run = runtime.submit(NewRun::new("slow", "hi")).await.unwrap();

    assert_eq!(settled(&run).await.error.unwrap().kind, FailureKind::Timeout);
    assert_eq!(patient.output().await.unwrap().status, RunStatus::Running);
    assert_eq!(model.open_turns(), 1, "the turn of the run that failed was given up");
}
