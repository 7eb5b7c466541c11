//! Tools of servers of the Model Context Protocol.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom::model::{Role, ToolCall};
use greenroom::{
    Agent, McpServer, NewRun, RunEventKind, RunId, RunStatus, Runtime, ScriptedModel, ScriptedTurn, Store, Tool,
    ToolContext,
};
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::server::{OverHttp, as_a_process};
use crate::support::{LONG, log, settled, soon};

mod server;

/// A runtime whose model makes these calls, one in each turn, and then answers.
async fn runtime(tools: Vec<Tool>, calls: &[(&str, Value)]) -> (Runtime, ScriptedModel) {
    let turn = |(name, arguments): &(&str, Value)| ScriptedTurn::default().then_call(*name, arguments.clone());
    let model = ScriptedModel::new(calls.iter().map(turn).chain([ScriptedTurn::text("done")]));
    let agent = Agent::builder("caller").model(model.clone()).tools(tools);
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await.unwrap();
    (runtime, model)
}

/// What the model is told that its calls have come to.
async fn outputs(tools: Vec<Tool>, calls: &[(&str, Value)]) -> Vec<Value> {
    outputs_of(RunId::new(), tools, calls).await
}

/// What they have come to in the run with this id.
async fn outputs_of(run_id: RunId, tools: Vec<Tool>, calls: &[(&str, Value)]) -> Vec<Value> {
    let (runtime, model) = runtime(tools, calls).await;
    let run = runtime.submit(NewRun::new("caller", "go").run_id(run_id)).await.unwrap();
    assert_eq!(settled(&run).await.status, RunStatus::Completed);
    runtime.shutdown(LONG).await;
    let last = model.requests().pop().unwrap();
    let told = last.messages.iter().filter(|message| message.role == Role::Tool);
    told.map(|message| message.content.as_json().clone()).collect()
}

async fn a_servers_tools_are_called(server: McpServer, token: &str) {
    let tools = soon(server.prefix("x_").only(["add", "say.twice", "fail", "refuse", "whoami"]).tools()).await.unwrap();
    assert_eq!(tools.len(), 5);
    let calls = [
        ("x_add", json!({"a": 1, "b": 2})),
        ("x_say_twice", json!({})),
        ("x_fail", json!({})),
        ("x_refuse", json!({})),
        ("x_whoami", json!({})),
    ];

    let told = outputs(tools, &calls).await;

    assert_eq!(told[0], json!({"sum": 3}));
    assert_eq!(told[1], "again\nagain");
    assert_eq!(told[2], "tool `x_fail` failed: no such city");
    assert_eq!(told[3], "tool `x_refuse` failed: the MCP server refuses: not like that");
    assert!(told[4].as_str().unwrap().ends_with(token), "{told:?}");
}

#[tokio::test]
async fn the_tools_of_a_server_over_http_are_called() {
    let server = OverHttp::start().await;
    a_servers_tools_are_called(server.server(), "Bearer hunter2-over-http").await;
}

#[tokio::test]
async fn the_tools_of_a_server_that_is_a_process_are_called() {
    a_servers_tools_are_called(as_a_process(), "hunter2-in-the-environment").await;
}

