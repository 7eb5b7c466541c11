//! What the stores cannot hold, and what is too large.

use greenroom::schemars::JsonSchema;
use greenroom::{
    Agent, AgentError, Decision, Error, FailureKind, NewRun, RunContext, RunEventKind, RunOutput, RunQuery, RunStatus,
    Runtime, ScriptedModel, ScriptedTurn, Store, Tool, ToolContext,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::people::{id, paused};
use crate::support::{log, on_each_store, settled, start, text};

on_each_store!(
    a_nul_in_what_an_agent_says_is_replaced,
    what_an_agent_says_can_be_read_however_deeply_it_is_nested,
    what_is_submitted_is_not_nested_too_deeply,
);

async fn a_nul_in_what_an_agent_says_is_replaced(store: Store) {
    let talker = Agent::builder("talker").code(|cx: RunContext| async move {
        cx.emit_text("a\0b").await;
        cx.emit("news\0", json!({"k\0": "v\0"})).await?;
        match cx.input().as_text() {
            Some("fail") => Err(AgentError::new("bad\0")),
            Some("panic") => panic!("worse\0"),
            _ => Ok(json!({"k\0": ["v\0"]})),
        }
    });
    let model = Agent::builder("model").model(ScriptedModel::new([ScriptedTurn::text("a\0b")]));
    let runtime = Runtime::builder().store(store).agent(talker).agent(model).start().await.unwrap();
    let run = async |agent, input| settled(&runtime.submit(NewRun::new(agent, input)).await.unwrap()).await;

    let said = run("model", "go").await;
    assert_eq!((said.status, text(&said)), (RunStatus::Completed, "a\u{fffd}b"));
    let returned = run("talker", "go").await;
    assert_eq!(returned.content, Some(json!({"k\u{fffd}": ["v\u{fffd}"]}).into()));
    let event = &log(&runtime, returned.run_id).await[2].kind;
    let expected =
        RunEventKind::CustomEvent { name: "news\u{fffd}".to_owned(), data: json!({"k\u{fffd}": "v\u{fffd}"}).into() };
    assert_eq!(*event, expected);
    let message = |output: RunOutput| output.error.unwrap().message;
    assert_eq!(message(run("talker", "fail").await), "bad\u{fffd}");
    assert_eq!(message(run("talker", "panic").await), "worse\u{fffd}");
}

/// Around the most that is stored as it is, and around the most that could be read again.
const DEPTHS: [usize; 8] = [100, 101, 124, 125, 126, 127, 128, 300];

#[derive(Deserialize, JsonSchema)]
struct Dig {
    levels: usize,
    #[serde(rename = "at")]
    _at: Value,
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!("core"), |inner, _| json!([inner]))
}

async fn what_an_agent_says_can_be_read_however_deeply_it_is_nested(store: Store) {
    let talker = Agent::builder("talker").code(|cx: RunContext| async move {
        let levels = cx.input_as::<usize>()?;
        cx.emit("news", nested(levels)).await?;
        Ok(nested(levels))
    });
    let asking = Agent::builder("asking").code(|cx: RunContext| async move {
        let details = nested(cx.input_as()?);
        cx.confirm("all this", details).await.map(|said| said.confirmed)
    });
    let model = ScriptedModel::answering(|request| match request.messages.last().unwrap().content.as_json().as_u64() {
        Some(levels) => {
            ScriptedTurn::text("").then_call("dig", json!({ "levels": levels, "at": nested(levels as usize - 1) }))
        }
        None => ScriptedTurn::text("done"),
    });
    let dig = Tool::new("dig", "Digs.", |_: ToolContext, args: Dig| async move { Ok(nested(args.levels)) });
    let digging = Agent::builder("digging").model(model).tool(dig);
    let runtime = Runtime::builder().store(store).agent(talker).agent(asking).agent(digging).start().await.unwrap();

    for levels in DEPTHS {
        for agent in ["talker", "digging"] {
            let run = runtime.submit(NewRun::new(agent, levels).session_id("s")).await.unwrap();
            let output = settled(&run).await;
            assert_eq!(output.status, RunStatus::Completed, "{agent} {levels}: {output:?}");
            let written = serde_json::to_string(&log(&runtime, run.run_id()).await).unwrap();
            assert!(written.contains("core"), "{agent} {levels}");
        }
        let run = runtime.submit(NewRun::new("asking", levels)).await.unwrap();
        let paused = paused(&run).await;
        assert!(paused.requirements[0].details.to_string().contains("core"));
        run.continue_run([Decision::confirm(id(&paused))]).await.unwrap();
        assert_eq!(settled(&run).await.content, Some(true.into()));
    }
    assert_eq!(runtime.list(RunQuery::new().session_id("s")).await.unwrap().runs.len(), 2 * DEPTHS.len());
}

