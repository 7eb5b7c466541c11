//! Events are as the document says.

use greenroom::schemars::JsonSchema;
use greenroom::{Agent, AgentError, NewRun, ScriptedModel, ScriptedTurn, Store, Tool, ToolContext};
use serde::Deserialize;
use serde_json::json;

use super::Document;
use crate::support::{log, names, settled, start};
use crate::web::Service;

#[derive(Deserialize, JsonSchema)]
struct Word {
    word: String,
}

#[actix_web::test]
async fn the_events_of_a_run_with_tools_are_those_of_the_document() {
    let calls = ScriptedTurn::text("Well. ").then_call("say", json!({ "word": "yes" })).then_call("say", json!("no"));
    let model = ScriptedModel::new([calls, ScriptedTurn::text("done")]);
    let say = Tool::new("say", "Says a word.", |cx: ToolContext, args: Word| async move {
        cx.emit("said", &args.word).await?;
        Ok::<_, AgentError>(json!({ "said": args.word }))
    });
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("a").model(model).tool(say)).await;
    let service = Service::of(&runtime);
    let document = Document::at(&service.url("/api")).await;
    let run = runtime.submit(NewRun::new("a", "go")).await.unwrap();
    settled(&run).await;

    let log = log(&runtime, run.run_id()).await;

    assert!(
        ["ToolCallStarted", "ToolCallCompleted", "ToolCallError"]
            .iter()
            .all(|n| names(&log).contains(&(*n).to_owned()))
    );
    for event in log {
        let event = serde_json::to_value(event).unwrap();
        document.validate("event", &json!({ "$ref": "#/components/schemas/RunEvent" }), &event);
    }
}
