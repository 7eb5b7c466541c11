//! Tools: a model calls one freely, and another only after somebody has confirmed it.
//!
//! ```text
//! cargo run --example tools
//! ```
//!
//! It needs no key: the model plays a script. Give the agent `OpenAIResponses::new("gpt-5-mini")` for a real one.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt;
use greenroom::schemars::{self, JsonSchema};
use greenroom::{
    Agent, Decision, NewRun, RunEventKind, Runtime, ScriptedModel, ScriptedTurn, Store, Tool, ToolContext,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
struct Folder {
    /// The path of the folder.
    path: String,
}

#[derive(Deserialize, JsonSchema)]
struct File {
    /// The path of the file.
    path: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let list = Tool::new("list_files", "Lists a folder.", |_: ToolContext, folder: Folder| async move {
        println!("  listing {}", folder.path);
        Ok(["a.log", "b.txt"])
    });
    let delete = Tool::new("delete_file", "Deletes a file.", |_: ToolContext, file: File| async move {
        println!("  deleting {}", file.path);
        Ok("deleted")
    })
    .requires_confirmation();
    let model = ScriptedModel::new([
        ScriptedTurn::text("Let me look. ").then_call("list_files", json!({ "path": "/tmp" })),
        ScriptedTurn::text("There is an old log. ").then_call("delete_file", json!({ "path": "/tmp/a.log" })),
        ScriptedTurn::text("I have deleted one log."),
    ]);
    let janitor = Agent::builder("janitor").model(model).tool(list).tool(delete);
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(janitor).start().await?;

    let run = runtime.submit(NewRun::new("janitor", "Delete old logs.")).await?;
    let mut events = run.subscribe(None).await?;
    while let Some(event) = events.next().await {
        let RunEventKind::RunPaused { requirements } = event?.kind else { continue };
        // For as long as people take, the run is a row in the database. They can decide from any process.
        for asked in &requirements {
            println!("  to be confirmed: {} {}", asked.name, asked.details.as_json()["tool_args"]);
        }
        run.continue_run(requirements.iter().map(|asked| Decision::confirm(asked.requirement_id))).await?;
    }
    let output = run.output().await?;
    println!("{}: {}", output.status, output.content.ok_or("the run has no content")?);
    for call in output.tools {
        println!("  {}, confirmed: {:?}", call.tool_name, call.confirmed);
    }
    runtime.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
