//! How runs end, and what is kept of them.

use std::collections::HashMap;
use std::fmt;

use greenroom::{
    Agent, AgentError, FailureKind, NewRun, OpenAIResponses, RunContext, RunEventKind, RunStatus, Runtime,
    ScriptedModel, Store, Usage,
};
use serde_json::json;

use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::{LONG, log, names, on_each_store, settled, start, submit_all, text};

on_each_store!(
    a_panic_fails_its_run_and_no_other,
    an_answer_that_is_not_complete_fails_the_run_and_keeps_its_text,
    what_has_settled_never_changes_again,
    a_run_knows_what_it_cost,
);

/// An error with a cause.
#[derive(Debug)]
struct Outer(Inner);

#[derive(Debug)]
struct Inner;

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the page cannot be read")
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the line is dead")
    }
}

impl std::error::Error for Inner {}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn an_error_of_user_code_is_told_with_its_causes() {
    let agent = Agent::builder("failing").code(|cx: RunContext| async move {
        cx.emit_text("so far").await;
        match cx.input().as_text() {
            Some("chain") => Err(Outer(Inner))?,
            Some("input") => cx.input_as::<u32>().map(drop)?,
            Some("output") => return Ok(json!(HashMap::from([(1, 2)]))),
            _ => return Err(AgentError::new("in my own words")),
        }
        Ok(json!(null))
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;

    for (input, expected) in [
        ("chain", "the page cannot be read: the line is dead"),
        ("input", "input: expected u32"),
        ("words", "in my own words"),
    ] {
        let output = settled(&runtime.submit(NewRun::new("failing", input)).await.unwrap()).await;

        let error = output.error.clone().unwrap();
        assert_eq!((error.kind, &*error.message), (FailureKind::AgentError, expected));
        assert_eq!((output.status, text(&output)), (RunStatus::Error, "so far"));
        let last = log(&runtime, output.run_id).await.pop().unwrap().kind;
        let event = RunEventKind::RunError { error_type: FailureKind::AgentError, content: expected.to_owned() };
        assert_eq!(last, event);
    }
}

#[tokio::test]
async fn a_content_that_is_no_json_fails_the_run() {
    let agent = Agent::builder("odd").code(|_| async { Ok(HashMap::from([((1, 2), 3)])) });
    let runtime = start(Store::sqlite_in_memory(), agent).await;

    let output = settled(&runtime.submit(NewRun::new("odd", "hi")).await.unwrap()).await;

    let error = output.error.unwrap();
    assert_eq!(error.kind, FailureKind::AgentError);
    assert!(error.message.contains("key must be a string"), "{error}");
}

async fn a_panic_fails_its_run_and_no_other(store: Store) {
    let agent = Agent::builder("panicking").code(|cx: RunContext| {
        assert!(cx.input().as_text() != Some("call"), "in the call");
        async move {
            assert!(cx.input().as_text() != Some("start"), "before the first await");
            cx.emit_text("so far").await;
            match cx.input().as_text() {
                Some("str") => panic!("a str"),
                Some("string") => panic!("a string of {}", 2 * 4),
                Some("other") => std::panic::panic_any(7),
                _ => Ok("fine"),
            }
        }
    });
    let runtime = start(store, agent).await;
    let cases = [
        ("call", "in the call", ""),
        ("start", "before the first await", ""),
        ("str", "a str", "so far"),
        ("string", "a string of 8", "so far"),
        ("other", "user code panicked with something that is no text", "so far"),
    ];
    let new = |input: &str| NewRun::new("panicking", input).session_id("s");

    let good = submit_all(&runtime, (0..10).map(|_| new("good"))).await;
    let bad = submit_all(&runtime, cases.iter().map(|(input, ..)| new(input))).await;

    for (run, (input, message, partial)) in bad.iter().zip(cases) {
        let output = settled(run).await;
        let error = output.error.as_ref().unwrap();
        assert_eq!((error.kind, &*error.message), (FailureKind::Panic, message), "{input}");
        assert_eq!((output.status, text(&output)), (RunStatus::Error, partial), "{input}");
        assert_eq!(names(&log(&runtime, run.run_id()).await).last().unwrap(), "RunError");
    }
    for run in &good {
        assert_eq!(text(&settled(run).await), "fine");
    }
}

#[tokio::test]
async fn five_hundred_panics_harm_none_of_five_hundred_others() {
    let agent = Agent::builder("mixed").code(|cx: RunContext| async move {
        let number: u32 = cx.input_as()?;
        tokio::task::yield_now().await;
        if number.is_multiple_of(2) {
            // As `panic!` does, but without a word on stderr.
            std::panic::resume_unwind(Box::new(format!("panic {number}")));
        }
        Ok(number)
    });
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent);
    let runtime = builder.call_timeout(LONG).start().await.unwrap();

    let runs = submit_all(&runtime, (0..1000).map(|number| NewRun::new("mixed", number))).await;

    for (number, run) in runs.iter().enumerate() {
        let output = settled(run).await;
        if number % 2 == 0 {
            assert_eq!(output.error.unwrap().message, format!("panic {number}"));
        } else {
            assert_eq!((output.status, output.content), (RunStatus::Completed, Some(number.into())));
        }
    }
    let after = runtime.submit(NewRun::new("mixed", 1)).await.unwrap();
    assert_eq!(settled(&after).await.status, RunStatus::Completed);
}

async fn an_answer_that_is_not_complete_fails_the_run_and_keeps_its_text(store: Store) {
    let replies = [
        Reply::text(["Par"]).then_failed("server_error", "it broke"),
        Reply::text(["Par"]).then_incomplete("max_output_tokens"),
        Reply::text(["Par"]).then_error("server_error", "it broke"),
        Reply::text(["Par"]).then_cancelled(),
        Reply::text(["Par"]).then_cut(),
        Reply::text(["Par"]).then_end(),
    ];
    let count = replies.len();
    let server = ScriptedOpenAi::start(move |n, _| replies[n].clone()).await;
    let model = OpenAIResponses::new("gpt-5-mini").api_key("key").base_url(server.base_url());
    let runtime = start(store, Agent::builder("BackgroundAgent").model(model)).await;

    for _ in 0..count {
        let output = settled(&runtime.submit(NewRun::new("BackgroundAgent", "hi")).await.unwrap()).await;

        assert_eq!((output.status, text(&output)), (RunStatus::Error, "Par"));
        assert_eq!(output.error.unwrap().kind, FailureKind::ModelError);
        let names = names(&log(&runtime, output.run_id).await);
        assert_eq!(names, ["RunStarted", "ModelRequestStarted", "RunContent", "RunError"]);
    }
}

#[tokio::test]
async fn a_model_that_refuses_fails_the_run_with_the_providers_words() {
    let server = ScriptedOpenAi::start(|_, _| Reply::status(404, "model_not_found", "no such model")).await;
    let model = OpenAIResponses::new("gpt-0").api_key("key").base_url(server.base_url());
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("BackgroundAgent").model(model)).await;

