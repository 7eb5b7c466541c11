//! What the manager does about runs that have children: they give way to them while they wait, and a cancel of theirs is
//! handed down.
//!
//! Which children are still to be cancelled is never written down: it is what the rows say. So nothing can be lost between the
//! end of a run and the cancel of its children, whoever dies; it is looked for at once by whoever hears of the end, and by
//! everybody from time to time.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::RunManager;
use crate::actors::children::Waits;
use crate::run::RunId;
use crate::store::StoreResult;

/// The most children that one look brings.
const CHILDREN: usize = 500;

/// How long after a look that has brought so many the next one follows.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs that were cancelled and whose children may have to be cancelled as well.
#[derive(Default)]
pub(super) struct Cascade {
    parents: Vec<RunId>,
    /// A look for their children is under way.
    looking: bool,
}

/// What a look for the children of cancelled runs has brought.
#[derive(Message)]
#[rtype(result = "()")]
struct Children {
    /// Whose they are; anybody's when it was a look for what nobody told.
    parents: Option<Vec<RunId>>,
    found: StoreResult<Vec<RunId>>,
}

impl Handler<Waits> for RunManager {
    type Result = ();

    fn handle(&mut self, Waits { parent, attempt, begins }: Waits, ctx: &mut Self::Context) {
        if let Some(agent) = self.live.note_wait(parent, attempt, begins) {
            self.behind |= self.agents.get(&agent).is_some_and(|agent| agent.holds_back());
            self.go_on(ctx);
        }
    }
}

impl RunManager {
    /// Cancels what is below a run that was cancelled.
    pub(super) fn cancel_children(&mut self, parent: RunId, ctx: &Context<Self>) {
        self.cascade.parents.push(parent);
        self.look_for_children(ctx);
    }

    fn look_for_children(&mut self, ctx: &Context<Self>) {
        if self.cascade.looking || self.cascade.parents.is_empty() {
            return;
        }
        self.cascade.looking = true;
        let parents = std::mem::take(&mut self.cascade.parents);
        self.find_children(Some(parents), ctx);
    }

    /// Looks for children that are to be cancelled and that nobody told this process of.
    pub(super) fn find_any_children(&mut self, ctx: &Context<Self>) {
        self.find_children(None, ctx);
    }

    fn find_children(&mut self, parents: Option<Vec<RunId>>, ctx: &Context<Self>) {
        self.calls += 1;
        let store = Arc::clone(&self.around.store);
        let manager = ctx.address();
        actix::spawn(async move {
            let found = store.uncancelled_children(parents.clone(), CHILDREN).await;
            manager.do_send(Children { parents, found });
        });
    }
}

impl Handler<Children> for RunManager {
    type Result = ();

    fn handle(&mut self, Children { parents, found }: Children, ctx: &mut Self::Context) {
        self.calls = self.calls.saturating_sub(1);
        self.cascade.looking &= parents.is_none();
        match found {
            Ok(children) => {
                if children.len() == CHILDREN {
                    // By then those of this look are not among them any more.
                    ctx.run_later(PAUSE, |manager, ctx| {
                        manager.cascade.parents.extend(parents.into_iter().flatten());
                        manager.look_for_children(ctx);
                    });
                }
                for child in children {
                    tracing::info!(run.id = %child, "cancelled with a run above it");
                    if self.live.contains_key(&child) {
                        self.cancel_live(child, None);
                    } else {
                        self.cancel_in_store(child, None, ctx);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "children of cancelled runs were not found; they are looked for again");
            }
        }
        self.look_for_children(ctx);
        self.finish_draining();
    }
}
