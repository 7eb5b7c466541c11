//! Tools whose calls people have a say in: nothing happens before they have decided, and then once.

use greenroom::{CancelOutcome, Decision, Error, InputKind, Question, RequirementKind};

use super::*;
use crate::people::{id, paused};

on_each_store!(
    calls_that_need_nobody_are_made_before_a_pause_and_the_others_as_people_decide,
    what_people_fill_in_goes_to_the_tool_and_not_to_the_model,
    what_people_have_filled_in_wrongly_is_not_quoted_to_the_model,
    what_was_executed_elsewhere_is_the_output_of_the_call,
    nobody_is_asked_about_a_call_that_cannot_be,
    a_tool_of_a_run_that_is_cancelled_while_it_waits_is_never_called,
    of_two_who_confirm_at_the_same_time_one_makes_the_call,
);

mod again;

/// The numbers that a tool was called with.
type Called = Arc<Mutex<Vec<u64>>>;

fn noting(name: &str, called: &Called) -> Tool {
    let called = Arc::clone(called);
    Tool::new(name, "Notes a number.", move |_: ToolContext, args: Number| {
        called.lock().unwrap().push(args.number);
        async move { Ok(args.number) }
    })
}

fn calls(called: &Called) -> Vec<u64> {
    called.lock().unwrap().clone()
}

