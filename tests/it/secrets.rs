//! Keys, passwords and what people say stay out of logs, errors and `Debug` texts.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use greenroom::{
    Agent, AgentError, NewRun, OpenAIResponses, PostgresOptions, RunStatus, Runtime, ScriptedModel, ScriptedTurn,
    Store, Tool, ToolContext, WebhookOptions,
};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::scripted_openai::{Reply, ScriptedOpenAi};

/// Everything that Greenroom logs in this process, at every level.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_env_filter("greenroom=trace").with_ansi(false).with_writer(log.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    log
});

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// `my-secret-my-secret-my-secret` in base64.
const HOOK_SECRET: &str = "whsec_bXktc2VjcmV0LW15LXNlY3JldC1teS1zZWNyZXQ=";

#[tokio::test]
async fn a_run_is_logged_by_its_id_and_not_by_what_is_said() {
    LazyLock::force(&LOG);
    let server = ScriptedOpenAi::start(|_, body| {
        if body["input"].to_string().contains("fail") {
            Reply::status(400, "bad", "refused: please-fail-my-secret-question")
        } else {
            Reply::text(["my-secret", "-answer"])
        }
    })
    .await;
    let model = OpenAIResponses::new("gpt-5-mini").api_key("sk-my-secret-key").base_url(server.base_url());
    let runtime = Runtime::builder()
        .store(Store::sqlite_in_memory())
        .agent(Agent::builder("discreet").model(model).description("my-secret-description"))
        // Whom nobody can reach: the log has to tell of it.
        .webhooks(WebhookOptions::new(HOOK_SECRET))
        .poll_interval(Duration::from_millis(20))
        .start()
        .await
        .unwrap();

    let good = runtime
        .submit(NewRun::new("discreet", "my-secret-question").webhook("http://127.0.0.1:9/my-secret-path?my-secret"))
        .await
        .unwrap();
    let bad = runtime.submit(NewRun::new("discreet", "please-fail-my-secret-question")).await.unwrap();
    let output = good.wait(Duration::from_secs(30)).await.unwrap();
    let failure = bad.wait(Duration::from_secs(30)).await.unwrap();
    let events: Vec<_> = good.subscribe(None).await.unwrap().collect().await;
    let run = runtime.get(good.run_id()).await.unwrap();
    let told = NewRun::new("discreet", "x").webhook("http://me:my-secret@127.0.0.1:9/my-secret-path");
    let refused = runtime.submit(told.clone()).await.unwrap_err();
    let options = WebhookOptions::new(HOOK_SECRET);
    tokio::time::timeout(Duration::from_secs(30), async {
        while !LOG.text().contains("the webhook is tried again") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the delivery fails");
    assert_eq!((output.status, failure.status), (RunStatus::Completed, RunStatus::Error));
    let shown = format!(
        "{runtime:?} {good:?} {output:?} {failure:?} {events:?} {run:?} {told:?} {refused} {refused:?} {options:?}"
    );
    runtime.shutdown(Duration::from_secs(5)).await;

    let log = LOG.text();
    assert!(log.contains(&good.run_id().to_string()) && log.contains("run.agent=\"discreet\""), "{log}");
    assert!(log.contains("run.status=COMPLETED") && log.contains("run.status=ERROR"), "{log}");
    for (place, text) in [("the log", log), ("a debug text", shown)] {
        assert!(!text.contains("my-secret") && !text.contains("bXktc2Vj"), "{place} tells a secret");
    }
}

#[derive(serde::Deserialize, greenroom::schemars::JsonSchema)]
struct Word {
    word: String,
}

#[tokio::test]
async fn what_tools_are_given_and_return_is_not_logged() {
    LazyLock::force(&LOG);
    let model = ScriptedModel::new([
        ScriptedTurn::text("my-secret thought")
            .then_call("whisper", json!({ "word": "my-secret" }))
            .then_call("whisper", json!({ "word": ["my-secret"] }))
            .then_call("whisper", json!({ "word": "fail" })),
        ScriptedTurn::text("my-secret answer"),
    ]);
    let whisper = Tool::new("whisper", "Whispers.", |cx: ToolContext, args: Word| async move {
        assert!(!format!("{cx:?}").contains("my-secret"));
        if args.word == "fail" { Err(AgentError::new("my-secret failure")) } else { Ok(args.word) }
    });
    let agent = Agent::builder("whispers").model(model.clone()).tool(whisper);
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await.unwrap();
    let run = runtime.submit(NewRun::new("whispers", "go")).await.unwrap();
    assert_eq!(run.wait(Duration::from_secs(30)).await.unwrap().status, RunStatus::Completed);
    let events: Vec<_> = run.subscribe(None).await.unwrap().collect().await;
    for kind in ["ToolCallStarted", "ToolCallCompleted"] {
        let told = events.iter().map(|event| serde_json::to_string(event.as_ref().unwrap()).unwrap());
        let mut of_kind = told.filter(|event| event.contains(kind));
        assert!(
            of_kind.any(|event| event.contains("my-secret")),
            "{kind} is in the log of the run with all that it has"
        );
    }
    let shown = format!("{events:?} {model:?} {:?}", model.requests());
    assert!(shown.contains("ToolCallError") && !shown.contains("my-secret"), "{shown}");
    let log = LOG.text();
    assert!(log.contains("whispers") && !log.contains("my-secret"), "{log}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_reported_without_its_password() {
    let url = "postgres://someone:my-secret-password@127.0.0.1:1/nowhere";
    let options = PostgresOptions::new(url).connect_timeout(Duration::from_millis(500));
    let builder = Runtime::builder().store(options);
    let shown = format!("{builder:?}");

    let error = builder.start().await.unwrap_err();

    assert!(error.is_retryable(), "{error:?}");
    assert!(!format!("{shown} {error} {error:?}").contains("my-secret"), "{error:?}");
}
