//! Tools: what a model wants called is called, told, and remembered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom::model::{ModelRequest, Role};
use greenroom::schemars::JsonSchema;
use greenroom::{
    Agent, AgentBuilder, AgentError, FailureKind, NewRun, RunEventKind, RunStatus, Runtime, ScriptedModel,
    ScriptedTurn, Store, Tool, ToolContext, Usage,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    Gate, LONG, has_spoken, log, names, on_each_store, pieces, settled, soon, start, submit_all, text,
};

mod again;
mod cancel;
mod history;
mod people;

on_each_store!(
    the_model_is_told_what_its_calls_came_to_and_those_who_follow_see_each,
    a_run_that_passes_a_limit_keeps_what_it_said,
);

#[derive(Deserialize, JsonSchema)]
struct Number {
    number: u64,
}

fn number(number: u64) -> Value {
    json!({ "number": number })
}

/// The outputs that the model was told, in order.
fn outputs(request: &ModelRequest) -> Vec<Value> {
    let of_tools = request.messages.iter().filter(|message| message.role == Role::Tool);
    of_tools.map(|message| message.content.as_json().clone()).collect()
}

async fn the_model_is_told_what_its_calls_came_to_and_those_who_follow_see_each(store: Store) {
    let cost = Usage { input_tokens: 2, output_tokens: 3, total_tokens: 5, ..Usage::default() };
    let calls = ScriptedTurn::text("Let me see. ").usage(cost);
    let calls = calls.then_call("half", number(8)).then_call("half", number(7)).then_call("half", json!({}));
    let model = ScriptedModel::new([calls, ScriptedTurn::text("It is 4.").usage(cost)]);
    let half = Tool::new("half", "Halves a number.", |_: ToolContext, args: Number| async move {
        if args.number.is_multiple_of(2) {
            Ok(json!({ "half": args.number / 2, "nul": "\0" }))
        } else {
            Err(AgentError::new("odd"))
        }
    });
    let runtime = start(store, Agent::builder("a").model(model.clone()).tool(half).parallel_tool_calls(1)).await;

    let run = runtime.submit(NewRun::new("a", "What is half of 8?")).await.unwrap();
    let output = settled(&run).await;

    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "It is 4."));
    assert_eq!(output.metrics.usage, Usage { input_tokens: 4, output_tokens: 6, total_tokens: 10, ..Usage::default() });
    let asked = model.requests();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|request| request.tools.len() == 1 && request.tools[0].strict));
    assert_eq!(asked[1].messages[1].tool_calls.len(), 3);
    assert_eq!(asked[1].messages[1].content.as_text(), Some("Let me see. "));
    let told = outputs(&asked[1]);
    assert_eq!(told[..2], [json!({ "half": 4, "nul": "\u{fffd}" }), json!("tool `half` failed: odd")]);
    assert!(told[2].as_str().unwrap().starts_with("bad arguments for `half`: missing field `number`"), "{}", told[2]);

    let log = log(&runtime, run.run_id()).await;
    let turn = ["ModelRequestStarted", "RunContent", "ModelRequestCompleted"];
    let call = |end| ["ToolCallStarted", end];
    let calls = [call("ToolCallCompleted"), call("ToolCallError"), call("ToolCallError")].concat();
    // On a slow machine, pieces of a text come too far apart to be joined.
    let mut happened = names(&log);
    happened.dedup_by(|next, one| next == one && one == "RunContent");
    assert_eq!(happened, [&["RunStarted"], &turn[..], &calls, &turn, &["RunCompleted"]].concat());
    assert_eq!(pieces(&log).concat(), "Let me see. It is 4.");
    let is_end = |kind: &RunEventKind| {
        matches!(kind, RunEventKind::ToolCallCompleted { .. } | RunEventKind::ToolCallError { .. })
    };
    let ended: Vec<_> = log.iter().filter(|event| is_end(&event.kind)).collect();
    let RunEventKind::ToolCallCompleted { tool } = &ended[0].kind else { panic!("{:?}", ended[0]) };
    assert_eq!((tool.tool_call_id.as_str(), tool.tool_name.as_str()), ("call_1_1", "half"));
    assert_eq!((tool.tool_args.as_json(), tool.tool_call_error), (&number(8), false));
    assert_eq!(tool.result.as_ref().unwrap().as_json(), &told[0]);
    assert!(tool.metrics.unwrap().duration >= 0.0);
    let failed = serde_json::to_value(ended[1]).unwrap();
    assert_eq!((&failed["error"], &failed["tool"]["tool_call_error"]), (&told[1], &json!(true)));
}

async fn a_run_that_passes_a_limit_keeps_what_it_said(store: Store) {
    let model = ScriptedModel::new([ScriptedTurn::text("Once more. ").then_call("nothing", number(1))]);
    let nothing = Tool::new("nothing", "Does nothing.", |_: ToolContext, _: Number| async { Ok(()) });
    let runtime = start(store, Agent::builder("a").model(model).tool(nothing).max_turns(2)).await;
    let output = settled(&runtime.submit(NewRun::new("a", "go")).await.unwrap()).await;
    assert_eq!((output.status, text(&output)), (RunStatus::Error, "Once more. Once more. "));
    let failure = serde_json::to_value(output.error.unwrap()).unwrap();
    assert_eq!(failure, json!({ "kind": "turn_limit", "message": "the model has no answer after 2 turns" }));
    for (kind, name) in [
        (FailureKind::ToolCallLimit, "tool_call_limit"),
        (FailureKind::TokenLimit, "token_limit"),
        (FailureKind::InvalidOutput, "invalid_output"),
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), name);
    }
}

