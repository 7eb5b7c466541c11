//! Answers that go on without their client: the provider is asked once, whatever happens to the connection or the process.

use std::time::Duration;

use futures_util::StreamExt;
use greenroom::model::{Model, ModelErrorKind, ModelEvent};
use greenroom::{
    Agent, AgentBuilder, CancelOutcome, FallbackModel, NewRun, OpenAIResponses, RunStatus, ScriptedModel, ScriptedTurn,
    Store,
};
use serde_json::{Value, json};

use super::{Client, KEY, error_of, question, soon};
use crate::scripted_openai::{Reply, Request, ScriptedOpenAi, response};
use crate::support::{LONG, has_spoken, settled, start, text};

mod kill;
mod resumed;

fn model_at(server: &ScriptedOpenAi) -> OpenAIResponses {
    OpenAIResponses::at(server).background(true).poll_interval(Duration::from_millis(5)).max_retries(1)
}

fn created(id: &str) -> Value {
    json!({"type": "response.created", "response": {"id": id, "status": "queued"}, "sequence_number": 0})
}

fn delta(number: u64, piece: &str) -> Value {
    json!({"type": "response.output_text.delta", "delta": piece, "sequence_number": number})
}

fn completed(number: u64, text: &str) -> Value {
    let response = response(&json!({}), Some(text), &json!({}));
    json!({"type": "response.completed", "response": response, "sequence_number": number})
}

fn state(status: &str, text: &str) -> Reply {
    match status {
        "failed" => failed("server_error"),
        _ => whole(text, &json!({"status": status})),
    }
}

fn failed(code: &str) -> Reply {
    whole("", &json!({"status": "failed", "error": {"code": code, "message": "it broke"}}))
}

fn whole(text: &str, fields: &Value) -> Reply {
    Reply::http(200, "application/json", response(&json!({}), Some(text), fields).to_string())
}

/// What a turn notes, says and ends with; and which requests it made.
async fn hear(
    model: &impl Model,
    note: Option<Value>,
    server: &ScriptedOpenAi,
) -> (Vec<Value>, String, String, Vec<String>) {
    let (mut notes, mut said) = (Vec::new(), String::new());
    let mut request = question();
    request.note = note;
    let mut answer = model.respond(request);
    let end = loop {
        match soon(answer.next()).await.expect("an end").unwrap() {
            ModelEvent::Text(text) => said.push_str(&text),
            ModelEvent::Note(note) => notes.push(note),
            ModelEvent::Done(turn) => break turn.text,
            _ => {}
        }
    };
    let requests = server.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect();
    (notes, said, end, requests)
}

const NOTED: &str = "resp_1";

fn noted(id: &str) -> Value {
    json!({"openai_response": id})
}

#[tokio::test]
async fn a_lost_connection_is_made_again_where_it_was() {
    let script = |n, _: &Request| match n {
        0 => Reply::events([created(NOTED), delta(1, "Thr")]).then_cut(),
        1 => Reply::events([delta(2, "ee")]).then_end(),
        // All of it once more.
        _ => Reply::events([created(NOTED), delta(1, "Thr"), delta(2, "ee"), delta(3, "."), completed(4, "Three.")]),
    };
    let server = ScriptedOpenAi::answering(script).await;

    let (notes, said, end, requests) = hear(&model_at(&server), None, &server).await;

    assert_eq!((notes, said.as_str(), end.as_str()), (vec![noted(NOTED)], "Three.", "Three."));
    let rest = |after| format!("GET /v1/responses/resp_1?stream=true&starting_after={after}");
    assert_eq!(requests, ["POST /v1/responses".to_owned(), rest(1), rest(2)]);
    let body = &server.requests()[0].body;
    assert_eq!((&body["background"], &body["store"], &body["stream"]), (&json!(true), &json!(true), &json!(true)));
}

