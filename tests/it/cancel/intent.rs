//! Cancels of runs that are not known yet.

use std::time::Duration;

use greenroom::{
    Agent, CancelOutcome, Error, NewRun, OpenAIResponses, RunId, RunStatus, Runtime, ScriptedModel, Store,
};

use crate::scripted_openai::{Reply, ScriptedOpenAi};
use crate::support::{Gate, gated, log, names, on_each_store, settled, start, submit_all, text};

on_each_store!(
    a_run_that_was_cancelled_before_its_submit_never_starts,
    a_run_that_was_cancelled_before_its_submit_does_not_wait_for_room,
    a_cancel_beside_a_submit_is_seen_whichever_comes_first,
    too_many_intents_are_refused,
    an_intent_expires,
);

async fn a_run_that_was_cancelled_before_its_submit_never_starts(store: Store) {
    let server = ScriptedOpenAi::start(|_, _| Reply::text(["Paris."])).await;
    let model = OpenAIResponses::new("gpt-5-mini").api_key("key").base_url(server.base_url());
    let runtime = start(store, Agent::builder("BackgroundAgent").model(model)).await;
    let run_id = RunId::new();
    let new = || NewRun::new("BackgroundAgent", "hi").run_id(run_id);

    let answer = runtime.cancel(run_id).await.unwrap();
    assert_eq!(answer, CancelOutcome::IntentStored);
    assert!(!answer.was_live());
    assert_eq!(runtime.cancel(run_id).await.unwrap(), CancelOutcome::IntentStored);
    assert!(runtime.get(run_id).await.unwrap().is_none());
    let run = runtime.submit(new()).await.unwrap();

    assert_eq!(run.status(), RunStatus::Pending);
    let output = settled(&run).await;
    assert_eq!((output.status, output.started_at, output.content), (RunStatus::Cancelled, None, None));
    assert_eq!(names(&log(&runtime, run_id).await), ["RunCancelled"]);
    let again = runtime.submit(new()).await.unwrap();
    assert_eq!(again.status(), RunStatus::Cancelled, "the run that was cancelled is not run after all");
    let other = runtime.submit(NewRun::new("BackgroundAgent", "hi")).await.unwrap();
    assert_eq!(text(&settled(&other).await), "Paris.");
    assert_eq!(server.request_count(), 1, "the model was asked by the other run only");
}

async fn a_run_that_was_cancelled_before_its_submit_does_not_wait_for_room(store: Store) {
    let gate = Gate::new();
    let builder = Runtime::builder().store(store).agent(gated(&gate));
    let runtime = builder.max_running(1).start().await.unwrap();
    runtime.submit(NewRun::new("gated", "runs")).await.unwrap();
    gate.arrivals(1).await;
    let run_id = RunId::new();
    runtime.cancel(run_id).await.unwrap();

    let run = runtime.submit(NewRun::new("gated", "hi").run_id(run_id)).await.unwrap();

    assert_eq!(run.status(), RunStatus::Pending);
    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
}

async fn a_cancel_beside_a_submit_is_seen_whichever_comes_first(store: Store) {
    let runtime = start(store, gated(&Gate::new())).await;
    for round in 0..100 {
        let run_id = RunId::new();
        let submit = runtime.submit(NewRun::new("gated", "hi").run_id(run_id));
        let cancel = runtime.cancel(run_id);

        let (run, answer) = if round % 2 == 0 {
            futures_util::join!(submit, cancel)
        } else {
            let (answer, run) = futures_util::join!(cancel, submit);
            (run, answer)
        };

        let answer = answer.unwrap();
        assert!(matches!(answer, CancelOutcome::Cancelled | CancelOutcome::IntentStored), "{answer:?}");
        assert_eq!(settled(&run.unwrap()).await.status, RunStatus::Cancelled, "round {round}");
    }
}

async fn too_many_intents_are_refused(store: Store) {
    let builder = Runtime::builder().store(store).agent(Agent::builder("echo").model(ScriptedModel::echo()));
    let runtime = builder.max_intents(3).start().await.unwrap();
    let run_ids: Vec<_> = (0..4).map(|_| RunId::new()).collect();
    for run_id in &run_ids[..3] {
        assert_eq!(runtime.cancel(*run_id).await.unwrap(), CancelOutcome::IntentStored);
    }

    let refusal = runtime.cancel(run_ids[3]).await.unwrap_err();

    assert!(matches!(refusal, Error::TooManyIntents(run_id) if run_id == run_ids[3]) && refusal.is_retryable());
    assert_eq!(runtime.cancel(run_ids[0]).await.unwrap(), CancelOutcome::IntentStored, "it is there already");
    let runs = submit_all(&runtime, run_ids.iter().map(|&run_id| NewRun::new("echo", "hi").run_id(run_id))).await;
    let mut statuses = Vec::new();
    for run in &runs {
        statuses.push(settled(run).await.status);
    }
    let (cancelled, completed) = (RunStatus::Cancelled, RunStatus::Completed);
    assert_eq!(statuses, [cancelled, cancelled, cancelled, completed]);
    assert_eq!(runtime.cancel(RunId::new()).await.unwrap(), CancelOutcome::IntentStored, "there is room again");
}

async fn an_intent_expires(store: Store) {
    let builder = Runtime::builder().store(store).agent(Agent::builder("echo").model(ScriptedModel::echo()));
    let runtime = builder.intent_ttl(Duration::from_millis(1)).max_intents(1).start().await.unwrap();
    let run_id = RunId::new();
    assert_eq!(runtime.cancel(run_id).await.unwrap(), CancelOutcome::IntentStored);
    // The intent's time has to pass, nothing else.
    tokio::time::sleep(Duration::from_millis(20)).await;

    let run = runtime.submit(NewRun::new("echo", "hi").run_id(run_id)).await.unwrap();

    assert_eq!(settled(&run).await.status, RunStatus::Completed);
    let next = runtime.cancel(RunId::new()).await.unwrap();
    assert_eq!(next, CancelOutcome::IntentStored, "what has expired takes no room");
}
