//! A model that calls a tool three times: twice in its first turn, and once in its second.

use std::time::Duration;

use greenroom::model::{ModelRequest, Role};
use greenroom::{AgentBuilder, ScriptedModel, ScriptedTurn, Tool, ToolContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::What;
use crate::worker::notes::Notes;

#[derive(Deserialize, JsonSchema)]
struct Arguments {
    /// The position of the call among the steps of its run.
    step: u32,
}

pub(super) fn with_tools(agent: AgentBuilder, notes: &Notes) -> AgentBuilder {
    let notes = notes.clone();
    let tool = Tool::new("work", "Works.", move |cx: ToolContext, Arguments { step }: Arguments| {
        let notes = notes.clone();
        async move {
            notes.note(cx.run_id(), cx.attempt(), What::Work { step });
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(cx.attempt())
        }
    });
    agent.model(ScriptedModel::answering(|request| turn(request).delay(Duration::from_millis(20)))).tool(tool)
}

/// What the model says next; in the end, what its calls have returned.
fn turn(request: &ModelRequest) -> ScriptedTurn {
    let call = |turn: ScriptedTurn, step: u32| turn.then_call("work", json!({ "step": step }));
    let heard = request.messages.iter().filter(|message| message.role == Role::Tool);
    let outputs: Vec<&Value> = heard.map(|message| message.content.as_json()).collect();
    match outputs.len() {
        0 => [1, 2].into_iter().fold(ScriptedTurn::default(), call),
        2 => call(ScriptedTurn::default(), 4),
        _ => ScriptedTurn::text(json!(outputs).to_string()),
    }
}