fn panics(cx: &ToolContext, args: &Number) -> u64 {
    assert!(args.number != 0, "as it was told, {}", cx.tool_call_id());
    args.number
}

#[tokio::test]
async fn a_panic_in_a_tool_settles_its_run_and_harms_no_other() {
    let tools = [
        Tool::new("work", "Works.", |cx: ToolContext, args: Number| async move { Ok(panics(&cx, &args)) }),
        Tool::blocking("work", "Works.", |cx: ToolContext, args: Number| Ok(panics(&cx, &args))),
    ];
    for tool in tools {
        // It wants the tool called with what it was asked.
        let model = ScriptedModel::answering(|request| match outputs(request).first() {
            None => ScriptedTurn::default()
                .then_call("work", number(request.messages[0].content.to_string().parse().unwrap())),
            Some(output) => ScriptedTurn::text(output.to_string()),
        });
        let runtime = start(Store::sqlite_in_memory(), Agent::builder("a").model(model).tool(tool)).await;
        let runs = submit_all(&runtime, [0, 1, 0, 2].map(|n| NewRun::new("a", n.to_string()))).await;
        for (run, expected) in runs.iter().zip([None, Some("1"), None, Some("2")]) {
            let output = settled(run).await;
            match expected {
                Some(number) => assert_eq!(text(&output), number),
                None => {
                    let error = output.error.unwrap();
                    assert!(error.kind == FailureKind::Panic && error.message.contains("as it was told"), "{error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_model_that_is_told_what_is_wrong_with_its_arguments_can_mend_them() {
    let model = ScriptedModel::answering(|request| match outputs(request).last() {
        None => ScriptedTurn::default().then_call("double", json!({ "number": "four" })),
        Some(Value::String(problem)) if problem.contains("at `number`") => {
            ScriptedTurn::default().then_call("double", number(4))
        }
        Some(output) => ScriptedTurn::text(output.to_string()),
    });
    let double = Tool::new("double", "Doubles.", |_: ToolContext, args: Number| async move { Ok(args.number * 2) });
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("a").model(model).tool(double)).await;
    let output = settled(&runtime.submit(NewRun::new("a", "go")).await.unwrap()).await;
    assert_eq!(text(&output), "8");
}

#[tokio::test]
async fn a_blocking_tool_stands_in_the_way_of_no_other_run() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (held, gate) = (Mutex::new(held), Gate::new());
    let arrived = gate.clone();
    let block = Tool::blocking("block", "Blocks its thread.", move |_: ToolContext, args: Number| {
        arrived.arrive();
        if args.number == 1 {
            held.lock().unwrap().recv().unwrap_err();
        }
        Ok(args.number)
    });
    let model = ScriptedModel::answering(|request| match outputs(request).first() {
        None => {
            ScriptedTurn::default().then_call("block", number(request.messages[0].content.to_string().parse().unwrap()))
        }
        Some(output) => ScriptedTurn::text(output.to_string()),
    });
    let agent: AgentBuilder = Agent::builder("a").model(model).tool(block);
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).agent_threads(1);
    let runtime = builder.start().await.unwrap();
    let blocked = runtime.submit(NewRun::new("a", "1")).await.unwrap();
    gate.arrivals(1).await;
    let cancelled = runtime.submit(NewRun::new("a", "1")).await.unwrap();
    gate.arrivals(1).await;

    let other = runtime.submit(NewRun::new("a", "2")).await.unwrap();
    assert_eq!(text(&settled(&other).await), "2");
    cancelled.cancel().await.unwrap();
    assert_eq!(settled(&cancelled).await.status, RunStatus::Cancelled, "though its thread cannot be stopped");

    drop(release);
    assert_eq!(text(&settled(&blocked).await), "1");
}

#[tokio::test]
async fn an_answer_of_a_form_is_the_content_as_json_and_another_one_is_kept_as_text() {
    let model = ScriptedModel::answering(|request| ScriptedTurn::text(request.messages[0].content.to_string()));
    let agent = Agent::builder("a").model(model).output::<Number>();
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let inputs = [r#"{"number": 5}"#, "five"].map(|input| NewRun::new("a", input));
    let runs = submit_all(&runtime, inputs).await;
    assert_eq!(settled(&runs[0]).await.content, Some(number(5).into()));
    let failed = settled(&runs[1]).await;
    assert_eq!((failed.status, text(&failed)), (RunStatus::Error, "five"));
    assert_eq!(failed.error.unwrap().kind, FailureKind::InvalidOutput);
}

#[tokio::test]
async fn an_answer_of_a_form_that_is_cancelled_half_way_keeps_its_text() {
    let model = ScriptedModel::new([ScriptedTurn::text(r#"{"number": "#).then_stall()]);
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("a").model(model).output::<Number>()).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    has_spoken(&run).await;
    run.cancel().await.unwrap();
    let output = settled(&run).await;
    assert_eq!((output.status, text(&output)), (RunStatus::Cancelled, r#"{"number": "#));
    assert!(output.error.is_none());
}
