//! What user code gets to know of what was before it: earlier runs of the session, and earlier attempts of its own run.

use backon::Retryable;

use super::life::Surroundings;
use crate::agent::Agent;
use crate::run::{CrashPolicy, Exchange, Run, StepRecord, latest_within};
use crate::store::{History, StoreError, StoreResult};

pub(super) struct Past {
    /// The earlier runs that the agent asks for.
    pub(super) history: Vec<Exchange>,
    /// The steps that earlier attempts have finished.
    pub(super) steps: Vec<StepRecord>,
}

impl Past {
    /// Reads it, again and again while the database is away.
    pub(super) async fn of(run: &Run, was_continued: bool, agent: &Agent, around: &Surroundings) -> StoreResult<Self> {
        // People are not asked again what they have decided: to be continued is no crash, and to die after that forgets nothing.
        // And who resumes a failed run wants it to go on from its steps.
        let remembers = was_continued || run.origin.is_some() || agent.crash_policy != CrashPolicy::Restart;
        let steps = if remembers { steps(run, around).await? } else { Vec::new() };
        Ok(Self { history: history(run, agent, around).await?, steps })
    }
}

async fn history(run: &Run, agent: &Agent, around: &Surroundings) -> StoreResult<Vec<Exchange>> {
    if agent.history == 0 {
        return Ok(Vec::new());
    }
    let asked = History {
        before: run.output.run_id,
        session_id: run.output.session_id.clone(),
        user_id: run.output.user_id.clone(),
        limit: agent.history,
    };
    let history = patiently(around, || around.store.history(asked.clone())).await?;
    Ok(latest_within(agent.history_tokens.unwrap_or(u64::MAX), history))
}

async fn steps(run: &Run, around: &Surroundings) -> StoreResult<Vec<StepRecord>> {
    if run.attempt <= 1 && run.origin.is_none() {
        return Ok(Vec::new());
    }
    patiently(around, || around.store.steps(run.output.run_id)).await
}

async fn patiently<T, F>(around: &Surroundings, read: impl FnMut() -> F) -> StoreResult<T>
where
    F: Future<Output = StoreResult<T>>,
{
    let pauses = around.retry.pauses().with_total_delay(Some(around.retry.limit));
    read.retry(pauses).when(StoreError::is_retryable).await
}
