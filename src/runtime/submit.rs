//! From what a caller asks for to a run that is accepted, or a reason why not.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Inner;
#[cfg(feature = "web")]
use super::Runtime;
use crate::actors::manager::submit::{Room, SubmitRefusal, SubmitRun};
use crate::actors::manager::{Admission, Reply};
use crate::agent::Agent;
use crate::error::Error;
use crate::run::{InvalidRun, Metrics, NewRun, Run, RunId, RunOutput, RunStatus, SessionId, WebhookUrl, fingerprint};
use crate::store::protocol::InsertRun;

#[cfg(feature = "web")]
impl Runtime {
    /// The largest input, in bytes.
    pub(crate) fn max_input(&self) -> usize {
        self.inner.limits.max_input
    }
}

impl Inner {
    /// Submits a run. One that `may_be_known` is looked for when there is no room: it needs none if it is there.
    pub(super) async fn submit(&self, insert: InsertRun, may_be_known: bool) -> Result<Run, Error> {
        let run_id = insert.run.output.run_id;
        let accepted = match self.ask(insert, Room::Needed).await? {
            Err(SubmitRefusal::Full(_, insert)) if may_be_known && self.store.knows(&insert.run).await? => {
                self.ask(*insert, Room::NotNeeded).await?
            }
            other => other,
        };
        match accepted {
            Ok(run) => Ok(run),
            Err(SubmitRefusal::ShuttingDown) => Err(Error::ShuttingDown),
            Err(SubmitRefusal::Full(waiting, _)) => Err(Error::Full(waiting)),
            Err(SubmitRefusal::Conflict) => Err(Error::Conflict(run_id)),
            Err(SubmitRefusal::KeyConflict(other)) => Err(Error::KeyConflict(other)),
            Err(SubmitRefusal::SessionBusy(other)) => Err(Error::SessionBusy(other)),
            Err(SubmitRefusal::Store(reason)) if reason.is_retryable() => Err(Error::Unconfirmed { run_id, reason }),
            Err(SubmitRefusal::Store(error)) => Err(Error::Store(error)),
        }
    }

    /// Asks the manager, and waits for its answer for as long as a call may take.
    async fn ask(&self, insert: InsertRun, room: Room) -> Result<Result<Run, SubmitRefusal>, Error> {
        let deadline = Instant::now() + self.limits.call_timeout;
        let (to, answer) = oneshot::channel();
        let reply = Reply { to, admission: self.admit(insert.run.input.size())? };
        // Not `send`: its message is lost when the caller goes away before it was handled.
        self.manager.do_send(SubmitRun { insert, room, deadline, reply });
        let answered = self.answered(answer, self.limits.call_timeout, "").await;
        Ok(answered.unwrap_or_else(|unknown| Err(SubmitRefusal::Store(unknown))))
    }

    /// Who is told when the run settles: whom the caller says, else whom the agent does.
    #[cfg(feature = "webhooks")]
    pub(super) fn webhook_of(&self, run: &NewRun, agent: &Agent) -> Result<Option<WebhookUrl>, InvalidRun> {
        let webhook = run.webhook_url()?.or_else(|| agent.webhook.clone());
        if webhook.is_some() && !self.tells_webhooks {
            let problem = "needs a runtime with the option `webhooks`, which says how it is signed".to_owned();
            return Err(InvalidRun { field: "webhook", problem });
        }
        Ok(webhook)
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

/// The run as it is to be stored, with everything made up that the caller left out; and whether the caller brought its id
/// or a key, so that it may be there already.
pub(super) fn insert_of(new: NewRun, agent: &Agent, webhook: Option<WebhookUrl>) -> (InsertRun, bool) {
    let fingerprint = fingerprint::of(&new);
    let id_is_given = new.run_id.is_some();
    let may_be_known = id_is_given || new.idempotency_key.is_some();
    let now = chrono::Utc::now();
    let output = RunOutput {
        run_id: new.run_id.unwrap_or_else(RunId::new),
        session_id: new.session_id.unwrap_or_else(SessionId::random),
        agent: new.agent,
        user_id: new.user_id,
        status: RunStatus::Pending,
        content: None,
        error: None,
        requirements: Vec::new(),
        metrics: Metrics::default(),
        created_at: now,
        started_at: None,
        paused_at: None,
        settled_at: None,
    };
    let run = Run {
        output,
        input: new.input,
        metadata: new.metadata,
        idempotency_key: new.idempotency_key,
        priority: new.priority,
        run_at: new.run_at.unwrap_or(now),
        timeout: new.timeout.or(agent.timeout),
        start_by: None,
        max_attempts: new.max_attempts.unwrap_or(agent.max_attempts),
        starts: 0,
        attempt: 0,
    };
    // What may start by now need not wait for a claim; the database's clock is asked about everything else.
    let delayed = new.run_at.is_some_and(|run_at| run_at > now);
    let insert = InsertRun {
        run,
        delayed,
        fingerprint,
        id_is_given,
        node: None,
        on_crash: agent.crash_policy,
        sessions: agent.sessions,
        queue_timeout: new.queue_timeout.or(agent.queue_timeout),
        webhook,
    };
    (insert, may_be_known)
}
