//! The children of a live run: how they are submitted, and how they are waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix::prelude::*;
use backon::BackoffBuilder;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::insert::insert_of;
use super::manager::submit::{Room, SubmitRefusal, SubmitRun};
use super::manager::{Agents, ManagerLimits, Reply};
use super::run_actor::life::Surroundings;
use crate::agent::{Agent, AgentError, Offspring};
use crate::run::{FailureKind, NewRun, Run, RunId, RunOutput, SessionPolicy};
use crate::store::protocol::InsertRun;
use crate::store::{StoreError, StoreResult};
use crate::telemetry::Span;

/// How many children a run may have.
const MAX_CHILDREN: u32 = 1000;

/// How many runs may be above a run.
const MAX_DEPTH: u16 = 16;

/// A run waits for a child from now on, or does not any more: while it does, it needs no place among the live ones.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub(crate) struct Waits {
    pub(crate) parent: RunId,
    pub(crate) attempt: u32,
    pub(crate) begins: bool,
}

/// What the manager is told of children. All runs share it: a recipient of its own would be a part of each.
pub(crate) struct ToManager {
    pub(crate) submits: Recipient<SubmitRun>,
    pub(crate) waits: Recipient<Waits>,
}

/// What the children of a live run need.
pub(crate) struct Children {
    /// Their parent, as its present attempt knows it.
    parent: Arc<Run>,
    agents: Arc<Agents>,
    around: Arc<Surroundings>,
    limits: ManagerLimits,
    manager: Arc<ToManager>,
    /// How many this attempt has asked for.
    asked: AtomicU32,
}

impl Children {
    pub(crate) fn new(
        parent: Arc<Run>,
        agents: Arc<Agents>,
        around: Arc<Surroundings>,
        limits: ManagerLimits,
        manager: Arc<ToManager>,
    ) -> Self {
        Self { parent, agents, around, limits, manager, asked: AtomicU32::new(0) }
    }

    fn parent_id(&self) -> RunId {
        self.parent.output.run_id
    }

