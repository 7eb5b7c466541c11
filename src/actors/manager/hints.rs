//! What the manager does when another process hints that there is something to see.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::RunManager;
use super::claim::Seen;
use crate::actors::hub::Hub;
use crate::store::hints::{Hint, Named};
use crate::store::{NodeId, RunStore};

/// Processes that hear of the same work do not all ask for it in the same moment, but within this time.
const SPREAD_MS: u64 = 10;

/// Something may have happened that this process has not seen; answered when the cancels were looked for.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Hinted {
    /// Runs may wait.
    pub(crate) work: bool,
    /// These nodes may have runs that are to be cancelled.
    pub(crate) cancels: Named<NodeId>,
}

/// Hands on what other processes hint at. What comes while the manager is busy is joined.
pub(crate) async fn hear(store: Arc<dyn RunStore>, hub: Arc<Hub>, manager: Addr<RunManager>) {
    loop {
        let hints = store.hints().await;
        hub.ask(&hints.news);
        let hinted = Hinted { work: hints.work, cancels: hints.cancels };
        if (hinted.work || !hinted.cancels.is_empty()) && manager.send(hinted).await.is_err() {
            return;
        }
    }
}

impl Handler<Hinted> for RunManager {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Hinted { work, cancels }: Hinted, ctx: &mut Self::Context) -> Self::Result {
        if work && cancels == Named::Any {
            // This process could not hear for a while: it looks at all that it looks at in each poll interval.
            self.tick(ctx);
        }
        if work && !std::mem::replace(&mut self.claim_due, true) {
            ctx.run_later(spread(), |manager, ctx| {
                manager.claim_due = false;
                // Where there is no room, the next one that is free is for what waits.
                manager.behind = true;
                manager.claim(ctx);
            });
        }
        let node = self.node.filter(|&node| cancels.includes(node) && !self.live.is_empty());
        let store = Arc::clone(&self.around.store);
        let manager = ctx.address();
        Box::pin(async move {
            // Where this fails, the next tick looks.
            if let Some(node) = node
                && let Ok(run_ids) = store.cancel_requests(node).await
            {
                manager.do_send(Seen::CancelRequests(run_ids));
            }
        })
    }
}

impl RunManager {
    /// Tells other processes that runs wait which this one does not take up at once.
    pub(super) fn offer_work(&self) {
        self.around.store.hint(Hint::Work);
    }
}

fn spread() -> Duration {
    Duration::from_millis(RandomState::new().hash_one(()) % SPREAD_MS)
}
