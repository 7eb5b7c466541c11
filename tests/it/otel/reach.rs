//! How far a trace reaches: to threads of their own, and to children.

use greenroom::RunQuery;

use super::*;

#[tokio::test]
async fn what_a_blocking_tool_does_is_part_of_its_call() {
    let here = |_: ToolContext, _: City| Ok(Context::current().span().span_context().span_id().to_string());
    let turns = [ScriptedTurn::text("").then_call("here", json!({"name": "Paris"})), ScriptedTurn::text("There.")];
    let model = ScriptedModel::new(turns);
    let agent = Agent::builder("concierge").model(model).tool(Tool::blocking("here", "Says where it is.", here));

    told();
    let runtime = start(Store::sqlite_in_memory(), agent).await;

    let run = runtime.submit(NewRun::new("concierge", "where?")).await.unwrap();
    let said = settled(&run).await.tools[0].result.clone().unwrap();
    let trace = trace(run.run_id(), 1).await;

    let call = named(&trace, "execute_tool here")[0].span_context.span_id();
    assert_eq!(said.as_text(), Some(call.to_string().as_str()));
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_child_is_in_the_trace_of_its_parent_whoever_submits_it() {
    told();
    let parent = Agent::builder("parent").code(|cx: RunContext| async move {
        cx.sub_run("here", NewRun::new("near", "hi")).await?;
        // Whatever the code spawns has no current context.
        tokio::spawn(cx.sub_run("there", NewRun::new("far", "hi"))).await?
    });
    let echo = |name| Agent::builder(name).model(ScriptedModel::echo());
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(parent);
    let runtime = builder.agent(echo("near")).agent(echo("far")).start().await.unwrap();

    let run = runtime.submit(NewRun::new("parent", "go")).await.unwrap();
    assert_eq!(settled(&run).await.status, RunStatus::Completed);
    for child in runtime.list(RunQuery::new().parent_run_id(run.run_id())).await.unwrap().runs {
        trace(child.output.run_id, 1).await;
    }
    let trace = trace(run.run_id(), 1).await;

    let parent_of = |name: &str| named(&trace, name)[0].parent_span_id;
    let id_of = |name: &str| named(&trace, name)[0].span_context.span_id();
    assert_eq!(parent_of("submit near"), id_of("invoke_agent parent"));
    assert_eq!(parent_of("submit far"), id_of("submit parent"));
    for child in ["near", "far"] {
        assert_eq!(parent_of(&format!("invoke_agent {child}")), id_of(&format!("submit {child}")));
    }
    runtime.shutdown(LONG).await;
}
