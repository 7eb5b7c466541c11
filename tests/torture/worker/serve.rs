//! Carries out what the driver asks for.

use std::time::Duration;

use futures_util::StreamExt;
use greenroom::{Decision, Error, NewRun, RunEventKind, RunId, RunOutput, RunQuery, RunStatus, Runtime};
use tokio::time::Instant;

use super::say;
use crate::wire::{Answer, Ask, Command, Continue, Line, Submit};

/// How many runs a list shows.
const LISTED: usize = 30;

pub(super) async fn serve(runtime: Runtime, command: Command) {
    let Command { call, ask } = command;
    let answer = answer(&runtime, call, ask).await.unwrap_or_else(|error| refused(&error));
    say(&Line::Answer { call, answer });
}

async fn answer(runtime: &Runtime, call: u64, ask: Ask) -> Result<Answer, Error> {
    match ask {
        Ask::Submit(submit) => accept(runtime, submit).await,
        Ask::Cancel { run_id } => Ok(runtime.cancel(run_id).await?.into()),
        Ask::CancelFor { run_id, user } => Ok(runtime.for_user(user).cancel(run_id).await?.into()),
        Ask::Get { run_id } => Ok(runtime.get(run_id).await?.map_or(Answer::Missing, |run| output(run.output))),
        Ask::GetFor { run_id, user } => {
            Ok(runtime.for_user(user).get(run_id).await?.map_or(Answer::Missing, |run| output(run.output)))
        }
        Ask::ListFor { user } => {
            let page = runtime.for_user(user).list(RunQuery::new().limit(LISTED)).await?;
            let whose =
                |run: &greenroom::Run| (run.output.run_id, run.output.user_id.as_ref().map(ToString::to_string));
            Ok(Answer::Listed(page.runs.iter().map(whose).collect()))
        }
        Ask::Wait { run_id, millis } => Ok(output(runtime.wait(run_id, Duration::from_millis(millis)).await?)),
        Ask::Watch { run_id, after, millis } => watch(runtime, call, run_id, after, millis).await,
        Ask::AwaitPause { run_id, millis } => await_pause(runtime, run_id, millis).await,
        Ask::Continue(asked) => decide(runtime, asked).await,
    }
}

/// With a key, the id is for the runtime to make up, and the submit is one of its user's.
async fn accept(runtime: &Runtime, submit: Submit) -> Result<Answer, Error> {
    let Submit { run_id, key, agent, session, user, input } = submit;
    let run = NewRun::new(agent, input).session_id(session);
    let handle = match key {
        Some(key) => runtime.for_user(user).submit(run.idempotency_key(key)).await?,
        None => runtime.submit(run.run_id(run_id).user_id(user)).await?,
    };
    Ok(Answer::Accepted { run_id: handle.run_id(), status: handle.status() })
}

fn output(output: RunOutput) -> Answer {
    Answer::Output { status: output.status, content: output.content.map(greenroom::Content::into_json) }
}

/// Tells each event as it comes. After an error the same stream is polled on.
async fn watch(runtime: &Runtime, call: u64, run_id: RunId, after: Option<u64>, millis: u64) -> Result<Answer, Error> {
    let until = Instant::now() + Duration::from_millis(millis);
    let mut events = runtime.subscribe(run_id, after).await?;
    loop {
        match tokio::time::timeout_at(until, events.next()).await {
            Ok(Some(Ok(event))) => say(&Line::Told { call, event }),
            Ok(Some(Err(error))) if error.is_retryable() && Instant::now() < until => {}
            Ok(Some(Err(error))) => return Err(error),
            Ok(None) => return Ok(Answer::Watched { by_itself: true }),
            Err(_) => return Ok(Answer::Watched { by_itself: false }),
        }
    }
}

/// Waits until the run is paused, or has settled, or the time is over: what is the case then is the answer.
async fn await_pause(runtime: &Runtime, run_id: RunId, millis: u64) -> Result<Answer, Error> {
    let until = Instant::now() + Duration::from_millis(millis);
    let mut events = runtime.subscribe(run_id, None).await?;
    loop {
        let event = tokio::time::timeout_at(until, events.next()).await;
        if let Ok(Some(Ok(event))) = &event
            && !matches!(event.kind, RunEventKind::RunPaused { .. })
        {
            continue;
        }
        let Some(run) = runtime.get(run_id).await? else { return Ok(Answer::Missing) };
        match event {
            _ if run.output.status == RunStatus::Paused => {
                let needs = run.output.requirements.iter().map(|one| one.requirement_id).collect();
                return Ok(Answer::Paused { needs });
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(error),
            Ok(None) | Err(_) => return Ok(output(run.output)),
        }
    }
}

async fn decide(runtime: &Runtime, asked: Continue) -> Result<Answer, Error> {
    let Continue { run_id, user, need, answer } = asked;
    let decisions = [Decision::answer(need, answer)];
    let decided = match user {
        Some(user) => runtime.for_user(user).continue_run(run_id, decisions).await,
        None => runtime.continue_run(run_id, decisions).await,
    };
    match decided {
        Ok(()) => Ok(Answer::Continued),
        Err(Error::NotPaused { status, .. }) => Ok(Answer::NotPaused(status)),
        Err(Error::Invalid(_)) => Ok(Answer::Unfit),
        Err(error) => Err(error),
    }
}

fn refused(error: &Error) -> Answer {
    match error {
        Error::Conflict(_) => Answer::Conflict,
        Error::KeyConflict(run_id) => Answer::KeyConflict { run_id: *run_id },
        Error::SessionBusy(run_id) => Answer::Busy { run_id: *run_id },
        Error::NotFound(_) => Answer::Missing,
        Error::Full(_) | Error::Overloaded(_) | Error::ShuttingDown | Error::TooManyIntents(_) => {
            Answer::Refused { nothing_stored: true, problem: error.to_string() }
        }
        _ => Answer::Refused { nothing_stored: false, problem: error.to_string() },
    }
}
