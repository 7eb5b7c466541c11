//! Lets paused runs go on, when people have decided.

use tokio::sync::oneshot;

use super::{RunHandle, Runtime, UserRuntime};
use crate::actors::manager::Reply;
use crate::actors::manager::resume::ContinueRun;
use crate::error::Error;
use crate::run::{Decision, InvalidRun, RunId};
use crate::store::protocol::pause::{Continue, ContinueRefusal};

impl Runtime {
    /// Lets a `PAUSED` run go on: `decisions` say what becomes of each of its
    /// [requirements](crate::RunOutput::requirements). The run is `PENDING` again and this is durable when it returns; it is
    /// taken up by whichever process has room first, and its code goes on with what was decided.
    ///
    /// ```
    /// # use greenroom::{Agent, Decision, NewRun, RunContext, RunStatus, Runtime, Store};
    /// # use std::time::Duration;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), greenroom::Error> {
    /// # let agent = Agent::builder("janitor").code(|cx: RunContext| async move {
    /// #     Ok(if cx.confirm("delete", "a.log").await?.confirmed { "deleted" } else { "kept" })
    /// # });
    /// # let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await?;
    /// let run = runtime.submit(NewRun::new("janitor", "clean up")).await?;
    /// let paused = loop {
    ///     let output = run.output().await?;
    ///     if output.status == RunStatus::Paused {
    ///         break output;
    ///     }
    ///     # tokio::time::sleep(Duration::from_millis(5)).await;
    /// };
    /// let decisions = [Decision::confirm(paused.requirements[0].requirement_id)];
    /// runtime.continue_run(run.run_id(), decisions).await?;
    ///
    /// let output = run.wait(Duration::from_secs(10)).await?;
    /// assert_eq!(output.content.unwrap().as_text(), Some("deleted"));
    /// # runtime.shutdown(Duration::from_secs(10)).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// All requirements are decided at once, and once: of two people who decide at the same time, one is heard, and the other
    /// is told that the run is not paused any more.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`]: there is no such run;
    /// - [`Error::NotPaused`]: the run does not wait for people, or not any more: somebody has decided before, it has
    ///   settled, or its [`pause_timeout`](crate::AgentBuilder::pause_timeout) is over;
    /// - [`Error::Invalid`]: the decisions do not fit its requirements, and the problem names the one that is meant; or they
    ///   are too large, together larger than the runtime's [`max_input`](crate::RuntimeBuilder::max_input);
    /// - [`Error::Overloaded`], [`Error::ShuttingDown`];
    /// - [`Error::Store`] when the database did not answer in time. Asking again is right: what was decided by the first call
    ///   stands, and the second is told that the run is not paused any more.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped after its first poll, the run may go on all the same.
    pub async fn continue_run(
        &self,
        run_id: RunId,
        decisions: impl IntoIterator<Item = Decision>,
    ) -> Result<(), Error> {
        let user_id = self.caller()?;
        let decisions: Vec<Decision> = decisions.into_iter().collect();
        let weight: usize = decisions.iter().map(Decision::weight).sum();
        let most = self.inner.limits.max_input;
        if weight > most {
            return Err(invalid(format!("must be at most {most} bytes together, found {weight}")));
        }
        let (to, answer) = oneshot::channel();
        let reply = Reply { to, admission: Some(self.inner.admit(weight)?) };
        let asked = Continue { id: uuid::Uuid::now_v7(), run_id, user_id, decisions };
        self.inner.manager.do_send(ContinueRun { asked, reply });
        let answered = self.inner.answered(answer, self.inner.limits.call_timeout, "").await?;
        answered?.map_err(|refusal| match refusal {
            ContinueRefusal::Missing => Error::NotFound(run_id),
            ContinueRefusal::NotPaused(status) => Error::NotPaused { run_id, status },
            ContinueRefusal::Invalid(problem) => invalid(problem.to_string()),
        })
    }
}

fn invalid(problem: String) -> Error {
    InvalidRun { field: "decisions", problem }.into()
}

impl RunHandle {
    /// Lets the run go on when it is `PAUSED`; see [`Runtime::continue_run`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::continue_run`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::continue_run`].
    pub async fn continue_run(&self, decisions: impl IntoIterator<Item = Decision>) -> Result<(), Error> {
        self.runtime().continue_run(self.run_id(), decisions).await
    }
}

impl UserRuntime {
    /// Lets a `PAUSED` run of the user go on; see [`Runtime::continue_run`].
    ///
    /// # Errors
    ///
    /// As [`Runtime::continue_run`].
    ///
    /// # Cancel safety
    ///
    /// As [`Runtime::continue_run`].
    pub async fn continue_run(
        &self,
        run_id: RunId,
        decisions: impl IntoIterator<Item = Decision>,
    ) -> Result<(), Error> {
        self.runtime().continue_run(run_id, decisions).await
    }
}
