//! What the Responses API has of its own: reasoning that goes back, and answers that are referred to.

use greenroom::model::{Message, ModelRequest, ModelTurn};
use greenroom::{Agent, NewRun, OpenAIResponses, RunEventKind, Store, Usage};
use serde_json::{Value, json};

use super::{Client, hear, replying, sum, turn_of};
use crate::scripted_openai::{Reply, ScriptedOpenAi, response};
use crate::support::{log, names, settled, start};

fn output(encrypted: Option<&str>) -> Value {
    let mut reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    if let Some(encrypted) = encrypted {
        reasoning["encrypted_content"] = encrypted.into();
    }
    let call = json!({
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": "{}", "status": "completed",
    });
    json!([reasoning, call])
}

pub(super) fn thoughtful(encrypted: Option<&str>) -> Reply {
    let usage = json!({
        "input_tokens": 20, "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
        "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 8}, "total_tokens": 29,
    });
    let fields = json!({"output": output(encrypted), "usage": usage});
    Reply::events([json!({"type": "response.completed", "response": response(&json!({}), Some(""), &fields)})])
}

pub(super) fn next(turn: &ModelTurn) -> ModelRequest {
    let mut request = sum();
    request.messages.extend([turn.to_message(), Message::tool_output("call_1", "3")]);
    request
}

#[tokio::test]
async fn what_the_model_has_reasoned_goes_back_with_its_calls() {
    for (store, encrypted) in [(true, None), (false, Some("opaque"))] {
        let script = move |n, _: &Value| if n == 0 { thoughtful(encrypted) } else { Reply::text(["Three."]) };
        let server = ScriptedOpenAi::start(script).await;
        let model = OpenAIResponses::at(&server).store(store).reasoning_summary("auto");

        let turn = turn_of(&model, sum()).await;
        turn_of(&model, next(&turn)).await;

        let usage = Usage { input_tokens: 20, output_tokens: 9, total_tokens: 29, ..Usage::default() };
        assert_eq!(turn.usage, Usage { cache_read_tokens: 5, cache_write_tokens: 2, reasoning_tokens: 8, ..usage });
        let requests = server.requests();
        let include = if store { Value::Null } else { json!(["reasoning.encrypted_content"]) };
        assert_eq!(requests[0].body["include"], include);
        assert_eq!(requests[0].body["reasoning"], json!({"summary": "auto"}));
        let input = requests[1].body["input"].as_array().unwrap();
        assert_eq!(Value::from(input[2..4].to_vec()), output(encrypted));
        assert_eq!(input[4], json!({"type": "function_call_output", "call_id": "call_1", "output": "3"}));
    }
}

#[tokio::test]
async fn a_name_that_the_model_has_made_up_goes_back_with_its_reasoning_as_one_that_the_provider_takes() {
    let mut made_up = output(None);
    made_up[1]["name"] = "functions.add".into();
    let script = move |n, _: &Value| match n {
        0 => Reply::events([json!({
            "type": "response.completed", "response": response(&json!({}), Some(""), &json!({"output": made_up})),
        })]),
        _ => Reply::text(["Three."]),
    };
    let server = ScriptedOpenAi::start(script).await;
    let model = OpenAIResponses::at(&server);

    let turn = turn_of(&model, sum()).await;
    turn_of(&model, next(&turn)).await;

    assert_eq!(turn.tool_calls[0].name, "functions.add");
    let item = &server.requests()[1].body["input"][3];
    assert_eq!(
        (&item["name"], &item["id"], &item["call_id"]),
        (&json!("functions_add"), &json!("fc_1"), &json!("call_1"))
    );
}

fn summed_up(text: &str) -> [Value; 2] {
    let (begun, piece) = ("response.reasoning_summary_part.added", "response.reasoning_summary_text.delta");
    [json!({"type": begun, "summary_index": 0}), json!({"type": piece, "delta": text})]
}

