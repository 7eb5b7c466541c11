//! Submits: a run is inserted, owned by this node when there is room, else left for whoever has room first.

use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;

use super::live::LiveRun;
use super::{Reply, RunManager};
use crate::run::{Run, RunId, RunStatus};
use crate::store::protocol::{InsertRun, Inserted};
use crate::store::{NodeId, StoreError, StoreResult, TakenRun};
use crate::telemetry;

/// Submits a run; `insert.node` is for the manager to fill in.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SubmitRun {
    pub(crate) insert: InsertRun,
    pub(crate) room: Room,
    pub(crate) deadline: Instant,
    pub(crate) reply: SubmitReply,
}

/// Whether a submit can only be accepted when there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Needed,
    /// The run is there already: this asks only whether it is the same.
    NotNeeded,
    /// It is a child: it finds room where others do not, and its parent may be at work while the process shuts down.
    OfChildren,
}

pub(crate) type SubmitReply = Reply<Result<Arc<Run>, SubmitRefusal>>;

/// Why a run was not accepted.
#[derive(Debug)]
pub(crate) enum SubmitRefusal {
    ShuttingDown,
    /// As many runs wait as may wait; with what was refused.
    Full(usize, Box<InsertRun>),
    /// Another run has this id.
    Conflict,
    /// This run has the idempotency key, and is another one.
    KeyConflict(RunId),
    /// This run has the session to itself.
    SessionBusy(RunId),
    /// This run was to be resumed and has not failed: it has this status, or is not there.
    NotFailed(RunId, Option<RunStatus>),
    /// The attempt that has submitted the child is not at work any more.
    ParentOver,
    Store(StoreError),
}

/// The answer of the persister to an insert.
#[derive(Message)]
#[rtype(result = "()")]
struct InsertDone {
    run_id: RunId,
    /// The lease under which the manager has kept a place among the live runs for this run.
    reserved: Option<NodeId>,
    inserted: StoreResult<Inserted>,
    /// The run may not start yet.
    delayed: bool,
    reply: SubmitReply,
}

impl Handler<SubmitRun> for RunManager {
    type Result = ();

    fn handle(&mut self, message: SubmitRun, ctx: &mut Self::Context) {
        let SubmitRun { mut insert, room, deadline, reply } = message;
        if self.draining.is_some() && room != Room::OfChildren {
            return reply.send(Err(SubmitRefusal::ShuttingDown));
        }
        let run_id = insert.run.output.run_id;
        let startable = self.draining.is_none() && !insert.delayed && !self.live.contains_key(&run_id);
        let agent = self.agents.get(insert.run.output.agent.as_str()).filter(|_| startable);
        // Runs that wait already come first, by priority and age.
        let at_once = agent.filter(|agent| !self.behind && self.can_begin(agent));
        let (reserved, live) =
            self.node.zip(at_once.map(|agent| LiveRun::of(agent, insert.run.output.user_id.clone()))).unzip();
        let most = match room {
            Room::Needed => self.limits.max_waiting,
            Room::OfChildren => self.limits.max_waiting.saturating_mul(2),
            Room::NotNeeded => usize::MAX,
        };
        let besides = agent.map_or(0, |agent| self.room_besides_claims(agent));
        if reserved.is_none() && self.waiting + self.arriving.len() >= most.saturating_add(besides) {
            return reply.send(Err(SubmitRefusal::Full(most, Box::new(insert))));
        }
        insert.node = reserved;
        if let Some(live) = live {
            self.live.get_or_insert(run_id, live);
        } else {
            self.arriving.insert(run_id);
        }
        self.calls += 1;
        let delayed = insert.delayed;
        let manager = ctx.address();
        let inserted = self.around.writer.insert(insert, deadline);
        actix::spawn(async move {
            let inserted = inserted.await;
            manager.do_send(InsertDone { run_id, reserved, inserted, delayed, reply });
        });
    }
}

impl Handler<InsertDone> for RunManager {
    type Result = ();

