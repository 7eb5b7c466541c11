//! Takes up what waits in the store, and looks there for what nobody told this process.

use actix::prelude::*;

use super::RunManager;
use crate::run::{RunId, RunStatus};
use crate::store::{NodeId, StoreResult, TakenRun};

/// The most runs that one claim takes up.
const CLAIM: usize = 100;

/// The most runs that are settled at one look because they have waited for too long.
const OVERDUE: usize = 500;

/// Every so many ticks a node looks for runs of its own that it was not told of. What got no answer is looked for at once;
/// but a request that was given up may still be on its way then, and be done later.
const TICKS_BETWEEN_LOOKS: u64 = 10;

/// The store's answer to a claim.
#[derive(Message)]
#[rtype(result = "()")]
struct ClaimDone {
    node: NodeId,
    asked: usize,
    taken: StoreResult<Vec<TakenRun>>,
}

/// What a look at the store has brought.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Seen {
    /// Runs of this node that others want cancelled.
    CancelRequests(Vec<RunId>),
    /// Runs of this node that have not been started; `None` when the store did not say.
    Unstarted(NodeId, Option<Vec<TakenRun>>),
    /// How many runs wait.
    Waiting(usize),
    /// Runs that have settled because they had waited for too long, and what they were.
    Overdue(Vec<(RunId, RunStatus)>),
    /// There is nothing more to come of this look.
    All,
}

impl RunManager {
    /// Takes up as many waiting runs as there is room for, when no claim is under way.
    pub(super) fn claim(&mut self, ctx: &Context<Self>) {
        let Some(node) = self.node else { return };
        if self.claiming > 0 || self.draining.is_some() {
            return;
        }
        let Some(claim) = self.claim_of(node, CLAIM) else { return };
        let limit = claim.limit;
        self.keep_places(&claim);
        self.calls += 1;
        // What comes to wait from here on may not be seen by this claim.
        self.behind = false;
        let writer = self.around.writer.clone();
        let manager = ctx.address();
        actix::spawn(async move {
            let taken = writer.claim(claim).await;
            manager.do_send(ClaimDone { node, asked: limit, taken });
        });
    }

    /// The floor under everything that hints and messages bring faster.
    pub(super) fn tick(&mut self, ctx: &mut Context<Self>) {
        self.claim(ctx);
        if self.looking {
            // A store that is slow is not asked more than it answers.
            return;
        }
        self.looking = true;
        self.ticks += 1;
        let store = std::sync::Arc::clone(&self.around.store);
        let node = self.node;
        let manager = ctx.address();
        let any_live = !self.live.is_empty();
        let looks = std::mem::take(&mut self.lost_answers) || self.ticks.is_multiple_of(TICKS_BETWEEN_LOOKS);
        // What other processes leave waiting counts as well, so the first tick looks too.
        let (count, most) = (self.waiting > 0 || self.ticks == 1, self.most_waiting());
        if looks || self.ticks == 1 {
            self.find_any_children(ctx);
        }
        self.calls += usize::from(looks && node.is_some());
        actix::spawn(async move {
            if let Some(node) = node {
                if any_live && let Ok(run_ids) = store.cancel_requests(node).await {
                    manager.do_send(Seen::CancelRequests(run_ids));
                }
                if looks {
                    manager.do_send(Seen::Unstarted(node, store.unstarted(node).await.ok()));
                }
            }
            if count && let Ok(waiting) = store.count_waiting(most).await {
                manager.do_send(Seen::Waiting(waiting));
            }
            match store.settle_overdue(OVERDUE).await {
                Ok(settled) if !settled.is_empty() => manager.do_send(Seen::Overdue(settled)),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "runs that have waited for too long were not looked for"),
            }
            manager.do_send(Seen::All);
        });
    }
}

impl Handler<ClaimDone> for RunManager {
    type Result = ();

    fn handle(&mut self, ClaimDone { node, asked, taken }: ClaimDone, ctx: &mut Self::Context) {
        self.free_places();
        self.calls -= 1;
        if self.node != Some(node) {
            // What it has brought belongs to a lease that was lost, and is taken over like all of it.
            return self.go_on(ctx);
        }
        match taken {
            Ok(taken) => {
                self.behind |= taken.len() == asked;
                for one in taken {
                    self.count_off(one.run.output.run_id);
                    self.enliven(one, ctx);
                }
                self.go_on(ctx);
            }
            Err(error) => {
                tracing::warn!(%error, "waiting runs could not be taken up");
                self.lost_answers = true;
                self.behind = true;
            }
        }
    }
}

impl Handler<Seen> for RunManager {
    type Result = ();

    fn handle(&mut self, seen: Seen, ctx: &mut Self::Context) {
        match seen {
            Seen::All => self.looking = false,
            Seen::CancelRequests(run_ids) => {
                for run_id in run_ids {
                    self.cancel_live(run_id, None);
                }
            }
            // Those that are arriving may be among them, and are counted again when their inserts are answered.
            Seen::Waiting(waiting) => self.waiting = waiting.saturating_sub(self.arriving.len()),
            Seen::Overdue(runs) => {
                for (run_id, was) in runs {
                    tracing::warn!(run.id = %run_id, run.status = %was, "the run has waited for too long");
                    self.settled_waiting(run_id, was);
                }
                self.go_on(ctx);
            }
            Seen::Unstarted(node, _) if self.node != Some(node) => {
                self.calls -= 1;
                self.finish_draining();
            }
            Seen::Unstarted(_, None) => {
                self.calls -= 1;
                self.lost_answers = true;
            }
            Seen::Unstarted(_, Some(unstarted)) => {
                self.calls -= 1;
                for taken in unstarted {
                    self.enliven(taken, ctx);
                }
                // What is not this node's after all is cancelled by a write.
                for (run_id, replies) in std::mem::take(&mut self.early_cancels) {
                    for reply in replies {
                        self.cancel_in_store(run_id, Some(reply), ctx);
                    }
                }
                self.finish_draining();
            }
        }
    }
}
