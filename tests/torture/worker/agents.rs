//! What the agents do.

use std::sync::Arc;
use std::time::Duration;

use greenroom::{Agent, AgentBuilder, AgentError, Question, RetryPolicy, RunContext, ScriptedModel, ScriptedTurn};
use serde_json::{Value, json};

use super::notes::{AtWork, Notes};
use crate::kind::Kind;
use crate::speech::Speaker;
use crate::wire::What;

mod tools;

/// How many steps an agent has that has steps.
const STEPS: u32 = 5;

pub(super) fn agent(kind: Kind, notes: &Notes) -> AgentBuilder {
    let agent = Agent::builder(kind.name()).max_attempts(kind.max_attempts()).sessions(kind.sessions());
    if kind == Kind::Model {
        return agent.model(ScriptedModel::new([ScriptedTurn::echo().delay(Duration::from_millis(100))]));
    }
    if kind == Kind::Tools {
        return tools::with_tools(agent, notes);
    }
    let history = if kind == Kind::Remembering { 5 } else { 0 };
    let mut agent = agent.on_crash(kind.policy()).history(history);
    if kind == Kind::Retrying {
        agent = agent.retry(RetryPolicy::new(Duration::from_millis(100)));
    }
    if let Some(timeout) = kind.pause_timeout() {
        agent = agent.pause_timeout(timeout);
    }
    let notes = notes.clone();
    agent.code(move |cx: RunContext| {
        let notes = notes.clone();
        async move {
            let at_work = Arc::new(notes.start(&cx));
            let mut speaker = Speaker::new(cx.clone());
            let steps = work(kind, &cx, &mut speaker, &at_work).await?;
            Ok(json!({ "attempt": cx.attempt(), "said": speaker.said(), "seen": seen(&cx), "steps": steps }))
        }
    })
}

/// The results of its steps.
async fn work(
    kind: Kind,
    cx: &RunContext,
    speaker: &mut Speaker,
    at_work: &Arc<AtWork>,
) -> Result<Vec<u32>, AgentError> {
    match kind {
        Kind::Instant | Kind::Remembering | Kind::Model | Kind::Tools => speaker.say().await?,
        Kind::Streaming | Kind::Careful => speak(speaker, 12, 25).await?,
        Kind::Failing | Kind::Retrying => speaker.say().await?,
        Kind::Ordered | Kind::Refusing => speak(speaker, 3, 25).await?,
        Kind::Long => {
            let words = cx.input().as_json()["words"].as_u64();
            speak(speaker, words.and_then(|words| words.try_into().ok()).unwrap_or(20), 150).await?;
        }
        Kind::Steps => return steps(cx, speaker, at_work).await,
        Kind::Asking | Kind::Expiring => return questions(kind, cx, speaker, at_work).await,
        Kind::Parked => {
            speaker.say().await?;
            speaker.say().await?;
            cx.cancelled().await;
            speaker.say().await?;
        }
    }
    if kind.fails(cx.input().as_json(), cx.attempt()) {
        return Err(AgentError::new("as it was told to"));
    }
    Ok(Vec::new())
}

async fn steps(cx: &RunContext, speaker: &mut Speaker, at_work: &Arc<AtWork>) -> Result<Vec<u32>, AgentError> {
    let mut results = Vec::new();
    for step in 0..STEPS {
        speaker.say().await?;
        results.push(one_step(cx, at_work, step, Duration::from_millis(60)).await?);
    }
    Ok(results)
}

/// A step with work before, between and after the questions.
async fn questions(
    kind: Kind,
    cx: &RunContext,
    speaker: &mut Speaker,
    at_work: &Arc<AtWork>,
) -> Result<Vec<u32>, AgentError> {
    let mut results = Vec::new();
    for question in 0..kind.questions() {
        speaker.say().await?;
        results.push(one_step(cx, at_work, 2 * question, Duration::from_millis(5)).await?);
        let answer = cx.ask("question", Question::new("Which number?")).await?;
        at_work.note(What::Got { step: 2 * question + 1, by: answer });
        results.push(answer);
    }
    results.push(one_step(cx, at_work, 2 * kind.questions(), Duration::from_millis(5)).await?);
    Ok(results)
}

/// A step whose result is the attempt that did its work.
async fn one_step(cx: &RunContext, at_work: &Arc<AtWork>, step: u32, takes: Duration) -> Result<u32, AgentError> {
    let (notes, attempt) = (Arc::clone(at_work), cx.attempt());
    let work = || async move {
        notes.note(What::Work { step });
        tokio::time::sleep(takes).await;
        Ok(attempt)
    };
    let by = cx.step("work", work).await?;
    at_work.note(What::Got { step, by });
    Ok(by)
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
