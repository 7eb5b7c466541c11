//! What follows when a run is not live any more, in whichever way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use tokio_util::task::AbortOnDropHandle;

use super::RunManager;
use super::cancel::{self, CancelAnswer};
use crate::actors::run_actor::RunEnded;
use crate::actors::run_actor::ending::{Ending, last_event};
use crate::actors::run_actor::life::Surroundings;
use crate::run::{FailureKind, Metrics, RunEvent, RunFailure, RunId, RunStatus};
use crate::store::protocol::{Advance, Change, Refusal, Settlement};
use crate::store::{NodeId, StoreError, StoreResult};

impl Handler<RunEnded> for RunManager {
    type Result = ();

    fn handle(&mut self, RunEnded { run_id, ending }: RunEnded, ctx: &mut Self::Context) {
        let owner = self.node.filter(|_| self.live.contains_key(&run_id));
        let ending = match (ending, owner) {
            (Some(Ending::Unstored(StoreError::Closed)), _) => Ending::Fenced,
            // It belongs to a lease that was lost: whoever takes it over settles it.
            (Some(Ending::Unstored(_)) | None, None) => Ending::Fenced,
            // Whoever takes over what this process leaves decides what becomes of the run.
            (None, Some(_)) if self.around.cut_off.load(Ordering::Acquire) => Ending::Fenced,
            (Some(Ending::Unstored(error)), Some(node)) => {
                return self.bury(node, run_id, format!("its outcome was lost: {error}"), ctx);
            }
            (None, Some(node)) => return self.bury(node, run_id, "its actor died".to_owned(), ctx),
            (Some(ending), _) => ending,
        };
        let (replies, next) = self.forget(run_id).map(|live| (live.cancels, live.next)).unwrap_or_default();
        self.around.hub.leave(run_id);
        if let Some(next) = next {
            self.enliven(next, ctx);
        }
        match &ending {
            Ending::Settled(RunStatus::Cancelled) => {
                Self::answer_cancels(replies, &Ok(CancelAnswer::Cancelled));
                self.cancel_children(run_id, ctx);
            }
            Ending::Settled(status) => Self::answer_cancels(replies, &Ok(cancel::settled(*status))),
            Ending::Paused => {
                for reply in replies {
                    self.cancel_in_store(run_id, Some(reply), ctx);
                }
            }
            Ending::HandedBack | Ending::Retrying(_) => {
                self.offer_work();
                for reply in replies {
                    self.cancel_in_store(run_id, Some(reply), ctx);
                }
            }
            Ending::Fenced | Ending::Unstored(_) => Self::answer_cancels(replies, &Err(cancel::lost())),
        }
        if let Ending::Retrying(after) = ending {
            self.waiting += 1;
            // What is due later than at the next look is found by one.
            if after < self.limits.poll_interval {
                ctx.run_later(after, |manager, ctx| {
                    manager.behind = true;
                    manager.go_on(ctx);
                });
            }
        }
        if let Some(draining) = &mut self.draining {
            draining.count(run_id, &ending);
        }
        self.tell_stopped();
        self.go_on(ctx);
    }
}

/// A run that had no actor any more has been settled, or is somebody else's.
#[derive(Message)]
#[rtype(result = "()")]
struct Buried {
    node: NodeId,
    ended: RunEnded,
}

impl Handler<Buried> for RunManager {
    type Result = ();

    fn handle(&mut self, Buried { node, ended }: Buried, ctx: &mut Self::Context) {
        // With the lease, its runs were forgotten; by now this process may have the run again.
        if self.node == Some(node) {
            Handler::<RunEnded>::handle(self, ended, ctx);
        }
    }
}

impl RunManager {
    /// Goes on after a place among the live runs has become free.
    pub(super) fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_some() {
            self.finish_draining();
        } else if self.behind {
            self.claim(ctx);
        }
    }

    /// Settles a run of which nobody knows any more what became of it, as soon as the store lets it. Until then it keeps
    /// its place among the live ones.
    fn bury(&mut self, node: NodeId, run_id: RunId, why: String, ctx: &Context<Self>) {
        let Some(live) = self.live.get_mut(run_id) else { return };
        tracing::error!(run.id = %run_id, "the run is settled as an internal error: {why}");
        let dead = Dead { node, run_id, attempt: live.attempt, why };
        let around = Arc::clone(&self.around);
        let pause = self.limits.poll_interval;
        let manager = ctx.address();
        // Ends with its place among the live ones, which is taken from it when the lease is lost.
        live.burial = Some(AbortOnDropHandle::new(actix::spawn(async move {
            let ending = loop {
                match settle_dead(&around, &dead).await {
                    Ok(ending) => break ending,
                    Err(StoreError::Closed) => break Ending::Fenced,
                    Err(error) => tracing::warn!(run.id = %run_id, %error, "the run could not be settled yet"),
                }
                tokio::time::sleep(pause).await;
            };
            manager.do_send(Buried { node, ended: RunEnded { run_id, ending: Some(ending) } });
        })));
    }
}

/// An attempt without an actor, and why it is settled as `ERROR`.
struct Dead {
    node: NodeId,
    run_id: RunId,
    attempt: u32,
    why: String,
}

/// Settles the run as `ERROR` at the place where its log stands. A write of its actor may still be on its way: it comes
/// first, since a run's writes keep their order, so this one is tried again at the new place.
async fn settle_dead(around: &Surroundings, dead: &Dead) -> StoreResult<Ending> {
    let Dead { node, run_id, attempt, ref why } = *dead;
    let error = RunFailure::new(FailureKind::Internal, why);
    loop {
        let Some(row) = around.store.facts(run_id).await? else { return Ok(Ending::Fenced) };
        if row.status.is_terminal() {
            return Ok(Ending::Settled(row.status));
        }
        // Another attempt is not dead.
        if (row.node, row.attempt) != (Some(node), attempt) {
            return Ok(Ending::Fenced);
        }
        let metrics = Metrics::default();
        let event = RunEvent::new(run_id, row.next_seq, last_event(RunStatus::Error, Some(&error), metrics));
        let settlement = Settlement {
            status: RunStatus::Error,
            content: None,
            error: Some(error.clone()),
            metrics,
            tools: Vec::new(),
        };
        let advance = Advance {
            run_id,
            attempt,
            first_seq: row.next_seq,
            events: vec![event],
            steps: Vec::new(),
            change: Change::Settle(settlement),
        };
        match around.writer.advance(advance).await? {
            Ok(()) => return Ok(Ending::Settled(RunStatus::Error)),
            Err(Refusal::OutOfStep) => {}
            Err(Refusal::Settled(status)) => return Ok(Ending::Settled(status)),
            Err(Refusal::Missing | Refusal::Fenced | Refusal::CancelWanted | Refusal::Exhausted | Refusal::Late) => {
                return Ok(Ending::Fenced);
            }
        }
    }
}