#[tokio::test]
async fn a_connection_that_is_lost_again_and_again_comes_to_an_end() {
    let script = |n, _: &Request| if n == 0 { Reply::events([created(NOTED)]).then_cut() } else { Reply::cut() };
    let server = ScriptedOpenAi::answering(script).await;

    assert_eq!(error_of(&model_at(&server), question()).await.0, ModelErrorKind::Cut);
    assert_eq!(server.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_looked_at_until_it_is_there() {
    let script = |n, _: &Request| match n {
        0 => state("queued", ""),
        1 => state("in_progress", ""),
        _ => state("completed", "Three."),
    };
    let server = ScriptedOpenAi::answering(script).await;

    let (notes, said, end, requests) = hear(&model_at(&server).streaming(false), None, &server).await;

    assert_eq!((notes, said.as_str(), end.as_str()), (vec![noted(NOTED)], "", "Three."));
    assert_eq!(requests, ["POST /v1/responses", "GET /v1/responses/resp_1", "GET /v1/responses/resp_1"]);
}

#[tokio::test]
async fn what_was_noted_is_picked_up_and_not_asked_again() {
    let server = ScriptedOpenAi::answering(|_, _| state("completed", "Three.")).await;
    let (notes, _, end, requests) = hear(&model_at(&server), Some(noted(NOTED)), &server).await;
    assert_eq!((notes.len(), end.as_str()), (0, "Three."));
    assert_eq!(requests, ["GET /v1/responses/resp_1"]);

    let script = |n, _: &Request| match n {
        0 => state("in_progress", ""),
        _ => Reply::events([created(NOTED), delta(1, "Three."), completed(2, "Three.")]),
    };
    let server = ScriptedOpenAi::answering(script).await;
    let (notes, said, _, requests) = hear(&model_at(&server), Some(noted(NOTED)), &server).await;
    assert_eq!((notes.len(), said.as_str()), (0, "Three."));
    assert_eq!(requests, ["GET /v1/responses/resp_1", "GET /v1/responses/resp_1?stream=true"]);
}

#[tokio::test]
async fn what_was_noted_is_asked_anew_when_it_has_failed_or_is_not_known() {
    for first in [
        Reply::status(404, "not_found", "no such response"),
        state("failed", ""),
        state("cancelled", ""),
        failed("rate_limit_exceeded"),
        failed("context_length_exceeded"),
        whole("", &json!({"output": [{"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"}]})),
        whole("Thr", &json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}})),
    ] {
        let script = move |n, _: &Request| match n {
            0 => first.clone(),
            _ => Reply::events([created("resp_2"), delta(1, "Three."), completed(2, "Three.")]),
        };
        let server = ScriptedOpenAi::answering(script).await;

        let (notes, said, _, requests) = hear(&model_at(&server), Some(noted(NOTED)), &server).await;

        assert_eq!((notes, said.as_str()), (vec![noted("resp_2")], "Three."));
        assert_eq!(requests, ["GET /v1/responses/resp_1", "POST /v1/responses"]);
    }
}

