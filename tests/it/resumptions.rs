//! Failed runs go on in new ones: from their steps, with their keys, and once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use greenroom::model::{ModelError, ModelErrorKind, Role};
use greenroom::schemars::JsonSchema;
use greenroom::{
    Agent, AgentBuilder, AgentError, CrashPolicy, Error, FailureKind, NewRun, RunContext, RunEventKind, RunId,
    RunStatus, Runtime, ScriptedModel, ScriptedTurn, StepKey, Store, Tool, ToolContext,
};
use serde::Deserialize;
use serde_json::json;

use crate::support::{LONG, log, names, on_each_store, settled, start, text};
use crate::web::{Answer, Service};

on_each_store!(
    a_failed_run_goes_on_from_its_steps_in_a_new_run,
    a_failed_run_is_resumed_once_whoever_asks,
    tools_that_were_called_before_the_failure_are_not_called_again,
    only_a_failed_run_is_resumed_and_only_by_who_may_see_it,
    what_nobody_has_decided_in_time_is_asked_again,
    a_failed_run_is_resumed_over_http,
);

/// Fails in its second step as often as it is told to, and notes which steps it has done, with their keys.
#[derive(Clone, Default)]
struct Printer {
    failures: Arc<AtomicUsize>,
    done: Arc<Mutex<Vec<(&'static str, StepKey)>>>,
}

impl Printer {
    fn failing(times: usize) -> Self {
        let printer = Self::default();
        printer.failures.store(times, Ordering::SeqCst);
        printer
    }

    fn agent(&self) -> AgentBuilder {
        let printer = self.clone();
        // Also an agent that begins anew after a crash goes on from its steps when it is resumed.
        Agent::builder("printer").on_crash(CrashPolicy::Restart).code(move |cx: RunContext| {
            let printer = printer.clone();
            async move {
                let attempt = cx.attempt();
                let note = |name, key| printer.done.lock().unwrap().push((name, key));
                let searched: u32 = cx
                    .step_with_key("search", |key| async move {
                        note("search", key);
                        Ok(42)
                    })
                    .await?;
                cx.step_with_key("print", |key| async move {
                    note("print", key);
                    let less = |left: usize| left.checked_sub(1);
                    match printer.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
                        Ok(_) => Err(AgentError::new("no paper")),
                        Err(_) => Ok(format!("printed {searched}, by attempt {attempt}")),
                    }
                })
                .await
            }
        })
    }

    fn done(&self) -> Vec<(&'static str, StepKey)> {
        self.done.lock().unwrap().clone()
    }
}

async fn a_failed_run_goes_on_from_its_steps_in_a_new_run(store: Store) {
    let printer = Printer::failing(2);
    let runtime = start(store, printer.agent()).await;
    let asked = NewRun::new("printer", "go").session_id("s").priority(3).timeout(LONG).max_attempts(7);
    let failed = runtime.submit(asked.metadata(json!({"a": 1}).as_object().cloned().unwrap())).await.unwrap();
    let output = settled(&failed).await;
    assert_eq!(output.error.as_ref().unwrap().kind, FailureKind::AgentError);

    let second = failed.resume_failed().await.unwrap();
    assert_eq!(settled(&second).await.status, RunStatus::Error);
    let third = runtime.resume_failed(second.run_id()).await.unwrap();
    assert_eq!(text(&settled(&third).await), "printed 42, by attempt 1");

    let done = printer.done();
    let names: Vec<&str> = done.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["search", "print", "print", "print"]);
    assert!(
        done[1..].iter().all(|(_, key)| *key == done[1].1),
        "the outside world can tell that it is the same: {done:?}"
    );
    let get = async |run_id: RunId| runtime.get(run_id).await.unwrap().unwrap();
    let (first, third) = (get(failed.run_id()).await, get(third.run_id()).await);
    assert_eq!((first.output, first.origin), (output, None), "the failed run stays as it is");
    assert_eq!(third.origin, Some(failed.run_id()), "it all began there");
    assert_eq!((third.output.session_id.as_str(), &third.metadata), ("s", &first.metadata));
    assert_eq!((third.priority, third.timeout, third.max_attempts), (3, Some(LONG), 7));
    assert_eq!(third.input, first.input);
}

