//! Which tools there can be, and how arguments are read.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tracing::span::Id;
use tracing::{Instrument, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::people::filled_in;
use super::{Tool, ToolContext};
use crate::agent::{
    Agent, AgentBuilder, CancelSignal, Childless, Forgetful, InvalidAgent, Needs, RetryPolicy, RunContext,
    RunContextParts, ScriptedModel, StepMemory, reports,
};
use crate::run::{InputKind, Question};
use crate::store::conformance::samples::unowned;

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only its form matters")]
struct Order {
    items: Vec<u8>,
}

fn tool(name: &str, description: &str) -> Tool {
    Tool::new(name, description, |_: ToolContext, _: Nothing| async { Ok(()) })
}

fn agent() -> AgentBuilder {
    Agent::builder("a").model(ScriptedModel::echo())
}

#[test]
fn a_tool_that_cannot_be_is_refused_by_its_name() {
    let long = "x".repeat(65);
    let items = || Question::new("?").field("items", InputKind::Json);
    let twice = items().field("items", InputKind::Json);
    let bad_retry = RetryPolicy::new(std::time::Duration::ZERO).factor(0.0);
    for (tools, name, problem) in [
        (vec![tool("", "d")], "", "1 to 64"),
        (vec![tool(&long, "d")], long.as_str(), "1 to 64"),
        (vec![tool("a b", "d")], "a b", "letters"),
        (vec![tool("é", "d")], "é", "letters"),
        (vec![tool("a", " ")], "a", "description"),
        (vec![tool("a", "d"), tool("b", "d"), tool("a", "e")], "a", "another tool"),
        (vec![tool("a", "d").timeout(std::time::Duration::ZERO)], "a", "timeout"),
        (vec![tool("a", "d").retries(1, bad_retry)], "a", "retry"),
        (vec![tool("a", "d").requires_confirmation().requires_confirmation()], "a", "not two of them"),
        (vec![Tool::executed_elsewhere::<Order>("a", "d").requires_confirmation()], "a", "not two of them"),
        (vec![tool("a", "d").requires_input(Question::new("?"))], "a", "must have a field"),
        (vec![tool("a", "d").requires_input(twice)], "a", "the field `items` twice"),
        (vec![tool("a", "d").requires_input(items())], "a", "`items`, which is no argument"),
        (vec![Tool::new("a", "d", |_: ToolContext, _: Vec<u8>| async { Ok(()) })], "a", "struct"),
        (vec![Tool::new("a", "d", |_: ToolContext, (): ()| async { Ok(()) })], "a", "struct"),
    ] {
        let error = tools.into_iter().fold(agent(), AgentBuilder::tool).build().unwrap_err();
        let InvalidAgent::Tool { agent, tool, problem: found } = &error else { panic!("{error:?}") };
        assert!(agent == "a" && tool == name && found.contains(problem), "{error}");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
    let elsewhere = Tool::executed_elsewhere::<Order>("elsewhere", "d");
    let fine = agent().tool(tool(&"x".repeat(64), "d")).tool(tool("Aa_0-", "d")).tool(elsewhere);
    fine.build().unwrap();
}

#[test]
fn the_model_is_not_told_of_arguments_that_people_fill_in() {
    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its form matters")]
    struct Payment {
        purpose: String,
        account: String,
        code: Option<u32>,
    }
    let pay = Tool::new("pay", "d", |_: ToolContext, _: Payment| async { Ok(()) });
    let asks = Question::new("?").field("account", InputKind::Text).optional("code", InputKind::Integer);
    let asking = pay.clone().requires_input(asks);
    let names = |tool: &Tool| {
        let parameters = tool.spec().parameters;
        let properties: Vec<String> = parameters["properties"].as_object().unwrap().keys().cloned().collect();
        (properties, parameters["required"].as_array().unwrap().len(), tool.spec().strict)
    };
    assert_eq!(names(&pay).1, 3);
    assert_eq!(names(&asking), (vec!["purpose".to_owned()], 1, true));
    assert!(asking.check("[]").is_err() && pay.check(r#"{"purpose": "a"}"#).is_err());
    let added = json!({"account": "b", "purpose": "c"}).as_object().cloned().unwrap();
    let all = filled_in(r#"{"purpose": "a", "more": 1}"#, added).unwrap();
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all, json!({"purpose": "c", "more": 1, "account": "b"}), "people have the last word");
}

#[test]
fn people_are_not_asked_to_fill_in_what_cannot_be_the_tools() {
    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its form matters")]
    struct Payment {
        account: String,
        amount: u32,
        purpose: String,
        note: Option<String>,
    }
    let asks = || Question::new("?").field("account", InputKind::Text);
    let pay = Tool::new("pay", "d", |_: ToolContext, _: Payment| async { Ok(()) }).requires_input(asks());
    for (arguments, problem) in [
        (r#"{"amount": 1, "purpose": 5}"#, "at `purpose`: invalid type: integer `5`, expected a string"),
        (r#"{"amount": -1, "purpose": "a"}"#, "at `amount`: invalid value"),
        (r#"{"purpose": "a"}"#, "missing field `amount`"),
        ("", "missing field `amount`"),
        ("[]", "invalid type: sequence"),
    ] {
        let error = pay.check(arguments).unwrap_err();
        assert!(error.starts_with(problem), "{arguments}: {error}");
    }
    // What is left out may be, and what people are to say is not the model's.
    for arguments in
        [r#"{"amount": 1, "purpose": "a"}"#, r#"{"amount": 1, "purpose": "a", "account": 5, "note": null}"#]
    {
        assert_eq!(pay.check(arguments), Ok(()), "{arguments}");
    }
    let schema = json!({
        "type": "object", "properties": {"account": {"type": "string"}, "amount": {"type": "integer"}}, "required": ["amount"],
    });
    let unchecked = Tool::with_schema("pay", "d", schema, |_: ToolContext, _| async { Ok(()) }).requires_input(asks());
    assert_eq!(unchecked.check("{}"), Ok(()));
}

#[test]
fn what_only_a_model_can_use_is_refused_without_one() {
    let code = || Agent::builder("a").code(|_| async { Ok(()) });
    assert_eq!(code().tool(tool("t", "d")).build().unwrap_err(), InvalidAgent::ToolsWithoutModel("a".to_owned()));
    assert_eq!(code().output::<Order>().build().unwrap_err(), InvalidAgent::OutputWithoutModel("a".to_owned()));
    for (builder, field) in [
        (agent().max_turns(0), "max_turns"),
        (agent().max_tokens(0), "max_tokens"),
        (agent().parallel_tool_calls(0), "parallel_tool_calls"),
        (agent().output::<Vec<u8>>(), "output"),
    ] {
        let error = builder.build().unwrap_err();
        let named = |agent: &str| agent == "a" && error.to_string().contains("agent `a`: `");
        let InvalidAgent::Field { agent, invalid } = &error else { panic!("{error:?}") };
        assert!(named(agent) && invalid.field() == field, "{error}");
    }
    for (builder, setting) in [
        (code().max_turns(50), "max_turns"),
        (code().max_tool_calls(1), "max_tool_calls"),
        (code().max_tokens(1), "max_tokens"),
        (code().parallel_tool_calls(8), "parallel_tool_calls"),
        (code().repair_output(true), "repair_output"),
    ] {
        let expected = InvalidAgent::SettingWithoutModel { agent: "a".to_owned(), setting };
        assert_eq!(builder.build().unwrap_err(), expected);
    }
    let repaired = agent().repair_output(true);
    assert_eq!(repaired.build().unwrap_err(), InvalidAgent::RepairWithoutOutput("a".to_owned()));
    agent().output::<Order>().repair_output(true).build().unwrap();
}

#[test]
fn a_blocking_tool_that_has_not_begun_never_does_once_its_call_is_dropped() {
    let threads = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let calls = Arc::new(AtomicU32::new(0));
    let noted = Arc::clone(&calls);
    let tool =
        Tool::blocking("count", "Counts.", move |_: ToolContext, _: Nothing| Ok(noted.fetch_add(1, Ordering::AcqRel)));
    threads.block_on(async {
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let mut dropped = tool.begin(context(), "{}").unwrap();
        assert!(futures_util::poll!(&mut dropped).is_pending());
        drop(dropped);
        let kept = tool.begin(context(), "{}").unwrap();
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(kept.await.unwrap().as_json(), 0);
    });
    assert_eq!(calls.load(Ordering::Acquire), 1);
}

/// The threads on which a span was entered.
#[derive(Clone, Default)]
struct Entered(Arc<Mutex<HashSet<ThreadId>>>);

impl<S: Subscriber> Layer<S> for Entered {
    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().insert(std::thread::current().id());
    }
}

#[tokio::test]
async fn a_blocking_tool_is_in_the_span_of_its_call() {
    let entered = Entered::default();
    let _subscriber = tracing_subscriber::registry().with(entered.clone()).set_default();
    let tool = Tool::blocking("where", "Says where it is.", |_: ToolContext, _: Nothing| {
        Ok(format!("{:?}", std::thread::current().id()))
    });

    let call = tool.begin(context(), "{}").unwrap().instrument(tracing::info_span!("call"));
    let thread = call.await.unwrap().to_string();

    let entered = entered.0.lock().unwrap();
    assert!(entered.len() == 2 && entered.iter().any(|id| format!("{id:?}") == thread), "{thread}: {entered:?}");
}

fn context() -> ToolContext {
    let (reports, _) = reports();
    let run = Arc::new(unowned().run);
    let steps = StepMemory::new(1, Vec::new(), 1000);
    let key = steps.call("tool count").unwrap().key(run.output.run_id);
    let (history, cancel) = (Vec::new(), CancelSignal::default());
    let parts = RunContextParts {
        run,
        history,
        reports,
        cancel,
        steps,
        max_event: 1000,
        needs: Needs::new(1000),
        children: Arc::new(Childless),
        session: Arc::new(Forgetful),
        span: Arc::default(),
    };
    ToolContext::new(RunContext::new(parts), "call_1", key)
}