#[tokio::test]
async fn what_was_noted_is_not_asked_anew_because_it_cannot_be_read() {
    let script = |n, _: &Request| match n {
        0 => Reply::http(200, "application/json", "<html>busy</html>".to_owned()),
        _ => state("completed", "Three."),
    };
    let server = ScriptedOpenAi::answering(script).await;
    let mut request = question();
    request.note = Some(noted(NOTED));

    assert_eq!(error_of(&model_at(&server), request).await.0, ModelErrorKind::Protocol);

    let (_, _, end, requests) = hear(&model_at(&server), Some(noted(NOTED)), &server).await;
    assert_eq!((end.as_str(), requests.len()), ("Three.", 2));
    assert!(requests.iter().all(|request| request == "GET /v1/responses/resp_1"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_streamed_any_more_is_looked_at_and_its_rest_is_said() {
    let script = |n, _: &Request| match n {
        0 => Reply::events([created(NOTED), delta(1, "Thr")]).then_cut(),
        1 => Reply::status(400, "invalid_request_error", "this response cannot be streamed"),
        2 => state("in_progress", ""),
        _ => state("completed", "Three."),
    };
    let server = ScriptedOpenAi::answering(script).await;

    let (_, said, end, requests) = hear(&model_at(&server), None, &server).await;

    assert_eq!((said.as_str(), end.as_str()), ("Three.", "Three."));
    assert_eq!(requests[2..], ["GET /v1/responses/resp_1", "GET /v1/responses/resp_1"]);
}

#[tokio::test]
async fn a_note_is_that_of_the_model_which_has_made_it() {
    let server = ScriptedOpenAi::answering(|_, request| match request.method.as_str() {
        "POST" => Reply::events([created(NOTED), delta(1, "Three."), completed(2, "Three.")]),
        _ => state("completed", "Three."),
    })
    .await;
    let down = ScriptedOpenAi::start(|_, _| Reply::status(400, "bad", "no")).await;
    let model = FallbackModel::new(OpenAIResponses::at(&down)).or(model_at(&server));

    let (notes, ..) = hear(&model, None, &server).await;
    let (later, _, end, requests) = hear(&model, notes.first().cloned(), &server).await;

    assert_eq!((notes.len(), later.len(), end.as_str(), down.request_count()), (1, 0, "Three.", 1));
    assert_eq!(requests, ["POST /v1/responses", "GET /v1/responses/resp_1"]);
}

#[tokio::test]
async fn an_answer_that_another_model_takes_the_place_of_is_given_up() {
    let script = |n, _: &Request| match n {
        0 => Reply::events([created(NOTED)]).then_cut(),
        _ => state("cancelled", ""),
    };
    let server = ScriptedOpenAi::answering(script).await;
    let spare = ScriptedModel::new([ScriptedTurn::text("Three.")]);
    let model = FallbackModel::new(model_at(&server).max_retries(0)).or(spare);

    let (notes, said, ..) = hear(&model, None, &server).await;

    assert_eq!((notes.len(), said.as_str()), (1, "Three."));
    soon(server.wait_for_requests(2)).await;
    let cancel = &server.requests()[1];
    assert_eq!((cancel.method.as_str(), cancel.path.as_str()), ("POST", "/v1/responses/resp_1/cancel"));
}

fn agent_at(base_url: &str) -> AgentBuilder {
    let model = OpenAIResponses::new("gpt-5-mini").api_key(KEY).base_url(base_url).background(true);
    Agent::builder("thinker").model(model)
}

fn agent(server: &ScriptedOpenAi) -> AgentBuilder {
    agent_at(&server.base_url())
}

fn goes_on(_: usize, request: &Request) -> Reply {
    match request.method.as_str() {
        "POST" if request.path.ends_with("/cancel") => state("cancelled", ""),
        "POST" => Reply::events([created(NOTED), delta(1, "Thr")]).then_stall(),
        _ => state("completed", "Three."),
    }
}

#[tokio::test]
async fn a_cancel_of_the_run_has_the_provider_give_up_the_answer() {
    let server = ScriptedOpenAi::answering(goes_on).await;
    let runtime = start(Store::sqlite_in_memory(), agent(&server)).await;
    let run = runtime.submit(NewRun::new("thinker", "1 + 2")).await.unwrap();
    has_spoken(&run).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    soon(server.wait_for_requests(2)).await;
    let cancel = &server.requests()[1];
    assert_eq!((cancel.method.as_str(), cancel.path.as_str()), ("POST", "/v1/responses/resp_1/cancel"));
    assert!(cancel.header("authorization").is_some());
    assert_eq!(text(&settled(&run).await), "Thr");
}

#[tokio::test]
async fn a_provider_that_is_too_busy_to_give_up_an_answer_is_told_again() {
    for (status, times) in [(408, 2), (409, 2), (429, 2), (503, 2), (400, 1), (404, 1)] {
        let script = move |n, _: &Request| match n {
            0 => Reply::status(status, "busy", "later"),
            _ => state("cancelled", ""),
        };
        let server = ScriptedOpenAi::answering(script).await;

        soon(model_at(&server).abandon(noted(NOTED))).await;

        assert_eq!(server.request_count(), times, "{status}");
        assert!(server.requests().iter().all(|request| request.path == "/v1/responses/resp_1/cancel"));
    }
}

#[tokio::test]
async fn a_cancel_of_the_run_reaches_the_model_that_was_asked_instead() {
    let server = ScriptedOpenAi::answering(goes_on).await;
    let down = ScriptedOpenAi::start(|_, _| Reply::status(400, "bad", "no")).await;
    let model = FallbackModel::new(model_at(&down)).or(model_at(&server));
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("thinker").model(model)).await;
    let run = runtime.submit(NewRun::new("thinker", "1 + 2")).await.unwrap();
    has_spoken(&run).await;

    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);

    soon(server.wait_for_requests(2)).await;
    assert_eq!(server.requests()[1].path, "/v1/responses/resp_1/cancel");
    assert_eq!(down.request_count(), 1);
}

#[tokio::test]
async fn a_run_that_is_handed_back_goes_on_with_the_same_answer() {
    let server = ScriptedOpenAi::answering(goes_on).await;
    let directory = tempfile::tempdir().unwrap();
    let store = || Store::sqlite(directory.path().join("runs.db"));
    let runtime = start(store(), agent(&server)).await;
    let run = runtime.submit(NewRun::new("thinker", "1 + 2")).await.unwrap();
    let run_id = run.run_id();
    has_spoken(&run).await;
    runtime.shutdown(Duration::ZERO).await;

    let runtime = start(store(), agent(&server)).await;
    let output = runtime.wait(run_id, LONG).await.unwrap();

    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "Three."));
    let requests: Vec<_> = server.requests().iter().map(|request| request.method.clone()).collect();
    assert_eq!(requests, ["POST", "GET"], "nothing is given up, and nothing is asked twice");
}
