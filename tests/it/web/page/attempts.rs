//! What the page shows of the output of a run that is attempted again.

use std::time::Duration;

use greenroom::model::{ModelError, ModelErrorKind};
use greenroom::schemars::{self, JsonSchema};
use greenroom::{
    Agent, AgentError, NewRun, RetryPolicy, RunContext, RunHandle, ScriptedModel, ScriptedTurn, Store, Tool,
    ToolContext,
};
use serde::Deserialize;
use serde_json::json;

use super::super::{Service, submitted};
use super::browser::Browser;
use crate::support::{Gate, settled, start};

fn shows(output: &str) -> String {
    format!("document.querySelector('.output').innerText === {}", json!(output))
}

/// Lets the run go on to its end, after which the page shows this and complains of nothing.
async fn goes_on_to(output: &str, run: &RunHandle, gate: &Gate, browser: Browser) {
    gate.open(1);
    browser.until(&shows(output)).await;
    settled(run).await;
    browser.assert_content(&[]).await;
    browser.close().await;
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// A tool that returns when it is let pass.
fn look(gate: &Gate) -> Tool {
    let gate = gate.clone();
    Tool::new("look", "Looks.", move |_: ToolContext, _: Nothing| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok("all is well")
        }
    })
}

#[tokio::test]
async fn what_was_said_before_a_pause_is_still_there_after_it() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let model = ScriptedModel::new([
        ScriptedTurn::text("May I look? ").then_call("look", json!({})),
        ScriptedTurn::text("All is well."),
    ]);
    let agent = Agent::builder("careful").model(model).tool(look(&gate).requires_confirmation());
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("careful", "hi")).await;
    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;
    browser.until(&shows("May I look? ")).await;

    browser.click(".needs input[value=yes]").await;
    browser.click(".needs button").await;
    browser.until("document.querySelector('.timeline').innerText.includes('attempt 2')").await;
    gate.arrivals(1).await;

    browser.until(&shows("May I look? ")).await;
    browser.until("document.querySelector('.output').checkVisibility()").await;
    browser
        .until("document.querySelector('main').innerText.includes('Attempt 2 goes on from what it remembers')")
        .await;
    browser.picture("attempt").await;
    goes_on_to("All is well.", &run, &gate, browser).await;
}

#[tokio::test]
async fn what_a_failed_attempt_has_finished_stays_and_the_rest_of_it_goes() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    gate.open(1);
    let model = ScriptedModel::new([
        ScriptedTurn::text("Let me look. ").then_call("look", json!({})),
        ScriptedTurn::text("All is ").then_fail(ModelError::new(ModelErrorKind::Server, "come back later")),
        ScriptedTurn::text("I look again. ").then_call("look", json!({})),
        ScriptedTurn::text("All is well."),
    ]);
    let agent = Agent::builder("patient").model(model).tool(look(&gate)).max_attempts(2);
    let runtime = start(Store::sqlite_in_memory(), agent.retry(RetryPolicy::new(Duration::ZERO))).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("patient", "hi")).await;
    gate.arrivals(2).await;

    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;

    browser.until(&shows("Let me look. I look again. ")).await;
    goes_on_to("All is well.", &run, &gate, browser).await;
}

#[tokio::test]
async fn of_code_that_begins_again_only_the_latest_attempt_is_shown() {
    let Some(browser) = Browser::open().await else { return };
    let gate = Gate::new();
    let passed = gate.clone();
    let flaky = Agent::builder("flaky").code(move |cx: RunContext| {
        let gate = passed.clone();
        async move {
            cx.emit_text(format!("attempt {}", cx.attempt())).await;
            if cx.attempt() == 1 {
                return Err(AgentError::new("not yet"));
            }
            gate.pass().await;
            Ok("done")
        }
    });
    let agent = flaky.max_attempts(2).retry(RetryPolicy::new(Duration::ZERO));
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let service = Service::of(&runtime);
    let run = submitted(&runtime, NewRun::new("flaky", "hi")).await;
    gate.arrivals(1).await;

    browser.goto(&service.url(&format!("/api/#/runs/{}", run.run_id()))).await;

    browser.until(&shows("attempt 2")).await;
    goes_on_to("done", &run, &gate, browser).await;
}