#[tokio::test]
async fn those_who_follow_the_run_see_what_the_model_says_about_its_reasoning() {
    let said = [summed_up("**Adding** one"), summed_up("and **two**")].concat();
    let piece = json!({"type": "response.output_text.delta", "delta": "Three."});
    let done = json!({"type": "response.completed", "response": response(&json!({}), Some("Three."), &json!({}))});
    let server = replying(Reply::events(said.into_iter().chain([piece, done]))).await;
    let model = OpenAIResponses::at(&server).reasoning_summary("auto");
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("adder").model(model)).await;
    let run = runtime.submit(NewRun::new("adder", "1 + 2")).await.unwrap();

    let output = settled(&run).await;
    let log = log(&runtime, run.run_id()).await;

    assert_eq!(output.content.as_ref().unwrap().as_text(), Some("Three."));
    let mut kinds = names(&log);
    kinds.dedup();
    let turn = ["ModelRequestStarted", "ReasoningContentDelta", "RunContent", "ModelRequestCompleted"];
    assert_eq!(kinds, [&["RunStarted"], &turn[..], &["RunCompleted"]].concat());
    let reasoned = log.iter().filter_map(|event| match &event.kind {
        RunEventKind::ReasoningContentDelta { reasoning_content } => reasoning_content.as_text(),
        _ => None,
    });
    assert_eq!(reasoned.collect::<String>(), "**Adding** one\n\nand **two**");
    assert!(!format!("{log:?}").contains("Adding"));
}

#[tokio::test]
async fn a_turn_refers_to_the_one_before_and_sends_only_what_came_since() {
    let script = |n, _: &Value| if n == 0 { thoughtful(None) } else { Reply::text(["Three."]) };
    let server = ScriptedOpenAi::start(script).await;
    let model = OpenAIResponses::at(&server).chaining(true);

    let turn = turn_of(&model, sum()).await;
    turn_of(&model, next(&turn)).await;
    turn_of(&model.clone().store(false), next(&turn)).await;

    let [first, second, unstored] = &server.requests()[..] else { panic!("three requests were made") };
    assert!(first.body.get("previous_response_id").is_none());
    assert_eq!(second.body["previous_response_id"], "resp_1");
    let output = json!([{"type": "function_call_output", "call_id": "call_1", "output": "3"}]);
    assert_eq!(second.body["input"], output);
    assert!(unstored.body.get("previous_response_id").is_none(), "what is not stored cannot be referred to");
}

#[tokio::test]
async fn an_answer_that_the_provider_does_not_know_is_told_in_full() {
    let refusals = [
        (400, "previous_response_not_found", "Previous response with id 'resp_1' not found."),
        (400, "invalid_request_error", "Invalid `previous_response_id`."),
        (404, "invalid_request_error", "Item with id 'rs_1' not found."),
    ];
    for (status, code, message) in refusals {
        for chaining in [true, false] {
            let script = move |n, _: &Value| match n {
                0 => thoughtful(None),
                1 => Reply::status(status, code, message),
                _ => Reply::text(["Three."]),
            };
            let server = ScriptedOpenAi::start(script).await;
            let model = OpenAIResponses::at(&server).chaining(chaining).max_retries(0);

            let turn = turn_of(&model, sum()).await;
            assert_eq!(turn_of(&model, next(&turn)).await.text, "Three.");

            let body = &server.requests()[2].body;
            assert!(body.get("previous_response_id").is_none());
            let kinds: Vec<_> = body["input"].as_array().unwrap().iter().map(|item| item["type"].as_str()).collect();
            assert_eq!(kinds, [None, None, Some("function_call"), Some("function_call_output")]);
        }
    }
}

#[tokio::test]
async fn a_provider_that_knows_nothing_either_way_is_not_asked_for_ever() {
    let script = |n, _: &Value| match n {
        0 => thoughtful(None),
        _ => Reply::status(400, "previous_response_not_found", "not found"),
    };
    let server = ScriptedOpenAi::start(script).await;
    let model = OpenAIResponses::at(&server).chaining(true);

    let turn = turn_of(&model, sum()).await;
    hear(&model, next(&turn)).await.1.unwrap_err();

    assert_eq!(server.request_count(), 3);
}

#[tokio::test]
async fn items_that_the_end_does_not_repeat_are_taken_from_the_stream() {
    let items = output(None);
    let done = |index: usize| json!({"type": "response.output_item.done", "output_index": index, "item": items[index]});
    let end = json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}});
    let server = replying(Reply::events([done(0), done(1), end])).await;

    let turn = turn_of(&OpenAIResponses::at(&server), sum()).await;

    assert_eq!(turn.tool_calls.len(), 1);
    assert!(turn.provider_data.is_some());
}

#[tokio::test]
async fn files_are_sent_by_their_address() {
    let server = replying(Reply::text(["A report."])).await;
    let mut request = sum();
    let file = json!([{"type": "file", "url": "https://example.org/a.pdf"}]);
    request.messages.push(Message::new(greenroom::model::Role::User, file));

    turn_of(&OpenAIResponses::at(&server), request).await;

    let expected = json!([{"type": "input_file", "file_url": "https://example.org/a.pdf"}]);
    assert_eq!(*OpenAIResponses::latest(&server.requests()[0].body), expected);
}