    fn handle(&mut self, message: InsertDone, ctx: &mut Self::Context) {
        let InsertDone { run_id, reserved, inserted, delayed, reply } = message;
        self.calls = self.calls.saturating_sub(1);
        let arrived = reserved.is_none() && self.arriving.remove(&run_id);
        // Where the lease was lost meanwhile the place was given up with it, and the run is taken over from that lease.
        let lost = reserved.is_some() && reserved != self.node;
        let reserved = reserved.is_some() && !lost;
        match inserted {
            Ok(Inserted::New { run, .. }) if lost => {
                log_accepted(&run);
                reply.send(Ok(run));
            }
            Ok(Inserted::New { run, .. }) if reserved => {
                log_accepted(&run);
                self.enliven(TakenRun { run: Arc::clone(&run), next_seq: 0, was_continued: false }, ctx);
                reply.send(Ok(run));
            }
            Ok(Inserted::New { run, cancel_wanted }) => {
                log_accepted(&run);
                self.waiting += usize::from(arrived);
                if cancel_wanted {
                    // It must not wait for room only to find out that it is cancelled.
                    self.cancel_in_store(run_id, None, ctx);
                }
                // A run for later is found by the ticks.
                if !delayed {
                    self.claim_what_came(&run.output.agent, ctx);
                }
                reply.send(Ok(run));
            }
            Ok(Inserted::Existing { run, node }) => {
                // Attempt 1 is the one that the first try of this very insert has made, or else a claim, whose answer then
                // finds the run alive. A later attempt was made by a claim, whose answer will bring the run.
                let fresh = run.output.status == RunStatus::Pending && run.attempt == 1;
                let own = node.is_some() && node == self.node && fresh && run.output.run_id == run_id;
                if reserved && own {
                    self.enliven(TakenRun { run: Arc::clone(&run), next_seq: 0, was_continued: false }, ctx);
                } else if reserved {
                    self.release(run_id, ctx);
                }
                reply.send(Ok(run));
            }
            Ok(Inserted::Conflict) => self.refuse(run_id, reserved, SubmitRefusal::Conflict, reply, ctx),
            Ok(Inserted::KeyConflict(other)) => {
                self.refuse(run_id, reserved, SubmitRefusal::KeyConflict(other), reply, ctx);
            }
            Ok(Inserted::SessionBusy(other)) => {
                self.refuse(run_id, reserved, SubmitRefusal::SessionBusy(other), reply, ctx);
            }
            Ok(Inserted::NotFailed(other, status)) => {
                self.refuse(run_id, reserved, SubmitRefusal::NotFailed(other, status), reply, ctx);
            }
            Ok(Inserted::ParentOver) => self.refuse(run_id, reserved, SubmitRefusal::ParentOver, reply, ctx),
            Err(error) => {
                self.lost_answers |= error.is_retryable() && !lost;
                self.refuse(run_id, reserved, SubmitRefusal::Store(error), reply, ctx);
            }
        }
        self.finish_draining();
    }
}

impl RunManager {
    /// Takes up a run of `agent` that has come to wait, or leaves it to whoever has room.
    fn claim_what_came(&mut self, agent: &str, ctx: &Context<Self>) {
        self.behind = true;
        if !self.agents.get(agent).is_some_and(|agent| self.has_room(agent)) {
            self.offer_work();
        }
        self.claim(ctx);
    }

    /// Answers a submit that did not come to a run, and gives up the place that was kept for it.
    fn refuse(
        &mut self,
        run_id: RunId,
        reserved: bool,
        refusal: SubmitRefusal,
        reply: SubmitReply,
        ctx: &mut Context<Self>,
    ) {
        if reserved {
            self.release(run_id, ctx);
        }
        reply.send(Err(refusal));
    }

    /// Gives up the place that was kept for a run that did not come.
    fn release(&mut self, run_id: RunId, ctx: &mut Context<Self>) {
        if self.live.get(&run_id).is_some_and(|live| live.actor.is_some()) {
            // A claim that was under way at the same time has filled it.
            return;
        }
        for reply in self.forget(run_id).map(|live| live.cancels).unwrap_or_default() {
            self.cancel_in_store(run_id, Some(reply), ctx);
        }
        self.go_on(ctx);
    }
}

fn log_accepted(run: &Run) {
    let output = &run.output;
    telemetry::run_accepted(&output.agent);
    tracing::info!(run.id = %output.run_id, run.agent = output.agent, run.status = %output.status, "run accepted");
}
