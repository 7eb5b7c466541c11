//! What becomes of a submitted run, and what comes back of what was put in.

use std::time::Duration;

use chrono::{SubsecRound, Utc};
use serde_json::{Value, json};

use super::samples::*;
use crate::run::{Content, FailureKind, RunEvent, RunEventKind, RunFailure, RunStatus, TraceParent};
use crate::store::RunStore;
use crate::store::protocol::{Advance, Change, InsertRun, Inserted, Settlement};

pub(super) async fn a_new_run_is_stored_as_it_was_asked_for(store: &dyn RunStore) {
    let asked = with(unowned(), |run| {
        run.output.user_id = Some("ada".into());
        run.metadata = json!({"source": "mail", "nested": {"n": [1, null]}}).as_object().cloned().unwrap();
        run.traceparent = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        run.priority = -7;
        run.timeout = Some(Duration::from_millis(1500));
        run.max_attempts = 5;
    });
    let run = submit(store, &asked).await;

    let mut expected = asked.run.clone();
    expected.output.created_at = run.output.created_at;
    expected.run_at = run.output.created_at;
    assert_eq!(run, expected);
    let age = Utc::now() - run.output.created_at;
    assert!(age.abs() < chrono::Duration::minutes(5), "{age}");
    assert_eq!(get(store, id(&asked)).await, run);

    let facts = facts(store, id(&asked)).await;
    assert_eq!((facts.status, facts.attempt, facts.starts, facts.next_seq), (RunStatus::Pending, 0, 0, 0));
    assert_eq!((facts.node, facts.max_attempts, facts.cancel_wanted), (None, 5, false));
}

pub(super) async fn a_run_that_is_taken_up_at_once_is_in_its_first_attempt(store: &dyn RunStore) {
    let asked = owned();
    assert_eq!(submit(store, &asked).await.attempt, 1);
    let facts = facts(store, id(&asked)).await;
    assert_eq!((facts.attempt, facts.node, facts.starts), (1, asked.node, 0));
}

pub(super) async fn a_run_for_later_keeps_its_time(store: &dyn RunStore) {
    let later = in_an_hour().trunc_subsecs(6) + chrono::Duration::nanoseconds(999);
    let asked = InsertRun { delayed: true, ..with(unowned(), |run| run.run_at = later) };
    let run = submit(store, &asked).await;
    assert_eq!(run.run_at, later.trunc_subsecs(6));
    assert_eq!(get(store, id(&asked)).await, run);
}

pub(super) async fn the_same_run_again_is_the_one_that_is_there(store: &dyn RunStore) {
    let asked = owned();
    submit(store, &asked).await;
    let mut attempt = Attempt { store, run_id: id(&asked), attempt: 1, next_seq: 0 };
    let life = [
        (RunStatus::Pending, None),
        (RunStatus::Running, Some(Change::Start)),
        (RunStatus::Completed, Some(settle(RunStatus::Completed))),
    ];
    for (status, change) in life {
        if let Some(change) = change {
            attempt.write(change).await;
        }
        // What a retried submit makes up anew, its session or its node, does not count.
        let again = InsertRun { node: None, ..with(asked.clone(), |run| run.output.session_id = "new".into()) };
        let inserted = insert(store, &again).await;
        let Inserted::Existing { run, node } = inserted else { panic!("{status}: {inserted:?}") };
        assert_eq!((run.output.status, node), (status, asked.node));
        assert_eq!(*run, get(store, id(&asked)).await);
    }
}

pub(super) async fn another_run_with_the_same_id_is_a_conflict(store: &dyn RunStore) {
    let asked = owned();
    let run = submit(store, &asked).await;
    let other = InsertRun { fingerprint: [9; 32], ..with(asked.clone(), |run| run.input = "else".into()) };
    assert!(matches!(insert(store, &other).await, Inserted::Conflict));
    assert_eq!(get(store, id(&asked)).await, run);

    let settled = settled(store, owned(), RunStatus::Completed).await;
    let other = InsertRun { fingerprint: [9; 32], ..with(unowned(), |run| run.output.run_id = settled) };
    assert!(matches!(insert(store, &other).await, Inserted::Conflict));
}

