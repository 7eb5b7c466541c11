//! Turns and calls, by paused time and without a store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::system_text;
use crate::agent::{
    Agent, AgentBuilder, AgentError, CancelSignal, Childless, Forgetful, ModelRequest, Needs, Report, RetryPolicy,
    RunContext, RunContextParts, ScriptedModel, ScriptedTurn, StepMemory, Tool, ToolContext, reports,
};
use crate::run::{Content, RunEventKind, StepRecord};
use crate::store::conformance::samples::unowned;

mod ends;

/// A run without actors: what it reports is durable as soon as the scene allows it.
struct Scene {
    cx: RunContext,
    cancel: CancelSignal,
    durable: Arc<Semaphore>,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    events: Vec<RunEventKind>,
    steps: Vec<StepRecord>,
    recalled: Vec<String>,
}

const LARGEST: usize = 1000;

impl Scene {
    fn new() -> Self {
        Self::after(Vec::new())
    }

    /// An attempt that goes on from these steps.
    fn after(steps: Vec<StepRecord>) -> Self {
        let (reports, reported) = reports();
        let cancel = CancelSignal::default();
        let (told, durable): (Arc<Mutex<Told>>, _) = (Arc::default(), Arc::new(Semaphore::new(1000)));
        let cx = RunContext::new(RunContextParts {
            run: Arc::new(unowned().run),
            history: Vec::new(),
            reports,
            cancel: cancel.clone(),
            steps: StepMemory::new(1, steps, LARGEST),
            max_event: LARGEST,
            needs: Needs::new(LARGEST),
            children: Arc::new(Childless),
            session: Arc::new(Forgetful),
            span: Arc::default(),
        });
        let (notes, allowed) = (Arc::clone(&told), Arc::clone(&durable));
        tokio::spawn(async move {
            loop {
                reported.come(false).await;
                for report in reported.take() {
                    if matches!(report, Report::Step { durable: Some(_), .. }) {
                        allowed.acquire().await.unwrap().forget();
                    }
                    let mut told = notes.lock().unwrap();
                    match report {
                        Report::Event(event) => told.events.push(event),
                        Report::Step { step, event, durable } => {
                            told.events.extend(event);
                            told.steps.push(step);
                            durable.map(|waits| waits.send(()));
                        }
                        Report::Called(_) => {}
                        Report::Recalled { text, .. } => told.recalled.push(text),
                    }
                }
            }
        });
        Self { cx, cancel, durable, told }
    }

    async fn run(&self, agent: AgentBuilder) -> Result<Content, AgentError> {
        agent.build().unwrap().work.run(self.cx.clone()).await
    }

    fn steps(&self) -> Vec<StepRecord> {
        self.told.lock().unwrap().steps.clone()
    }

    /// The events of calls, in short.
    fn calls(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let mut calls = Vec::new();
        for event in &told.events {
            if let RunEventKind::ToolCallStarted { tool } = event {
                calls.push(format!("started {}", tool.tool_call_id));
            } else if let RunEventKind::ToolCallCompleted { tool } = event {
                calls.push(format!("completed {}", tool.tool_call_id));
            } else if let RunEventKind::ToolCallError { tool, error } = event {
                calls.push(format!("failed {}: {error}", tool.tool_call_id));
            }
        }
        calls
    }
}

#[derive(Deserialize, JsonSchema)]
struct Number {
    number: i64,
}

fn number(n: i64) -> Value {
    json!({ "number": n })
}

/// Wants the tool called with each number, and then answers.
fn wants(tool: &str, numbers: &[i64]) -> ScriptedModel {
    let turn = numbers.iter().fold(ScriptedTurn::default(), |turn, n| turn.then_call(tool, number(*n)));
    ScriptedModel::new([turn, ScriptedTurn::text("done")])
}

fn agent(model: &ScriptedModel, tool: Tool) -> AgentBuilder {
    Agent::builder("a").model(model.clone()).tool(tool)
}

/// What the model was told last by its tools, in order.
fn outputs(request: &ModelRequest) -> Vec<String> {
    let of_tools = request.messages.iter().filter(|message| message.tool_call_id.is_some());
    of_tools.map(|message| message.content.to_string()).collect()
}

fn second(model: &ScriptedModel) -> Vec<String> {
    outputs(&model.requests()[1])
}

