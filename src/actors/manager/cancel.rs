//! Cancels: a message to the run's actor when the run is live here, else a write.

#[cfg(feature = "web")]
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::{Reply, RunManager};
use crate::actors::run_actor::Stop;
use crate::run::{RunId, RunStatus, UserId};
use crate::store::hints::Hint;
use crate::store::protocol::{Cancel, CancelWritten};
use crate::store::{StoreError, StoreResult};

/// Cancels a run, whether it exists or not.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CancelRun {
    pub(crate) run_id: RunId,
    pub(crate) reply: CancelReply,
}

/// Cancels a run whose reader has gone, when that was not because the process is about to stop.
#[cfg(feature = "web")]
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CancelDeserted(pub(crate) CancelRun);

/// How long after its connections a server's runtime may begin its shutdown.
#[cfg(feature = "web")]
const BEFORE_SHUTDOWN: Duration = Duration::from_secs(1);

/// Who waits for the answer to a cancel, and whose run it may hit: anybody's when it is on nobody's behalf.
pub(crate) struct CancelReply {
    pub(crate) user_id: Option<UserId>,
    pub(crate) reply: Reply<StoreResult<CancelAnswer>>,
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelAnswer {
    Cancelled,
    /// Another process has the run; the request is durable.
    Requested,
    AlreadySettled(RunStatus),
    IntentStored,
    TooManyIntents,
}

/// The answer of the persister to a cancel.
#[derive(Message)]
#[rtype(result = "()")]
struct CancelDone {
    run_id: RunId,
    written: StoreResult<CancelWritten>,
    reply: Option<CancelReply>,
}

impl Handler<CancelRun> for RunManager {
    type Result = ();

    fn handle(&mut self, CancelRun { run_id, reply }: CancelRun, ctx: &mut Self::Context) {
        tracing::info!(run.id = %run_id, "cancel asked for");
        let cancel = Cancel { run_id, user_id: reply.user_id.clone() };
        if self.live.get(&run_id).is_some_and(|live| cancel.hits(live.user_id.as_ref())) {
            self.cancel_live(run_id, Some(reply));
        } else {
            self.cancel_in_store(run_id, Some(reply), ctx);
        }
    }
}

#[cfg(feature = "web")]
impl Handler<CancelDeserted> for RunManager {
    type Result = ();

    fn handle(&mut self, CancelDeserted(cancel): CancelDeserted, ctx: &mut Self::Context) {
        ctx.run_later(BEFORE_SHUTDOWN, move |manager, ctx| {
            if manager.draining.is_none() {
                manager.handle(cancel, ctx);
            }
        });
    }
}

impl RunManager {
    /// Cancels a run that is live here; the answer comes when it has ended.
    pub(super) fn cancel_live(&mut self, run_id: RunId, reply: Option<CancelReply>) {
        let Some(live) = self.live.get_mut(run_id) else { return };
        live.cancels.extend(reply);
        live.cancel_wanted = true;
        if let Some(actor) = &live.actor {
            actor.do_send(Stop::Cancel);
        }
    }

    /// Cancels a run that is not live here, by a write.
    pub(super) fn cancel_in_store(&mut self, run_id: RunId, reply: Option<CancelReply>, ctx: &Context<Self>) {
        self.calls += 1;
        let manager = ctx.address();
        let cancel = Cancel { run_id, user_id: reply.as_ref().and_then(|reply| reply.user_id.clone()) };
        let written = self.around.writer.cancel(cancel, Instant::now() + self.limits.call_timeout);
        actix::spawn(async move {
            let written = written.await;
            manager.do_send(CancelDone { run_id, written, reply });
        });
    }
}

impl Handler<CancelDone> for RunManager {
    type Result = ();

    fn handle(&mut self, CancelDone { run_id, written, reply }: CancelDone, ctx: &mut Self::Context) {
        self.calls = self.calls.saturating_sub(1);
        let answer = match written {
            Ok(CancelWritten::Cancelled) => self.cancelled_unowned(run_id, RunStatus::Pending, ctx),
            Ok(CancelWritten::CancelledPaused) => self.cancelled_unowned(run_id, RunStatus::Paused, ctx),
            Ok(CancelWritten::Requested(node)) if Some(node) == self.node => return self.cancel_own(run_id, reply),
            Ok(CancelWritten::Requested(node)) => {
                self.around.store.hint(Hint::Cancel(node));
                Ok(CancelAnswer::Requested)
            }
            Ok(CancelWritten::Settled(status)) => Ok(settled(status)),
            Ok(CancelWritten::IntentStored) => Ok(CancelAnswer::IntentStored),
            Ok(CancelWritten::TooManyIntents) => Ok(CancelAnswer::TooManyIntents),
            Err(error) => Err(error),
        };
        if let Some(CancelReply { reply, .. }) = reply {
            reply.send(answer);
        }
        self.finish_draining();
    }
}

impl RunManager {
    /// Takes in that a run is cancelled that nobody had.
    fn cancelled_unowned(
        &mut self,
        run_id: RunId,
        was: RunStatus,
        ctx: &mut Context<Self>,
    ) -> StoreResult<CancelAnswer> {
        self.settled_waiting(run_id, was);
        self.cancel_children(run_id, ctx);
        self.go_on(ctx);
        Ok(CancelAnswer::Cancelled)
    }

    /// Cancels a run that turned out to be this node's: it has come to life meanwhile, or is about to.
    fn cancel_own(&mut self, run_id: RunId, reply: Option<CancelReply>) {
        if self.live.contains_key(&run_id) {
            return self.cancel_live(run_id, reply);
        }
        // The claim that took it up has not been heard of yet.
        self.lost_answers = true;
        self.early_cancels.entry(run_id).or_default().extend(reply);
    }

    /// Answers those who wait for the cancel of a run that has ended.
    pub(super) fn answer_cancels(replies: Vec<CancelReply>, answer: &StoreResult<CancelAnswer>) {
        for CancelReply { reply, .. } in replies {
            reply.send(answer.clone());
        }
    }
}

/// What to say to a cancel of a run that has settled with `status`.
pub(super) fn settled(status: RunStatus) -> CancelAnswer {
    CancelAnswer::AlreadySettled(status)
}

/// What to say to a cancel of a run that this process lost before the cancel was durable.
pub(super) fn lost() -> StoreError {
    StoreError::Unavailable("this process has lost the run; cancel it again".to_owned())
}