async fn a_failed_run_is_resumed_once_whoever_asks(store: Store) {
    let printer = Printer::failing(1);
    let runtime = start(store, printer.agent()).await;
    let failed = runtime.submit(NewRun::new("printer", "go")).await.unwrap();
    settled(&failed).await;
    let runs = join_all((0..8).map(|_| runtime.resume_failed(failed.run_id()))).await;
    let run_ids: Vec<RunId> = runs.into_iter().map(|run| run.unwrap().run_id()).collect();
    assert!(run_ids.iter().all(|run_id| *run_id == run_ids[0]) && run_ids[0] != failed.run_id(), "{run_ids:?}");
    let output = runtime.wait(run_ids[0], LONG).await.unwrap();
    assert_eq!((output.status, printer.done().len()), (RunStatus::Completed, 3));
    let late = failed.resume_failed().await.unwrap();
    assert_eq!((late.run_id(), late.status()), (run_ids[0], RunStatus::Completed));
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

async fn tools_that_were_called_before_the_failure_are_not_called_again(store: Store) {
    let (called, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let model = ScriptedModel::answering(move |request| {
        let has_heard = request.messages.iter().any(|message| message.role == Role::Tool);
        match (has_heard, count.fetch_add(1, Ordering::SeqCst)) {
            (false, _) => ScriptedTurn::text("Well. ").then_call("charge", json!({})),
            (true, 1) => ScriptedTurn::default().then_fail(ModelError::new(ModelErrorKind::Request, "no")),
            (true, _) => ScriptedTurn::text("charged"),
        }
    });
    let calls = Arc::clone(&called);
    let charge = Tool::new("charge", "Charges.", move |_: ToolContext, _: Nothing| {
        calls.fetch_add(1, Ordering::SeqCst);
        async { Ok("done") }
    });
    let runtime = start(store, Agent::builder("a").model(model).tool(charge)).await;
    let failed = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    let output = settled(&failed).await;
    assert_eq!(output.error.unwrap().kind, FailureKind::ModelError);
    let resumed = settled(&failed.resume_failed().await.unwrap()).await;
    assert_eq!((resumed.status, text(&resumed)), (RunStatus::Completed, "charged"));
    assert_eq!((called.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)), (1, 3), "nothing is paid twice");
    assert_eq!(resumed.tools, output.tools, "what is remembered is part of what came of it");
}

async fn only_a_failed_run_is_resumed_and_only_by_who_may_see_it(store: Store) {
    let printer = Printer::failing(1);
    let runtime = start(store, printer.agent()).await;
    let (ann, bob) = (runtime.for_user("ann"), runtime.for_user("bob"));
    let failed = ann.submit(NewRun::new("printer", "go")).await.unwrap();
    settled(&failed).await;
    for (run_id, of_whom) in [(failed.run_id(), &bob), (RunId::new(), &ann)] {
        let refused = of_whom.resume_failed(run_id).await.unwrap_err();
        assert!(matches!(refused, Error::NotFound(of) if of == run_id), "{refused:?}");
    }
    assert_eq!(printer.done().len(), 2);
    let resumed = ann.resume_failed(failed.run_id()).await.unwrap();
    let output = settled(&resumed).await;
    assert_eq!(output.user_id.unwrap().as_str(), "ann");
    let refused = resumed.resume_failed().await.unwrap_err();
    let expected = (resumed.run_id(), RunStatus::Completed);
    assert!(matches!(refused, Error::NotFailed { run_id, status } if (run_id, status) == expected), "{refused:?}");
    let cancelled = RunId::new();
    runtime.cancel(cancelled).await.unwrap();
    settled(&runtime.submit(NewRun::new("printer", "go").run_id(cancelled)).await.unwrap()).await;
    let refused = runtime.resume_failed(cancelled).await.unwrap_err();
    assert!(matches!(refused, Error::NotFailed { status: RunStatus::Cancelled, .. }), "{refused:?}");
}

async fn what_nobody_has_decided_in_time_is_asked_again(store: Store) {
    let looked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked);
    let agent = Agent::builder("asks").pause_timeout(Duration::from_millis(1)).code(move |cx: RunContext| {
        let count = Arc::clone(&count);
        async move {
            let found = cx.step("look", || async move { Ok(count.fetch_add(1, Ordering::SeqCst)) }).await?;
            Ok(cx.confirm("go", found).await?.confirmed)
        }
    });
    let builder = Runtime::builder().store(store).poll_interval(Duration::from_millis(50)).agent(agent);
    let runtime = builder.start().await.unwrap();
    let failed = runtime.submit(NewRun::new("asks", 1)).await.unwrap();
    assert_eq!(settled(&failed).await.error.unwrap().kind, FailureKind::PauseTimeout);
    let resumed = failed.resume_failed().await.unwrap();
    assert_eq!(settled(&resumed).await.error.unwrap().kind, FailureKind::PauseTimeout);
    let asked = async |run_id| {
        let log = log(&runtime, run_id).await;
        let asked = log.iter().find_map(|event| match &event.kind {
            RunEventKind::RunPaused { requirements } => Some(requirements.clone()),
            _ => None,
        });
        asked.unwrap()
    };
    assert_eq!(asked(failed.run_id()).await, asked(resumed.run_id()).await, "people see that it is the same");
    assert_eq!(looked.load(Ordering::SeqCst), 1);
}

async fn a_failed_run_is_resumed_over_http(store: Store) {
    let printer = Printer::failing(1);
    let runtime = start(store, printer.agent()).await;
    let service = Service::of(&runtime);
    let failed = runtime.submit(NewRun::new("printer", "go")).await.unwrap();
    settled(&failed).await;
    let path = |run_id| format!("/runs/{run_id}/resume");

    let resumed = service.post(&path(failed.run_id()), &json!({})).await;
    assert_eq!(resumed.status, 202, "{resumed:?}");
    assert_eq!(resumed.body["origin"], json!(failed.run_id()));
    assert_eq!(resumed.header("location"), format!("/api/runs/{}", resumed.run_id()));
    let waited = service.ask(reqwest::Method::POST, &path(failed.run_id())).header("prefer", "wait=30");
    let again = Answer::to(waited).await;
    assert_eq!(
        (again.status.as_u16(), again.run_id(), &again.body["status"]),
        (200, resumed.run_id(), &json!("COMPLETED"))
    );

    service.post(&path(resumed.run_id()), &json!({})).await.assert_problem(409, "not-failed");
    service.post(&path(RunId::new()), &json!({})).await.assert_problem(404, "unknown-run");
    service.post(&path(failed.run_id()), &json!({"why": "not"})).await.assert_problem(422, "invalid-field");
    let log = log(&runtime, resumed.run_id()).await;
    assert_eq!(names(&log), ["RunStarted", "RunCompleted"]);
}