    /// The child as it is to be stored.
    fn insert(&self, child: RunId, mut run: NewRun) -> Result<InsertRun, AgentError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) >= MAX_CHILDREN {
            return Err(refused(format!("a run has at most {MAX_CHILDREN} children")));
        }
        if self.parent.depth >= MAX_DEPTH {
            return Err(refused(format!("a run has at most {MAX_DEPTH} runs above it")));
        }
        let owner = &self.parent.output.user_id;
        let not_its_own = [
            ("run_id", run.run_id.is_some()),
            ("idempotency_key", run.idempotency_key.is_some()),
            ("user_id", run.user_id.is_some() && run.user_id != *owner),
        ];
        if let Some((field, _)) = not_its_own.into_iter().find(|(_, is_set)| *is_set) {
            return Err(refused(format!("`{field}` of a child must be left out")));
        }
        run.check(self.limits.max_input).map_err(|invalid| refused(invalid.to_string()))?;
        let agent = self.agents.get(run.agent.as_str());
        let agent = agent.ok_or_else(|| refused(format!("there is no agent `{}` here", run.agent)))?;
        #[cfg(feature = "webhooks")]
        let webhook = super::insert::webhook_of(&run, agent, self.limits.tells_webhooks)
            .map_err(|invalid| refused(invalid.to_string()))?;
        #[cfg(not(feature = "webhooks"))]
        let webhook = None;
        run.run_id = Some(child);
        run.user_id.clone_from(owner);
        run.session_id.get_or_insert_with(|| self.parent.output.session_id.clone());
        if run.priority == 0 {
            run.priority = self.parent.priority.saturating_add(1);
        }
        Ok(self.as_child(insert_of(run, agent, webhook), agent))
    }

    fn as_child(&self, mut insert: InsertRun, agent: &Agent) -> InsertRun {
        // In its parent's session it must not wait for what waits for it.
        let is_guest = insert.run.output.session_id == self.parent.output.session_id;
        insert.sessions = if is_guest { SessionPolicy::Concurrent } else { agent.sessions };
        insert.run.output.parent_run_id = Some(self.parent_id());
        insert.run.depth = self.parent.depth + 1;
        insert.parent_attempt = Some(self.parent.attempt);
        insert
    }

    async fn submit(&self, child: RunId, run: NewRun) -> Result<(), AgentError> {
        let mut insert = self.insert(child, run)?;
        let span = Span::submit_child(&mut insert.run, &self.parent);
        let (to, answer) = oneshot::channel();
        let deadline = Instant::now() + self.around.retry.limit;
        let reply = Reply { to, admission: None };
        self.manager.submits.do_send(SubmitRun { insert, room: Room::OfChildren, deadline, reply });
        match answer.await {
            Ok(Ok(_)) => {
                span.succeed();
                Ok(())
            }
            // It is there already, and an earlier attempt has asked for something else: a child is known by its step.
            Ok(Err(SubmitRefusal::Conflict)) => self.look(child).await.map(|_| ()),
            Ok(Err(refusal)) => Err(refusal_of(child, &refusal)),
            Err(_) => Err(passing("the runtime was stopped".to_owned())),
        }
    }

    /// The child as it is now.
    async fn look(&self, child: RunId) -> Result<RunOutput, AgentError> {
        let none = || refused(format!("run {child} is no child of this run, or not there any more"));
        let run = self.patiently(child).await?.ok_or_else(none)?;
        if run.output.parent_run_id == Some(self.parent_id()) { Ok(run.output) } else { Err(none()) }
    }

    /// Reads a run, again and again while the database is away.
    async fn patiently(&self, run_id: RunId) -> StoreResult<Option<Run>> {
        let mut pauses = self.around.retry.pauses().build();
        loop {
            match self.around.store.get(run_id).await {
                Err(error) if error.is_retryable() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
                read => return read,
            }
        }
    }

    async fn settled(&self, child: RunId) -> Result<RunOutput, AgentError> {
        // Follow first, then look: what settles in between is told.
        let mut follower = self.around.hub.follow(child);
        let mut waiting = None;
        loop {
            let output = self.look(child).await?;
            if output.status.is_terminal() {
                return Ok(output);
            }
            waiting.get_or_insert_with(|| Waiting::begin(self));
            match follower.until_end().await {
                // The runtime ends, and the parent with it: it must not make anything of that before it is gone.
                Err(StoreError::Closed) => std::future::pending().await,
                Err(error) if !error.is_retryable() => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
    }
}

impl Offspring for Children {
    fn submit(self: Arc<Self>, child: RunId, run: NewRun) -> BoxFuture<'static, Result<(), AgentError>> {
        Box::pin(async move { Self::submit(&self, child, run).await })
    }

    fn settled(self: Arc<Self>, child: RunId) -> BoxFuture<'static, Result<RunOutput, AgentError>> {
        Box::pin(async move { Self::settled(&self, child).await })
    }
}

/// The run waits for a child for as long as this lives.
struct Waiting {
    waits: Waits,
    manager: Arc<ToManager>,
}

impl Waiting {
    fn begin(children: &Children) -> Self {
        let waits = Waits { parent: children.parent_id(), attempt: children.parent.attempt, begins: true };
        let manager = Arc::clone(&children.manager);
        manager.waits.do_send(waits);
        Self { waits, manager }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.manager.waits.do_send(Waits { begins: false, ..self.waits });
    }
}

/// There can be no such child.
fn refused(problem: String) -> AgentError {
    AgentError::of_kind(FailureKind::ChildRefused, problem)
}

/// The same, for now.
fn passing(problem: String) -> AgentError {
    AgentError::passing(FailureKind::ChildRefused, problem)
}

fn refusal_of(child: RunId, refusal: &SubmitRefusal) -> AgentError {
    match refusal {
        SubmitRefusal::ShuttingDown => passing("the runtime is shutting down".to_owned()),
        SubmitRefusal::Full(waiting, _) => passing(format!("{waiting} runs wait already, children included")),
        SubmitRefusal::SessionBusy(other) => passing(format!("run {other} has the session of child {child} to itself")),
        SubmitRefusal::ParentOver => passing(format!("child {child} was not submitted: this attempt is over")),
        // Nobody resumes a run as a child.
        SubmitRefusal::NotFailed(other, _) => refused(format!("run {other} has not failed")),
        SubmitRefusal::Conflict => refused(format!("another run has the id {child}")),
        SubmitRefusal::KeyConflict(other) => refused(format!("run {other} has the key of child {child}")),
        SubmitRefusal::Store(error) if error.is_retryable() => passing(format!("child {child}: {error}")),
        SubmitRefusal::Store(error) => refused(format!("child {child}: {error}")),
    }
}