/// Puts `value` wherever a run can hold one, and reads it back.
async fn survives(store: &dyn RunStore, value: &Value) {
    let metadata = json!({"it": value}).as_object().cloned().unwrap();
    let asked = with(owned(), |run| {
        run.input = value.clone().into();
        run.metadata = metadata.clone();
    });
    let mut attempt = Attempt::start(store, asked).await;
    let data = Content::from(value.clone());
    let said = RunEventKind::CustomEvent { name: "it".to_owned(), data: data.clone() };
    let event = RunEvent::new(attempt.run_id, attempt.next_seq, said);
    let said = Advance { events: vec![event.clone()], ..attempt.next(Change::Append) };
    advance(store, &said).await.unwrap();
    attempt.next_seq += 1;
    attempt.write(Change::Settle(Settlement { content: Some(data.clone()), ..settlement(RunStatus::Completed) })).await;

    let run = get(store, attempt.run_id).await;
    assert_eq!(run.input.as_json(), value);
    assert_eq!(run.metadata, metadata);
    assert_eq!(run.output.content.unwrap().as_json(), value);
    assert_eq!(events(store, attempt.run_id).await[1], event);
}

const TEXTS: [&str; 8] = [
    "",
    " ",
    "\u{fffd}",
    "it's \"quoted\" \\ and \\u0041 is not an A",
    "line\nline\r\n\ttab\u{1}\u{7f}",
    "naïve – 漢字 – עִבְרִית – 👩‍🚀",
    "\u{200b}\u{feff}\u{10ffff}",
    "'); DROP TABLE runs; -- $1 ? :a %s",
];

pub(super) async fn any_text_survives(store: &dyn RunStore) {
    for text in TEXTS {
        survives(store, &json!(text)).await;
        survives(store, &json!({ text: [text] })).await;
    }
    for name in TEXTS.into_iter().filter(|text| crate::run::check_name("name", text).is_ok()) {
        let asked = with(unowned(), |run| {
            run.output.session_id = name.into();
            run.output.user_id = Some(name.into());
            run.output.agent = name.to_owned();
        });
        let run = submit(store, &asked).await;
        assert_eq!(get(store, id(&asked)).await, run);
        assert_eq!(run.output.agent, name);
    }
}

pub(super) async fn any_json_survives(store: &dyn RunStore) {
    let values = [
        json!(null),
        json!(false),
        json!([]),
        json!({}),
        json!([u64::MAX, i64::MIN, 0, -1, 0.1, -2.5e-7, 123_456.789]),
        json!({"a": {"b": [{"c": null}, [[]], {}]}, "": "empty key", "z": 1, "y": 2}),
        json!("{\"not\": \"an object\"}"),
    ];
    for value in values {
        survives(store, &value).await;
    }
}

pub(super) async fn a_megabyte_survives(store: &dyn RunStore) {
    let text: String = "0123456789abcde\u{e9}".chars().cycle().take(1 << 20).collect();
    survives(store, &json!(text)).await;
}

pub(super) async fn every_kind_of_failure_survives(store: &dyn RunStore) {
    let kinds = [
        FailureKind::AgentError,
        FailureKind::Panic,
        FailureKind::ModelError,
        FailureKind::Timeout,
        FailureKind::QueueTimeout,
        FailureKind::PauseTimeout,
        FailureKind::OutputTooLarge,
        FailureKind::InvalidStep,
        FailureKind::ChildFailed,
        FailureKind::ChildRefused,
        FailureKind::StepsChanged,
        FailureKind::ProcessDied,
        FailureKind::Shutdown,
        FailureKind::AttemptsExhausted,
        FailureKind::Internal,
        FailureKind::Unknown,
    ];
    for kind in kinds {
        let error = Some(RunFailure::new(kind, "a\0b \u{fffd}"));
        let mut attempt = Attempt::start(store, owned()).await;
        let settlement = Settlement { error: error.clone(), content: None, ..settlement(RunStatus::Error) };
        attempt.write(Change::Settle(settlement)).await;
        let output = get(store, attempt.run_id).await.output;
        assert_eq!((output.error, output.content), (error, None));
    }
}
