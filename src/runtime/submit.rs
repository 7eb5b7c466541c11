//! From what a caller asks for to a run that is accepted, or a reason why not.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Inner;
#[cfg(feature = "web")]
use super::Runtime;
#[cfg(feature = "webhooks")]
use crate::actors::insert::webhook_of;
use crate::actors::manager::submit::{Room, SubmitRefusal, SubmitRun};
use crate::actors::manager::{Admission, Reply};
use crate::agent::Agent;
use crate::error::Error;
use crate::run::{InvalidRun, NewRun, Run, WebhookUrl};
use crate::store::protocol::InsertRun;
use crate::telemetry::Span;

#[cfg(feature = "web")]
impl Runtime {
    /// The largest input, in bytes.
    pub(crate) fn max_input(&self) -> usize {
        self.inner.limits.max_input
    }
}

impl Inner {
    /// Submits a run. One that `may_be_known` is looked for when there is no room: it needs none if it is there.
    pub(super) async fn submit(&self, mut insert: InsertRun, may_be_known: bool) -> Result<Arc<Run>, Error> {
        let run_id = insert.run.output.run_id;
        let span = Span::submit(&mut insert.run);
        let accepted = match self.ask(insert, Room::Needed).await? {
            Err(SubmitRefusal::Full(_, insert)) if may_be_known && self.store.knows(&insert.run).await? => {
                self.ask(*insert, Room::NotNeeded).await?
            }
            other => other,
        };
        match accepted {
            Ok(run) => {
                span.succeed();
                Ok(run)
            }
            Err(SubmitRefusal::ShuttingDown) => Err(Error::ShuttingDown),
            Err(SubmitRefusal::Full(waiting, _)) => Err(Error::Full(waiting)),
            Err(SubmitRefusal::Conflict) => Err(Error::Conflict(run_id)),
            Err(SubmitRefusal::KeyConflict(other)) => Err(Error::KeyConflict(other)),
            Err(SubmitRefusal::SessionBusy(other)) => Err(Error::SessionBusy(other)),
            Err(SubmitRefusal::NotFailed(other, Some(status))) => Err(Error::NotFailed { run_id: other, status }),
            Err(SubmitRefusal::NotFailed(other, None)) => Err(Error::NotFound(other)),
            // Nobody has a parent who comes this way.
            Err(SubmitRefusal::ParentOver) => Err(Error::ShuttingDown),
            Err(SubmitRefusal::Store(reason)) if reason.is_retryable() => Err(Error::Unconfirmed { run_id, reason }),
            Err(SubmitRefusal::Store(error)) => Err(Error::Store(error)),
        }
    }

    /// Asks the manager, and waits for its answer for as long as a call may take.
    async fn ask(&self, insert: InsertRun, room: Room) -> Result<Result<Arc<Run>, SubmitRefusal>, Error> {
        let deadline = Instant::now() + self.limits.call_timeout;
        let (to, answer) = oneshot::channel();
        let reply = Reply { to, admission: Some(self.admit(insert.run.input.size())?) };
        // Not `send`: its message is lost when the caller goes away before it was handled.
        self.manager.do_send(SubmitRun { insert, room, deadline, reply });
        let answered = self.answered(answer, self.limits.call_timeout, "").await;
        Ok(answered.unwrap_or_else(|unknown| Err(SubmitRefusal::Store(unknown))))
    }

    /// Who is told when the run settles or waits for people.
    #[cfg(feature = "webhooks")]
    pub(super) fn webhook_of(&self, run: &NewRun, agent: &Agent) -> Result<Option<WebhookUrl>, InvalidRun> {
        webhook_of(run, agent, self.tells_webhooks)
    }

    #[cfg(not(feature = "webhooks"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "with the feature it is another matter")]
    pub(super) fn webhook_of(&self, _: &NewRun, agent: &Agent) -> Result<Option<WebhookUrl>, InvalidRun> {
        Ok(agent.webhook.clone())
    }

    /// Admits a call that brings `bytes` of input along.
    pub(super) fn admit(&self, bytes: usize) -> Result<Admission, Error> {
        if self.manager.connected() { self.admissions.admit(bytes) } else { Err(Error::ShuttingDown) }
    }
}