/// Wants calls made, and says what they came to.
fn wants(calls: &[(&'static str, Value)]) -> ScriptedModel {
    let turn =
        calls.iter().fold(ScriptedTurn::text("Well. "), |turn, (tool, args)| turn.then_call(*tool, args.clone()));
    ScriptedModel::answering(move |request| match outputs(request) {
        outputs if outputs.is_empty() => turn.clone(),
        outputs => ScriptedTurn::text(Value::from(outputs).to_string()),
    })
}

async fn calls_that_need_nobody_are_made_before_a_pause_and_the_others_as_people_decide(store: Store) {
    let (looked, deleted): (Called, Called) = Default::default();
    let wanted = [("delete", number(1)), ("look", number(2)), ("delete", number(3)), ("look", number(4))];
    let model = wants(&wanted);
    let agent = Agent::builder("a").model(model.clone()).tool(noting("look", &looked));
    // One call at a time: those that wait for people are in nobody's way.
    let agent = agent.tool(noting("delete", &deleted).requires_confirmation()).parallel_tool_calls(1);
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();

    let output = paused(&run).await;
    assert_eq!((calls(&looked), calls(&deleted)), (vec![2, 4], vec![]));
    let asked: Vec<_> = output.requirements.iter().map(|one| (&*one.name, one.kind)).collect();
    assert_eq!(asked, [("delete", RequirementKind::Confirmation); 2]);
    let details = json!({ "tool_call_id": "call_1_3", "tool_name": "delete", "tool_args": { "number": 3 } });
    assert_eq!(output.requirements[1].details.as_json(), &details);
    assert_eq!((text(&output), output.tools.len()), ("Well. ", 2));

    let [first, third] = [0, 1].map(|place| output.requirements[place].requirement_id);
    let refused = run.continue_run([Decision::confirm(first), Decision::answer(third, 3)]).await.unwrap_err();
    assert!(refused.to_string().contains("`delete` must confirm or reject"), "{refused}");
    run.continue_run([Decision::confirm(first), Decision::reject(third, "we need it")]).await.unwrap();

    let output = settled(&run).await;
    let told = json!([1, 2, "the call of `delete` was rejected: we need it", 4]);
    assert_eq!(text(&output), told.to_string(), "{:?}", output.error);
    assert_eq!((calls(&looked), calls(&deleted)), (vec![2, 4], vec![1]));
    let made: Vec<_> = output.tools.iter().map(|call| (&*call.tool_call_id, call.confirmed)).collect();
    let expected = [("call_1_1", Some(true)), ("call_1_2", None), ("call_1_4", None), ("call_1_3", Some(false))];
    assert_eq!(made, expected, "as they began, or were remembered, in the last attempt");
    assert!(output.tools[3].tool_call_error && output.tools[..3].iter().all(|call| call.metrics.is_some()));
    assert_eq!(model.requests().len(), 2, "the first turn is not asked for again");
    let log = log(&runtime, run.run_id()).await;
    let turn = ["ModelRequestStarted", "RunContent", "ModelRequestCompleted"];
    let done = ["ToolCallStarted", "ToolCallCompleted"];
    let pause = ["RunPaused", "RunContinued", "RunStarted"];
    let expected =
        [&["RunStarted"], &turn[..], &done, &done, &pause, &done, &["ToolCallStarted", "ToolCallError"], &turn];
    let mut happened = names(&log);
    // How many pieces a text comes in depends on the time that it takes.
    happened.dedup_by(|next, one| next == one && one == "RunContent");
    assert_eq!(happened, [&expected.concat()[..], &["RunCompleted"]].concat());
    let ended = |id: &str| {
        let ends = log.iter().map(|event| serde_json::to_value(event).unwrap());
        let mut ends = ends.filter(|event| event["event"] != "ToolCallStarted" && event["tool"]["tool_call_id"] == id);
        ends.next().unwrap()["tool"].clone()
    };
    let (first, third) = (ended("call_1_1"), ended("call_1_3"));
    assert_eq!((&first["confirmed"], &first["result"]), (&json!(true), &json!(1)));
    assert_eq!((&third["confirmed"], &third["confirmation_note"]), (&json!(false), &json!("we need it")));
}

#[derive(Deserialize, JsonSchema)]
struct Payment {
    purpose: String,
    account: String,
    express: Option<bool>,
}

async fn what_people_fill_in_goes_to_the_tool_and_not_to_the_model(store: Store) {
    let model = wants(&[("pay", json!({ "purpose": "tea" }))]);
    let pay = Tool::new("pay", "Pays.", |_: ToolContext, args: Payment| async move {
        Ok(json!([args.purpose, args.account.len(), args.express]))
    });
    let question =
        Question::new("From where?").field("account", InputKind::Text).optional("express", InputKind::Boolean);
    let runtime = start(store, Agent::builder("a").model(model.clone()).tool(pay.requires_input(question))).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();

    let output = paused(&run).await;
    let asked = &output.requirements[0];
    assert_eq!((asked.kind, asked.fields.len()), (RequirementKind::UserInput, 2));
    let details = json!({
        "tool_call_id": "call_1_1", "tool_name": "pay", "tool_args": { "purpose": "tea" }, "question": "From where?",
    });
    assert_eq!(asked.details.as_json(), &details);
    for wrong in [Decision::confirm(id(&output)), Decision::answer(id(&output), json!({ "purpose": "coffee" }))] {
        assert!(matches!(run.continue_run([wrong]).await.unwrap_err(), Error::Invalid(_)));
    }
    run.continue_run([Decision::answer(id(&output), json!({ "account": "secret" }))]).await.unwrap();

    assert_eq!(text(&settled(&run).await), r#"[["tea",6,null]]"#);
    let heard = serde_json::to_string(&format!("{:?}", model.requests()[1].messages.last())).unwrap();
    assert!(!heard.contains("secret"));
    let calls = &model.requests()[1].messages[1].tool_calls;
    assert_eq!(calls[0].arguments, r#"{"purpose":"tea"}"#);
    let log = log(&runtime, run.run_id()).await;
    let ended = log.iter().find_map(|event| match &event.kind {
        RunEventKind::ToolCallCompleted { tool } => Some(tool),
        _ => None,
    });
    assert_eq!(ended.unwrap().user_input, Some(json!({ "account": "secret" }).into()));
}

async fn what_people_have_filled_in_wrongly_is_not_quoted_to_the_model(store: Store) {
    let model = wants(&[("note", json!({}))]);
    let called = Called::default();
    let asks = Question::new("Which?").field("number", InputKind::Text);
    let agent = Agent::builder("a").model(model.clone()).tool(noting("note", &called).requires_input(asks));
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    let asked = id(&paused(&run).await);
    run.continue_run([Decision::answer(asked, json!({ "number": "secret" }))]).await.unwrap();

    let output = settled(&run).await;
    assert_eq!(text(&output), r#"["bad arguments for `note`: at `number`: expected u64"]"#);
    assert_eq!(outputs(&model.requests()[1]), [json!("bad arguments for `note`: at `number`: expected u64")]);
    assert!(calls(&called).is_empty());
    let log = log(&runtime, run.run_id()).await;
    let error = log.iter().find_map(|event| match &event.kind {
        RunEventKind::ToolCallError { error, .. } => Some(error.to_string()),
        _ => None,
    });
    assert!(!error.unwrap().contains("secret"));
}

async fn what_was_executed_elsewhere_is_the_output_of_the_call(store: Store) {
    let model = wants(&[("post", number(1)), ("post", number(2))]);
    let post = Tool::executed_elsewhere::<Number>("post", "Posts a letter.");
    let runtime = start(store, Agent::builder("a").model(model).tool(post)).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    let output = paused(&run).await;
    let [one, other] = [0, 1].map(|place| output.requirements[place].requirement_id);
    let refused = run.continue_run([Decision::answer(one, 1), Decision::confirm(other)]).await.unwrap_err();
    assert!(refused.to_string().contains("`post` must be a value"), "{refused}");
    let partial = run.continue_run([Decision::answer(one, 1)]).await.unwrap_err();
    assert!(partial.to_string().contains(&other.to_string()), "{partial}");
    let result = json!({ "posted": "at noon" });
    run.continue_run([Decision::answer(other, result.clone()), Decision::answer(one, "lost")]).await.unwrap();
    assert_eq!(text(&settled(&run).await), json!(["lost", result]).to_string());
}

async fn nobody_is_asked_about_a_call_that_cannot_be(store: Store) {
    let deleted = Called::default();
    let model = wants(&[("delete", json!({ "number": "one" })), ("drop", number(1)), ("pay", json!({ "purpose": 5 }))]);
    let pay = Tool::new("pay", "Pays.", |_: ToolContext, args: Payment| async { Ok(args.purpose) });
    let pay = pay.requires_input(Question::new("From where?").field("account", InputKind::Text));
    let agent = Agent::builder("a").model(model).tool(noting("delete", &deleted).requires_confirmation()).tool(pay);
    let runtime = start(store, agent).await;
    let output = settled(&runtime.submit(NewRun::new("a", "go")).await.unwrap()).await;
    assert!(text(&output).contains("bad arguments for `delete`: at `number`"), "{output:?}");
    assert!(text(&output).contains("bad arguments for `pay`: at `purpose`"), "{output:?}");
    assert!(text(&output).contains("unknown tool `drop`") && calls(&deleted).is_empty());
}

async fn a_tool_of_a_run_that_is_cancelled_while_it_waits_is_never_called(store: Store) {
    let deleted = Called::default();
    let model = wants(&[("delete", number(1))]);
    let agent = Agent::builder("a").model(model.clone()).tool(noting("delete", &deleted).requires_confirmation());
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    let confirm = Decision::confirm(id(&paused(&run).await));
    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);
    let refused = run.continue_run([confirm]).await.unwrap_err();
    assert!(matches!(refused, Error::NotPaused { status: RunStatus::Cancelled, .. }), "{refused:?}");
    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
    assert_eq!(soon(runtime.shutdown(LONG)).await.lost, 0);
    assert_eq!((calls(&deleted), model.requests().len()), (vec![], 1));
}

async fn of_two_who_confirm_at_the_same_time_one_makes_the_call(store: Store) {
    let deleted = Called::default();
    let agent = Agent::builder("a").model(wants(&[("delete", number(1))]));
    let runtime = start(store, agent.tool(noting("delete", &deleted).requires_confirmation())).await;
    for round in 1..=5 {
        let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
        let confirm = Decision::confirm(id(&paused(&run).await));
        let (one, other) = tokio::join!(run.continue_run([confirm.clone()]), run.continue_run([confirm]));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_eq!(text(&settled(&run).await), "[1]");
        assert_eq!(calls(&deleted).len(), round);
    }
}

#[tokio::test]
async fn a_model_that_wants_more_decided_than_people_can_be_asked_is_told_so() {
    let deleted = Called::default();
    let all: Vec<_> = (1..=102).map(|n| ("delete", number(n))).collect();
    let agent = Agent::builder("a").model(wants(&all)).tool(noting("delete", &deleted).requires_confirmation());
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    let output = paused(&run).await;
    assert_eq!((output.requirements.len(), output.tools.len()), (100, 2));
    let decide = |one: &greenroom::Requirement| Decision::reject(one.requirement_id, "no");
    run.continue_run(output.requirements.iter().map(decide)).await.unwrap();
    let output = settled(&run).await;
    assert_eq!(text(&output).matches("was rejected: no").count(), 100, "{output:?}");
    assert_eq!(text(&output).matches("nobody can be asked").count(), 2);
    assert!(calls(&deleted).is_empty());
}
