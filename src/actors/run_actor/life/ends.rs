//! How a life ends: what is made durable of it, and what that comes to.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Life;
use crate::actors::run_actor::Stop;
use crate::actors::run_actor::ending::{Ending, ending_of, last_event, too_large};
use crate::actors::run_actor::work::Finish;
use crate::run::{Content, FailureKind, OpenRequirement, RunEventKind, RunFailure, RunStatus};
use crate::store::StoreResult;
use crate::store::protocol::{Change, Pause, Refusal, Settlement};
use crate::telemetry;

impl Life {
    /// Makes durable how the run ends, or that it is to be tried again.
    pub(super) async fn end(&mut self, mut finish: Finish) -> StoreResult<Ending> {
        // Whoever takes over what this process leaves decides what becomes of the run.
        let failed = matches!(finish, Finish::Returned(Err(_)) | Finish::Panicked(_));
        if failed && self.around.cut_off.load(Ordering::Acquire) {
            return Ok(Ending::Fenced);
        }
        if let Finish::Returned(Err(error)) = &finish
            && let Some(policy) = self.agent.retry.filter(|_| error.is_retryable())
        {
            let after = policy.delay(self.run.starts.saturating_add(1));
            match self.retry(error.failure(), after).await? {
                Ok(()) => {
                    telemetry::run_retried(&self.agent.name);
                    return Ok(Ending::Retrying(after));
                }
                Err(Refusal::CancelWanted) => finish = Finish::Stopped(Stop::Cancel),
                Err(Refusal::Exhausted) => {}
                Err(refusal) => return Ok(ending_of(refusal)),
            }
        }
        if let Finish::Waits(needed) = finish {
            match self.pause(needed).await? {
                Ok(()) => return Ok(Ending::Paused),
                Err(Refusal::CancelWanted) => finish = Finish::Stopped(Stop::Cancel),
                Err(refusal) => return Ok(ending_of(refusal)),
            }
        }
        let partial = || (!self.journal.text().is_empty()).then(|| Content::from(self.journal.text()));
        let failed = |kind, message: String| (RunStatus::Error, partial(), Some(RunFailure::new(kind, message)));
        let (status, content, error) = match finish {
            Finish::Returned(Ok(content)) if content.size() > self.around.max_output => {
                (RunStatus::Error, partial(), Some(too_large(self.around.max_output)))
            }
            Finish::Returned(Ok(content)) => (RunStatus::Completed, Some(content.storable()), None),
            Finish::Returned(Err(error)) => (RunStatus::Error, partial(), Some(error.into_failure())),
            Finish::Panicked(message) => failed(FailureKind::Panic, message),
            Finish::TimedOut(after) => failed(FailureKind::Timeout, format!("the run took longer than {after:?}")),
            Finish::TooLarge => (RunStatus::Error, partial(), Some(too_large(self.around.max_output))),
            Finish::Stopped(Stop::Cancel) => (RunStatus::Cancelled, partial(), None),
            Finish::Stopped(Stop::HandBack) if self.agent.crash_policy.starts_again() => {
                return self.hand_back().await;
            }
            Finish::Stopped(Stop::HandBack) => {
                failed(FailureKind::Shutdown, "the runtime was shut down before the run ended".to_owned())
            }
            Finish::Stopped(Stop::Abandon) | Finish::Waits(_) => return Ok(Ending::Fenced),
        };
        self.settle(status, content, error).await
    }

    /// Whether the run fails because of what it was answered, and not because it was not.
    pub(super) fn fails_by_its_answer(&self, finish: &Finish) -> bool {
        match finish {
            Finish::Returned(Ok(content)) => content.size() > self.around.max_output,
            Finish::Returned(Err(error)) => {
                matches!(error.kind(), FailureKind::InvalidOutput | FailureKind::InvalidStep)
            }
            Finish::TooLarge => true,
            Finish::Panicked(_) | Finish::Stopped(_) | Finish::TimedOut(_) | Finish::Waits(_) => false,
        }
    }

    /// Ends a run whose user code was not started: whatever the agent's policy, others can start it.
    pub(super) async fn end_unstarted(&mut self, stop: Stop) -> StoreResult<Ending> {
        match stop {
            Stop::HandBack => self.hand_back().await,
            Stop::Cancel => self.settle(RunStatus::Cancelled, None, None).await,
            Stop::Abandon => Ok(Ending::Fenced),
        }
    }

    pub(super) async fn settle(
        &mut self,
        status: RunStatus,
        content: Option<Content>,
        error: Option<RunFailure>,
    ) -> StoreResult<Ending> {
        if let Some(error) = &error {
            self.span.fail(error.kind);
        }
        let metrics = self.journal.metrics();
        let last = last_event(status, error.as_ref(), metrics);
        let settlement = Settlement { status, content, error, metrics, tools: self.journal.tools() };
        match self.journal.commit(Change::Settle(settlement), Some(last)).await? {
            Ok(()) => Ok(Ending::Settled(status)),
            Err(refusal) => Ok(ending_of(refusal)),
        }
    }

    async fn retry(&mut self, error: &RunFailure, after: Duration) -> StoreResult<Result<(), Refusal>> {
        self.span.fail(error.kind);
        let retrying = RunEventKind::RunRetrying {
            attempt: self.run.attempt,
            error_type: error.kind,
            content: error.message.clone(),
            delay: after.as_secs_f64(),
        };
        self.journal.commit(Change::Retry { after }, Some(retrying)).await
    }

    async fn pause(&mut self, requirements: Vec<OpenRequirement>) -> StoreResult<Result<(), Refusal>> {
        let text = self.journal.text();
        let content = (!text.is_empty()).then(|| Content::from(text));
        let paused = RunEventKind::RunPaused {
            requirements: requirements.iter().map(|open| open.requirement.clone()).collect(),
        };
        let metrics = self.journal.metrics();
        let tools = self.journal.tools();
        let pause = Pause { requirements, timeout: self.agent.pause_timeout, content, metrics, tools };
        self.journal.commit(Change::Pause(pause), Some(paused)).await
    }

    async fn hand_back(&mut self) -> StoreResult<Ending> {
        match self.journal.commit(Change::HandBack, None).await? {
            Ok(()) => Ok(Ending::HandedBack),
            Err(refusal) => Ok(ending_of(refusal)),
        }
    }
}
