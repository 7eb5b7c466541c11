//! What follows when a run is not live any more, in whichever way.

use actix::prelude::*;
use backon::Retryable;

use super::RunManager;
use super::cancel::{self, CancelAnswer};
use crate::actors::run_actor::RunEnded;
use crate::actors::run_actor::life::{Ending, Surroundings, last_event};
use crate::run::{FailureKind, Metrics, RunEvent, RunFailure, RunId, RunStatus};
use crate::store::protocol::{Advance, Change, Settlement};
use crate::store::{NodeId, StoreError};

impl Handler<RunEnded> for RunManager {
    type Result = ();

    fn handle(&mut self, RunEnded { run_id, ending }: RunEnded, ctx: &mut Self::Context) {
        let Some(ending) = ending else { return self.bury(run_id, ctx) };
        let replies = self.live.remove(&run_id).unwrap_or_default().cancels;
        self.around.hub.leave(run_id);
        match &ending {
            Ending::Settled(RunStatus::Cancelled) => Self::answer_cancels(replies, &Ok(CancelAnswer::Cancelled)),
            Ending::Settled(status) => Self::answer_cancels(replies, &Ok(cancel::settled(*status))),
            Ending::HandedBack => {
                for reply in replies {
                    self.cancel_in_store(run_id, Some(reply), ctx);
                }
            }
            Ending::Lost(why) => Self::answer_cancels(replies, &Err(cancel::lost(why))),
        }
        if let Some(draining) = &mut self.draining {
            draining.count(&ending);
        }
        self.go_on(ctx);
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

    /// Settles a run whose actor died: its user code may have been in the middle of anything.
    fn bury(&self, run_id: RunId, ctx: &Context<Self>) {
        tracing::error!(run.id = %run_id, "the run's actor died");
        let around = std::sync::Arc::clone(&self.around);
        let (node, manager) = (self.node, ctx.address());
        actix::spawn(async move {
            let ending = match settle_dead(&around, node, run_id).await {
                Ok(ending) => ending,
                Err(error) => Ending::Lost(error.to_string()),
            };
            manager.do_send(RunEnded { run_id, ending: Some(ending) });
        });
    }
}

/// Settles the run as `ERROR` at the place where its log stands. A write of the dead actor may still be on its way: it
/// comes first, since the lane keeps the order, so this one is tried again at the new place.
async fn settle_dead(around: &Surroundings, node: NodeId, run_id: RunId) -> Result<Ending, StoreError> {
    let error = RunFailure::new(FailureKind::Internal, "the actor of the run died");
    for _ in 0..5 {
        let look = (|| around.store.facts(run_id)).retry(around.pauses()).when(StoreError::is_retryable);
        let Some(row) = look.await? else {
            return Ok(Ending::Lost("the run is not in the store".to_owned()));
        };
        if row.status.is_terminal() {
            return Ok(Ending::Settled(row.status));
        }
        if row.node != Some(node) {
            return Ok(Ending::Lost("its actor died when the run was not this node's any more".to_owned()));
        }
        let metrics = Metrics::default();
        let event = RunEvent::new(run_id, row.next_seq, last_event(RunStatus::Error, Some(&error), metrics));
        let settlement = Settlement { status: RunStatus::Error, content: None, error: Some(error.clone()), metrics };
        let advance = Advance {
            run_id,
            attempt: row.attempt,
            first_seq: row.next_seq,
            events: vec![event],
            change: Change::Settle(settlement),
        };
        if around.writer.advance(advance).await?.is_ok() {
            return Ok(Ending::Settled(RunStatus::Error));
        }
    }
    Ok(Ending::Lost("its log keeps growing though its actor died".to_owned()))
}
