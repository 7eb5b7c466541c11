//! What the manager does when the lease is lost, and when there is a new one.

use actix::prelude::*;

use super::RunManager;
use crate::actors::lease::LeaseNews;
use crate::actors::run_actor::Stop;
use crate::actors::run_actor::ending::Ending;
use crate::run::RunId;
use crate::store::protocol::Takeover;

impl Handler<LeaseNews> for RunManager {
    type Result = ();

    fn handle(&mut self, news: LeaseNews, ctx: &mut Self::Context) {
        match news {
            LeaseNews::Lost { node, stopped } => {
                if self.node == Some(node) {
                    self.stop_all(ctx);
                }
                self.stopping = Some(stopped);
                self.tell_stopped();
                self.finish_draining();
            }
            LeaseNews::Begun { node } => {
                self.node = Some(node);
                self.behind = true;
                self.claim(ctx);
            }
            LeaseNews::Swept(swept) => self.note_swept(swept, ctx),
        }
    }
}

impl RunManager {
    /// Stops every run: others may take them up from now on.
    fn stop_all(&mut self, ctx: &Context<Self>) {
        self.node = None;
        self.lost_answers = false;
        let mut replies = Vec::new();
        self.live.retain(|run_id, live| {
            replies.extend(live.cancels.drain(..).map(|reply| (run_id, reply)));
            let actor = live.actor.as_ref().filter(|actor| live.burial.is_none() && actor.connected());
            // It would belong to the lost lease as well.
            live.next = None;
            if let Some(actor) = actor {
                actor.do_send(Stop::Abandon);
                return true;
            }
            // What has no actor that could end is forgotten at once: a place that was kept, and what is being buried, which
            // writes nothing any more.
            self.around.hub.leave(run_id);
            if let Some(draining) = self.draining.as_mut().filter(|_| live.burial.is_some()) {
                draining.count(run_id, &Ending::Fenced);
            }
            false
        });
        for (run_id, waiting) in self.early_cancels.drain() {
            replies.extend(waiting.into_iter().map(|reply| (run_id, reply)));
        }
        // The request on the row is seen by whoever takes the run over.
        for (run_id, reply) in replies {
            self.cancel_in_store(run_id, Some(reply), ctx);
        }
    }

    /// Tells whoever waits for it that nothing of the lost lease is running any more.
    pub(super) fn tell_stopped(&mut self) {
        if self.live.is_empty()
            && let Some(stopped) = self.stopping.take()
        {
            stopped.send(()).ok();
        }
    }

    fn note_swept(&mut self, swept: Vec<(RunId, Takeover)>, ctx: &Context<Self>) {
        for (run_id, _) in swept.iter().filter(|(_, takeover)| *takeover == Takeover::Cancel) {
            self.cancel_children(*run_id, ctx);
        }
        if swept.iter().any(|(_, takeover)| *takeover == Takeover::Requeue) {
            // There may be more than there is room for here, or of agents that are not known here.
            self.offer_work();
        }
        for (run_id, takeover) in swept {
            match takeover {
                Takeover::Requeue => {
                    self.waiting += 1;
                    self.behind = true;
                }
                // Whoever follows the run here finds its last event in the store.
                Takeover::Fail(_) | Takeover::Cancel if self.live.contains_key(&run_id) => {}
                Takeover::Fail(_) | Takeover::Cancel => self.around.hub.leave(run_id),
            }
        }
        if self.behind {
            self.claim(ctx);
        }
    }
}
