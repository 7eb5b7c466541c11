//! What the stores cannot hold, and what is too large.

use greenroom::{
    Agent, AgentError, FailureKind, NewRun, RunContext, RunEventKind, RunOutput, RunStatus, Runtime, ScriptedModel,
    ScriptedTurn, Store,
};
use serde_json::json;

use crate::support::{log, on_each_store, settled, start, text};

on_each_store!(a_nul_in_what_an_agent_says_is_replaced);

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
