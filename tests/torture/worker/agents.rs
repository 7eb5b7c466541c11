//! What the agents do.

use std::time::Duration;

use greenroom::{Agent, AgentBuilder, AgentError, RunContext};
use serde_json::{Value, json};

use super::notes::Notes;
use crate::kind::Kind;
use crate::speech::Speaker;

pub(super) fn agent(kind: Kind, notes: &Notes) -> AgentBuilder {
    let notes = notes.clone();
    let history = if kind == Kind::Remembering { 5 } else { 0 };
    let agent = Agent::builder(kind.name()).on_crash(kind.policy()).max_attempts(kind.max_attempts()).history(history);
    agent.code(move |cx: RunContext| {
        let notes = notes.clone();
        async move {
            let _at_work = notes.start(&cx);
            let mut speaker = Speaker::new(cx.clone());
            work(kind, &cx, &mut speaker).await?;
            Ok(json!({ "attempt": cx.attempt(), "said": speaker.said(), "seen": seen(&cx) }))
        }
    })
}

async fn work(kind: Kind, cx: &RunContext, speaker: &mut Speaker) -> Result<(), AgentError> {
    match kind {
        Kind::Instant | Kind::Remembering => speaker.say().await,
        Kind::Streaming | Kind::Careful => speak(speaker, 12, 25).await,
        Kind::Failing => {
            speaker.say().await?;
            Err(AgentError::new("as it was told to"))
        }
        Kind::Long => speak(speaker, 20, 150).await,
        Kind::Parked => {
            speaker.say().await?;
            speaker.say().await?;
            cx.cancelled().await;
            speaker.say().await
        }
    }
}

async fn speak(speaker: &mut Speaker, words: u32, pause_millis: u64) -> Result<(), AgentError> {
    for _ in 0..words {
        speaker.say().await?;
        tokio::time::sleep(Duration::from_millis(pause_millis)).await;
    }
    Ok(())
}

/// Whose the earlier runs of the session were.
fn seen(cx: &RunContext) -> Vec<Value> {
    cx.history().iter().map(|exchange| exchange.input.as_json()["user"].clone()).collect()
}