async fn what_is_submitted_is_not_nested_too_deeply(store: Store) {
    let asking =
        Agent::builder("asking").code(|cx: RunContext| async move { cx.execute_elsewhere::<Value, _>("x", 1).await });
    let runtime = start(store, asking).await;
    let run = runtime.submit(NewRun::new("asking", nested(100))).await.unwrap();
    let paused = paused(&run).await;
    let refused = |error: Option<Error>, field: &str| {
        let Some(Error::Invalid(invalid)) = error else { panic!("{error:?}") };
        assert_eq!(invalid.field(), field);
        assert!(invalid.to_string().contains("at most 100 levels"), "{invalid}");
    };
    for levels in DEPTHS.into_iter().filter(|levels| *levels > 100) {
        let deep = json!({ "k": nested(levels - 1) });
        let metadata = deep.as_object().unwrap().clone();
        refused(runtime.submit(NewRun::new("asking", deep.clone())).await.err(), "input");
        refused(runtime.submit(NewRun::new("asking", 1).metadata(metadata)).await.err(), "metadata");
        refused(run.continue_run([Decision::answer(id(&paused), deep)]).await.err(), "decisions");
    }
    run.continue_run([Decision::answer(id(&paused), nested(100))]).await.unwrap();
    assert_eq!(settled(&run).await.content, Some(nested(100).into()));
}

#[tokio::test]
async fn a_content_that_is_too_large_fails_the_run() {
    let talker = Agent::builder("talker").code(|cx: RunContext| async move {
        for piece in cx.input_as::<Vec<String>>()? {
            cx.emit_text(piece).await;
        }
        Ok("x".repeat(11))
    });
    let echo = Agent::builder("echo").model(ScriptedModel::echo());
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(talker).agent(echo);
    let runtime = builder.max_output(10).start().await.unwrap();
    let run = async |agent, input| settled(&runtime.submit(NewRun::new(agent, input)).await.unwrap()).await;

    assert_eq!(text(&run("echo", json!("0123456789")).await), "0123456789");
    let cases = [
        ("talker", json!([]), ""),
        ("talker", json!(["some"]), "some"),
        ("talker", json!(["12345678é", "more"]), "12345678é"),
        ("talker", json!(["123456789é"]), "123456789"),
        ("echo", json!("0123456789a"), "0123456789"),
    ];
    for (agent, input, partial) in cases {
        let output = run(agent, input).await;
        assert_eq!(output.status, RunStatus::Error);
        assert_eq!(output.error.as_ref().unwrap().kind, FailureKind::OutputTooLarge);
        assert_eq!(text(&output), partial);
    }
}

#[tokio::test]
async fn the_largest_input_comes_back_whole() {
    let echo = Agent::builder("echo").code(|cx: RunContext| async move { Ok(cx.input().clone()) });
    let runtime = start(Store::sqlite_in_memory(), echo).await;
    let input = "é".repeat(512 * 1024);

    let run = runtime.submit(NewRun::new("echo", input.as_str())).await.unwrap();

    assert_eq!(text(&settled(&run).await), input);
}
