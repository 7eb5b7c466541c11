//! Steps as user code calls them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::context::Report;
use super::memory::CalledStep;
use super::{AgentError, RunContext};
use crate::run::{RunEventKind, StepKey, StepRecord};

impl RunContext {
    /// Does a piece of work whose result is remembered: a later attempt of the run is given the result, and does not do
    /// the work again.
    ///
    /// ```
    /// use greenroom::{Agent, CrashPolicy, RunContext};
    ///
    /// let agent = Agent::builder("order").on_crash(CrashPolicy::Resume).code(|cx: RunContext| async move {
    ///     let price: u64 = cx.step("price", || async { Ok(42) }).await?;
    ///     // These two go on at the same time.
    ///     let (stock, mail) = tokio::join!(
    ///         cx.step("reserve", || async { Ok(format!("reserved for {price}")) }),
    ///         cx.step_with_key("mail", |key| async move { Ok(format!("sent once, as {key}")) }),
    ///     );
    ///     Ok([stock?, mail?])
    /// });
    /// # agent.build().unwrap();
    /// ```
    ///
    /// **What is promised.** The result is in the database before this returns, written by the attempt that owns the run
    /// and no other, together with all that the code has said before. So the *effect* of a step happens at least once:
    /// when a process dies after the work was done and before its result was committed, the work is done again. Its
    /// *result* is used exactly once: whatever went on from it, goes on from the same one in every attempt. To make one
    /// effect of several, give the outside world the step's key, see [`step_with_key`](Self::step_with_key).
    ///
    /// An attempt goes on from the steps that earlier ones have finished, unless the agent's
    /// [`CrashPolicy`](crate::CrashPolicy) is `Restart`: then it begins without any, but for a run that people have
    /// [continued](crate::Runtime::continue_run) or that [resumes](crate::Runtime::resume_failed) a failed one. With `Fail`,
    /// which allows no attempt after the death of a process, that is of use to [retries](crate::AgentBuilder::retry) and pauses.
    /// Code outside of steps is run again by each attempt.
    ///
    /// **Order.** A step is known by the place at which it was called, the first one, the second one, and by its name. A
    /// name can be used again; its steps are numbered. So each attempt must call the same steps in the same order, as far
    /// as it gets: what decides about that comes from the run's input, or out of a step. The place is taken when this is
    /// called, not when it is first awaited, so steps that are called one after the other can be awaited together, as
    /// above. When an attempt calls another step at a place than an earlier one, or expects a result of another type, the
    /// step fails, as does each later one, and the run settles as `ERROR` with
    /// [`FailureKind::StepsChanged`](crate::FailureKind::StepsChanged), whatever the code makes of that error.
    ///
    /// **Failures.** The result of work that returned an error is not remembered: the step keeps its place, and a later
    /// attempt does the work again. An error that decides about the next steps belongs into the result, as in
    /// `Ok(work().await.map_err(|error| error.to_string()))`. A panic in the work settles the run.
    ///
    /// **Results** are stored as JSON, and this returns what a later attempt would be given: fields that serde skips are
    /// gone at once. A result is at most as large as the runtime's
    /// [`max_output`](crate::RuntimeBuilder::max_output); a run has at most 10,000 steps, with results of at most 64 MiB
    /// together. Names are 1 to 255 bytes without control characters; they show in error messages. What the work says by
    /// [`emit_text`](Self::emit_text) or [`emit`](Self::emit) is said by the attempt that does it, and not again.
    ///
    /// # Errors
    ///
    /// That of the work; or [`AgentError::kind`] is [`FailureKind::InvalidStep`](crate::FailureKind::InvalidStep) when a
    /// bound is passed, and [`FailureKind::StepsChanged`](crate::FailureKind::StepsChanged) as said above.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, so is the work; its result may be remembered or not. That is what
    /// happens to a step under way when the run is cancelled, times out, or is handed back at a shutdown; in the last case
    /// the work is done again by the attempt that follows.
    pub fn step<T, F, Fut>(
        &self,
        name: &str,
        work: F,
    ) -> impl Future<Output = Result<T, AgentError>> + Send + use<T, F, Fut>
    where
        T: Serialize + DeserializeOwned + Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, AgentError>> + Send,
    {
        self.step_with_key(name, |_| work())
    }

    /// The same as [`step`](Self::step), for work that tells the outside world which step it is.
    ///
    /// The key is the same in every attempt. A service that is given it, as an `Idempotency-Key` for example, can tell a
    /// repetition from something new.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    ///
    /// # Cancel safety
    ///
    /// As [`step`](Self::step).
    pub fn step_with_key<T, F, Fut>(
        &self,
        name: &str,
        work: F,
    ) -> impl Future<Output = Result<T, AgentError>> + Send + use<T, F, Fut>
    where
        T: Serialize + DeserializeOwned + Send,
        F: FnOnce(StepKey) -> Fut + Send,
        Fut: Future<Output = Result<T, AgentError>> + Send,
    {
        let cx = self.clone();
        let called = cx.steps().call(name);
        async move {
            let step = called?;
            if let Some(result) = cx.steps().recall(&step)? {
                return Ok(result);
            }
            if cx.is_over() {
                return Err(over());
            }
            let _under_way = cx.begin_step();
            let result = work(cx.key_of(&step)).await?;
            let (record, result) = cx.steps().finish(&step, &result)?;
            cx.remember(record, None).await?;
            Ok(result)
        }
    }

    /// What the step is called in the outside world.
    pub(super) fn key_of(&self, step: &CalledStep) -> StepKey {
        step.key(self.origin().unwrap_or_else(|| self.run_id()))
    }

    /// Waits until a finished step is durable, together with the event that tells of it.
    pub(crate) async fn remember(&self, step: StepRecord, event: Option<RunEventKind>) -> Result<(), AgentError> {
        let (durable, is_durable) = oneshot::channel();
        self.report(Report::Step { step, event, durable: Some(durable) }).await;
        is_durable.await.map_err(|_| over())
    }

    /// Has a finished step remembered that most likely nothing comes after: it goes along with the next write, and is
    /// forgotten when that one settles the run.
    pub(crate) async fn remember_along(&self, step: StepRecord, event: RunEventKind) {
        self.report(Report::Step { step, event: Some(event), durable: None }).await;
    }

    /// What the run's code has returned, unless the run must fail whatever that is.
    pub(crate) fn judged<T>(&self, returned: Result<T, AgentError>) -> Result<T, AgentError> {
        self.steps().changed().map_or(returned, |changed| Err(changed.into()))
    }
}

/// What comes of `work`, unless the run is to end before.
pub(super) async fn unless_over<T>(cx: &RunContext, work: impl Future<Output = T>) -> Result<T, AgentError> {
    tokio::select! {
        biased;
        () = cx.ends_early() => Err(over()),
        done = work => Ok(done),
    }
}

/// Only code hears of it that user code has started beside itself, and that has outlived the run.
pub(super) fn over() -> AgentError {
    AgentError::new("the run is over: no step of it is done any more")
}