    let output = settled(&runtime.submit(NewRun::new("BackgroundAgent", "hi")).await.unwrap()).await;

    let error = output.error.unwrap();
    assert_eq!((output.status, error.kind, output.content), (RunStatus::Error, FailureKind::ModelError, None));
    assert_eq!(error.message, "the provider answers with status 404 (model_not_found): no such model");
}

async fn what_has_settled_never_changes_again(store: Store) {
    let agent = Agent::builder("any").code(|cx: RunContext| async move {
        cx.emit_text("so far").await;
        match cx.input().as_text() {
            Some("fail") => Err(AgentError::new("failed")),
            Some("stall") => std::future::pending().await,
            _ => Ok("done"),
        }
    });
    let runtime = start(store, agent).await;
    for (input, status) in [("good", RunStatus::Completed), ("fail", RunStatus::Error), ("stall", RunStatus::Cancelled)]
    {
        let new = || NewRun::new("any", input).session_id("s");
        let run = runtime.submit(new()).await.unwrap();
        if input == "stall" {
            run.cancel().await.unwrap();
        }
        settled(&run).await;
        let before = (runtime.get(run.run_id()).await.unwrap(), log(&runtime, run.run_id()).await);

        run.cancel().await.unwrap();
        let again = runtime.submit(new().run_id(run.run_id())).await.unwrap();
        runtime.submit(NewRun::new("any", "other").run_id(run.run_id())).await.unwrap_err();

        assert_eq!(again.status(), status);
        assert_eq!((runtime.get(run.run_id()).await.unwrap(), log(&runtime, run.run_id()).await), before);
    }
}

async fn a_run_knows_what_it_cost(store: Store) {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["Par", "is."])).await;
    let model = OpenAIResponses::new("gpt-5-mini").api_key("key").base_url(server.base_url());
    let silent = Agent::builder("silent").code(|_| async { Ok(json!({"cities": ["Paris"]})) });
    let builder = Runtime::builder().store(store).agent(Agent::builder("BackgroundAgent").model(model));
    let runtime = builder.agent(silent).start().await.unwrap();

    let output = settled(&runtime.submit(NewRun::new("BackgroundAgent", "hi")).await.unwrap()).await;

    let metrics = output.metrics;
    assert_eq!(metrics.usage, Usage { input_tokens: 12, output_tokens: 7, total_tokens: 19, ..Usage::default() });
    let (first, whole) = (metrics.time_to_first_token.unwrap(), metrics.duration.unwrap());
    assert!(0.0 < first && first <= whole, "{metrics:?}");
    let (started, ended) = (output.started_at.unwrap(), output.settled_at.unwrap());
    assert!(output.created_at <= started && started <= ended);
    let last = log(&runtime, output.run_id).await.pop().unwrap().kind;
    assert_eq!(last, RunEventKind::RunCompleted { metrics });

    let output = settled(&runtime.submit(NewRun::new("silent", "hi")).await.unwrap()).await;
    assert_eq!(output.content, Some(json!({"cities": ["Paris"]}).into()));
    assert_eq!((output.metrics.usage, output.metrics.time_to_first_token), (Usage::default(), None));
    assert!(output.metrics.duration.is_some());
}

#[tokio::test]
async fn an_output_is_read_by_agnos_names() {
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("echo").model(ScriptedModel::echo())).await;

    let output = settled(&runtime.submit(NewRun::new("echo", "hi").session_id("s")).await.unwrap()).await;

    let json = serde_json::to_value(&output).unwrap();
    assert_eq!(json["run_id"], output.run_id.to_string());
    let read = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    assert_eq!([read("session_id"), read("status"), read("content")], ["s", "COMPLETED", "hi"]);
    assert_eq!(json["metrics"]["total_tokens"], 0);
    assert!(json.get("error").is_none());
}