/// Takes as many seconds as its number says, and returns it.
fn slow() -> Tool {
    Tool::new("slow", "Waits.", |_: ToolContext, args: Number| async move {
        tokio::time::sleep(Duration::from_secs(args.number.unsigned_abs())).await;
        Ok(args.number)
    })
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_turn_run_beside_each_other_up_to_the_limit_and_their_outputs_are_in_their_order() {
    for (limit, seconds) in [(3, 30), (2, 30), (1, 60)] {
        let (scene, model, began) = (Scene::new(), wants("slow", &[30, 10, 20]), Instant::now());
        let content = scene.run(agent(&model, slow()).parallel_tool_calls(limit)).await.unwrap();
        assert_eq!((content.as_text(), began.elapsed()), (Some("done"), Duration::from_secs(seconds)), "{limit}");
        assert_eq!(second(&model), ["30", "10", "20"]);
        // As many places as calls, whichever ended first.
        let mut steps = scene.steps();
        steps.sort_by_key(|step| step.position);
        let outputs: Vec<Value> = steps[1..4].iter().map(|s| serde_json::from_str(&s.result).unwrap()).collect();
        assert_eq!(outputs.iter().map(|o| o["output"].clone()).collect::<Vec<_>>(), [30, 10, 20]);
        assert_eq!(steps[..4].iter().map(|step| step.position).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_tried_again_after_its_pauses_and_the_model_learns_of_the_last_try_only() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&keys);
    let flaky = Tool::new("flaky", "Fails twice.", move |cx: ToolContext, args: Number| {
        let mut keys = noted.lock().unwrap();
        keys.push(cx.idempotency_key());
        let failed = keys.len() as i64 <= args.number;
        async move { if failed { Err(AgentError::new("not yet")) } else { Ok("now") } }
    });
    let policy = RetryPolicy::new(Duration::from_secs(1)).jitter(0.0);
    let (scene, model, began) = (Scene::new(), wants("flaky", &[2]), Instant::now());
    scene.run(agent(&model, flaky.clone().retries(2, policy))).await.unwrap();
    assert_eq!((second(&model), began.elapsed()), (vec!["now".to_owned()], Duration::from_secs(3)));
    assert_eq!(scene.calls(), ["started call_1_1", "completed call_1_1"]);
    let tried = std::mem::take(&mut *keys.lock().unwrap());
    assert!(tried.len() == 3 && tried.iter().all(|key| *key == tried[0]), "{tried:?}");

    let (scene, model, began) = (Scene::new(), wants("flaky", &[9]), Instant::now());
    scene.run(agent(&model, flaky.retries(2, policy))).await.unwrap();
    assert_eq!((second(&model), keys.lock().unwrap().len()), (vec!["tool `flaky` failed: not yet".to_owned()], 3));
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(scene.calls()[1], "failed call_1_1: tool `flaky` failed: not yet");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_and_bad_arguments_are_not_tried_again() {
    let tries = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&tries);
    let never = Tool::new("never", "Fails.", move |_: ToolContext, _: Number| {
        *noted.lock().unwrap() += 1;
        async { Err::<(), _>(AgentError::new("no").permanent()) }
    });
    let never = never.retries(5, RetryPolicy::new(Duration::from_secs(1)));
    let turn = ScriptedTurn::default().then_call("never", number(1)).then_call("never", json!({ "number": "one" }));
    let model = ScriptedModel::new([turn, ScriptedTurn::text("done")]);
    let (scene, began) = (Scene::new(), Instant::now());
    scene.run(agent(&model, never)).await.unwrap();
    let told = second(&model);
    assert_eq!(told[0], "tool `never` failed: no");
    assert!(told[1].starts_with("bad arguments for `never`: at `number`: invalid type: string \"one\""), "{}", told[1]);
    assert_eq!((*tries.lock().unwrap(), began.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_takes_too_long_is_dropped_and_tried_again() {
    let (scene, model, began) = (Scene::new(), wants("slow", &[1000, 3]), Instant::now());
    let tool = slow().timeout(Duration::from_secs(5)).retries(1, RetryPolicy::new(Duration::from_secs(2)).jitter(0.0));
    scene.run(agent(&model, tool)).await.unwrap();
    assert_eq!(second(&model), ["tool `slow` failed: it took longer than 5s", "3"]);
    assert_eq!(began.elapsed(), Duration::from_secs(12));
}

#[tokio::test]
async fn what_is_no_tool_and_what_is_too_large_is_told_to_the_model() {
    let large = Tool::new("large", "Says much.", |_: ToolContext, args: Number| async move {
        Ok("x".repeat(usize::try_from(args.number).unwrap()))
    });
    let turn = ScriptedTurn::default()
        .then_call("large", number(5000))
        .then_call("tiny", json!({}))
        .then_call("\u{0} no name at all", json!({}));
    let model = ScriptedModel::new([turn, ScriptedTurn::text("done")]);
    let scene = Scene::new();
    scene.run(agent(&model, large)).await.unwrap();
    let told = second(&model);
    assert!(told[0].starts_with("tool `large` failed: its output has ") && told[0].ends_with("of 1000 at most"));
    assert_eq!(told[1], "unknown tool `tiny`: there are `large`");
    assert!(told[2].starts_with("unknown tool `\u{fffd} no name"), "{}", told[2]);
    let names: Vec<String> = scene.steps().into_iter().map(|step| step.name).collect();
    assert_eq!(names[..4], ["model turn", "tool large", "tool tiny", "tool ?"]);
}

#[tokio::test]
async fn what_earlier_attempts_remember_is_neither_asked_nor_called_again() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&calls);
    let count = Tool::new("count", "Counts.", move |cx: ToolContext, args: Number| {
        noted.lock().unwrap().push((args.number, cx.idempotency_key()));
        async move { Ok(args.number) }
    });
    let first = Scene::new();
    let model = wants("count", &[1, 2, 3]);
    first.run(agent(&model, count.clone())).await.unwrap();
    // The attempt had finished the turn, and the first and the third call.
    let mut steps = first.steps();
    steps.retain(|step| [0, 1, 3].contains(&step.position));

    let again = Scene::after(steps);
    let model = ScriptedModel::answering(|_| ScriptedTurn::text("at last"));
    let content = again.run(agent(&model, count)).await.unwrap();

    assert_eq!(content.as_text(), Some("at last"));
    assert_eq!(calls.lock().unwrap().iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3, 2]);
    assert_eq!(outputs(&model.requests()[0]), ["1", "2", "3"]);
    assert_eq!(again.calls(), ["started call_1_2", "completed call_1_2"]);
}

#[test]
fn the_system_text_is_the_description_then_the_instructions() {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    assert_eq!(system_text(None, &[]), None);
    assert_eq!(system_text(Some("A basic agent"), &[]).unwrap(), "A basic agent");
    assert_eq!(system_text(Some("A basic agent"), &texts(&["Be brief"])).unwrap(), "A basic agent\nBe brief");
    assert_eq!(system_text(None, &texts(&["Be brief", "Use markdown"])).unwrap(), "- Be brief\n- Use markdown");
}
