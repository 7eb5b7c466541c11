//! What the example's scripted server says: the capital of France, or a very long essay.

use std::time::Duration;

use crate::scripted_openai::{Reply, ScriptedOpenAi};

/// Serves `OpenAI`'s wire protocol on loopback.
pub(crate) async fn serve() -> ScriptedOpenAi {
    ScriptedOpenAi::start(|_, body| {
        if body["input"].to_string().contains("capital of France") {
            Reply::text(["The capital ", "of France ", "is Paris."]).delay(Duration::from_millis(400))
        } else {
            Reply::text((1..=5000).map(|word| format!("word {word} of the essay, "))).delay(Duration::from_millis(100))
        }
    })
    .await
}
