//! A run fails because of its answer, and is resumed: the model is asked anew.

use greenroom::schemars::{self, JsonSchema};
use greenroom::{Agent, AgentBuilder, FailureKind, OpenAIResponses, RunOutput, RunStatus, Runtime, Store};
use greenroom::{NewRun, RunHandle};
use serde::Deserialize;
use serde_json::json;

use super::{completed, created, delta, model_at, state};
use crate::scripted_openai::{Reply, Request, ScriptedOpenAi};
use crate::support::settled;

/// Whoever asks first is told this in the background; whoever looks at it again is told the same; and whoever asks anew, that it is 3.
async fn telling(first: &'static str) -> ScriptedOpenAi {
    ScriptedOpenAi::answering(move |n, request: &Request| match (request.method.as_str(), n) {
        ("POST", 0) if request.body["stream"] == true => {
            Reply::events([created("resp_1"), delta(1, first), completed(2, first)])
        }
        ("POST", 0) => state("in_progress", ""),
        ("GET", _) => state("completed", first),
        _ if request.path.ends_with("/cancel") => Reply::status(400, "invalid_request_error", "it is completed"),
        _ => state("completed", r#"{"sum":3}"#),
    })
    .await
}

fn asked(server: &ScriptedOpenAi) -> Vec<String> {
    let requests = server.requests().into_iter().filter(|request| !request.path.ends_with("/cancel"));
    requests.map(|request| request.method).collect()
}

async fn fails_and_is_resumed(agent: AgentBuilder, kind: FailureKind) -> RunOutput {
    let store = Store::sqlite_in_memory();
    let runtime = Runtime::builder().store(store).agent(agent).max_output(1024).start().await.unwrap();
    let failed: RunHandle = runtime.submit(NewRun::new("thinker", "1 + 2")).await.unwrap();
    assert_eq!(settled(&failed).await.error.unwrap().kind, kind);
    settled(&failed.resume_failed().await.unwrap()).await
}

fn agent(model: OpenAIResponses) -> AgentBuilder {
    Agent::builder("thinker").model(model)
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only its form matters")]
struct Sum {
    sum: i64,
}

#[tokio::test]
async fn an_answer_without_the_form_is_not_had_for_ever() {
    for (streaming, requests) in [(true, vec!["POST", "POST"]), (false, vec!["POST", "GET", "POST"])] {
        let server = telling("Three.").await;
        let agent = agent(model_at(&server).streaming(streaming)).output::<Sum>();

        let output = fails_and_is_resumed(agent, FailureKind::InvalidOutput).await;

        assert_eq!((output.status, output.content), (RunStatus::Completed, Some(json!({"sum": 3}).into())));
        assert_eq!(asked(&server), requests);
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_had_for_ever() {
    for (streaming, requests) in [(true, vec!["POST", "POST"]), (false, vec!["POST", "GET", "POST"])] {
        let server = telling(Box::leak("x".repeat(2048).into_boxed_str())).await;

        let output =
            fails_and_is_resumed(agent(model_at(&server).streaming(streaming)), FailureKind::OutputTooLarge).await;

        assert_eq!((output.status, output.content), (RunStatus::Completed, Some(r#"{"sum":3}"#.into())));
        assert_eq!(asked(&server), requests);
    }
}