#[tokio::test]
async fn the_model_is_told_of_a_servers_tools_as_it_describes_them() {
    let server = OverHttp::start().await;
    let (runtime, model) = runtime(soon(server.server().tools()).await.unwrap(), &[]).await;
    settled(&runtime.submit(NewRun::new("caller", "go")).await.unwrap()).await;

    let asked = model.requests().remove(0);

    assert_eq!(asked.tools.len(), 8);
    let add = asked.tools.iter().find(|tool| tool.name == "add").unwrap();
    assert_eq!((add.description.as_str(), add.strict), ("Is tried", false));
    assert_eq!(add.parameters["required"], json!(["a", "b"]));
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_server_is_told_the_key_by_which_a_tool_of_ours_would_know_the_call() {
    let server = OverHttp::start().await;
    let tools = soon(server.server().only(["key"]).tools()).await.unwrap();
    let key = async |cx: ToolContext, _| Ok(cx.idempotency_key().to_string());
    let own = vec![Tool::with_schema("key", "Tells its key", json!({"type": "object"}), key)];
    let (run_id, calls) = (RunId::new(), [("key", json!({})), ("key", json!({}))]);

    let told = outputs_of(run_id, tools, &calls).await;

    assert_eq!(told, outputs_of(run_id, own, &calls).await);
    assert_ne!(told[0], told[1]);
}

#[tokio::test]
async fn a_cancel_of_the_run_reaches_the_server() {
    let server = OverHttp::start().await;
    let (runtime, _) = runtime(soon(server.server().tools()).await.unwrap(), &[("hang", json!({}))]).await;
    let run = runtime.submit(NewRun::new("caller", "go")).await.unwrap();
    server.hanging.arrivals(1).await;

    run.cancel().await.unwrap();

    server.given_up.arrivals(1).await;
    assert_eq!(settled(&run).await.status, RunStatus::Cancelled);
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_told_to_the_server_and_to_the_model() {
    let server = OverHttp::start().await;
    let tools = soon(server.server().timeout(Duration::from_millis(200)).tools()).await.unwrap();

    let told = outputs(tools, &[("hang", json!({}))]).await;

    server.given_up.arrivals(1).await;
    assert_eq!(told, ["tool `hang` failed: it took longer than 200ms"]);
}

#[tokio::test]
async fn calls_of_one_turn_share_the_connection() {
    let server = OverHttp::start().await;
    let tools = soon(server.server().tools()).await.unwrap();
    let call = |n: i64| ToolCall::new(format!("call_{n}"), "add", json!({"a": n, "b": n}).to_string());
    let model = ScriptedModel::new([ScriptedTurn::calls((0..20).map(call)), ScriptedTurn::text("done")]);
    let agent = Agent::builder("caller").model(model.clone()).tools(tools).parallel_tool_calls(20);
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await.unwrap();

    settled(&runtime.submit(NewRun::new("caller", "go")).await.unwrap()).await;

    let last = model.requests().pop().unwrap();
    let sums: Vec<_> = last.messages.iter().filter_map(|message| message.content.as_json()["sum"].as_i64()).collect();
    assert_eq!(sums, (0..20).map(|n| 2 * n).collect::<Vec<_>>());
    runtime.shutdown(LONG).await;
}

#[tokio::test]
async fn a_server_that_has_died_is_started_again_by_the_next_call() {
    let tools = soon(as_a_process().tools()).await.unwrap();

    let told = outputs(tools, &[("die", json!({})), ("add", json!({"a": 1, "b": 2}))]).await;

    assert!(told[0].as_str().unwrap().contains("the connection to the MCP server was lost"), "{told:?}");
    assert_eq!(told[1], json!({"sum": 3}));
}

#[tokio::test]
async fn a_server_over_http_that_was_restarted_is_connected_to_again() {
    let server = Arc::new(Mutex::new(OverHttp::start().await));
    let mut tools = soon(server.lock().await.server().only(["add"]).tools()).await.unwrap();
    tools.push(Tool::with_schema("restart", "Restarts the server", json!({"type": "object"}), move |_, _| {
        let server = Arc::clone(&server);
        async move {
            server.lock().await.restart().await;
            Ok(())
        }
    }));
    let add = || ("add", json!({"a": 1, "b": 2}));

    let told = outputs(tools, &[add(), ("restart", json!({})), add()]).await;

    assert_eq!(told, [json!({"sum": 3}), Value::Null, json!({"sum": 3})]);
}

#[tokio::test]
async fn a_server_that_is_a_process_ends_with_its_agent() {
    let tools = soon(as_a_process().tools()).await.unwrap();
    let (runtime, _) = runtime(tools, &[("whoami", json!({}))]).await;
    let run = runtime.submit(NewRun::new("caller", "go")).await.unwrap();
    settled(&run).await;
    let log = log(&runtime, run.run_id()).await;
    let said = log.iter().find_map(|event| match &event.kind {
        RunEventKind::ToolCallCompleted { tool } => tool.result.clone(),
        _ => None,
    });
    let pid = said.unwrap().to_string().split(' ').next().unwrap().trim_matches('"').parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    assert!(test_kill_process(pid).is_ok(), "it runs");

    runtime.shutdown(LONG).await;
    drop((run, runtime));

    let begun = Instant::now();
    while test_kill_process(pid).is_ok() {
        assert!(begun.elapsed() < LONG, "it is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The names of the variables that a process of this server has.
async fn environment(server: impl Fn(McpServer) -> McpServer) -> HashSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("environment");
    let program = McpServer::stdio("sh").arg("-c").arg("env > \"$0\"").arg(path.to_str().unwrap());
    // It says nothing, and ends.
    soon(server(program).tools()).await.unwrap_err();
    let shown = std::fs::read_to_string(path).unwrap();
    shown.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
}

#[tokio::test]
async fn a_server_that_is_a_process_does_not_get_the_secrets_of_this_one() {
    // What a shell sets by itself.
    let usual = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "PWD", "OLDPWD", "SHLVL", "_"];
    let ours: HashSet<_> = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("CARGO_")).collect();
    assert!(!ours.is_empty(), "cargo sets some");

    let given = environment(|server| server.env("TOKEN", "hunter2")).await;
    let (more, known): (Vec<_>, Vec<_>) = given.iter().partition(|name| !usual.contains(&&***name));
    assert!(known.contains(&&"PATH".to_owned()) && more == ["TOKEN"], "{given:?}");
    assert!(environment(McpServer::inherit_env).await.is_superset(&ours));
}

#[tokio::test]
async fn what_cannot_be_a_tool_source_is_refused_without_a_secret() {
    let server = OverHttp::start().await;
    let closed = McpServer::http("http://127.0.0.1:1/hunter2").header("x-token", "hunter2");
    let missing = McpServer::stdio("/no/such/program").env("TOKEN", "hunter2").arg("hunter2");
    let silent = McpServer::stdio("sleep").arg("1000").connect_timeout(Duration::from_millis(100));
    for (server, expected) in [
        (server.server().only(["add", "missing"]), "has no tool `missing`"),
        (server.server().prefix("x".repeat(62)), "names must be 1 to 64 characters long"),
        (closed.clone(), "cannot be reached"),
        (closed.header("bad\nname", "hunter2"), "impossible characters"),
        (missing, "`/no/such/program` cannot be started"),
        (silent, "did not answer within 100ms"),
    ] {
        let shown = format!("{server:?}");
        let error = soon(server.tools()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{shown} {error} {error:?}").contains("hunter2"), "{shown} {error:?}");
    }
}
