//! Tells in which condition the manager is.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::RunManager;

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AskCondition {
    pub(crate) reply: oneshot::Sender<Condition>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    /// There is a lease under which runs are taken up.
    pub(crate) lease: bool,
    pub(crate) draining: bool,
}

impl Handler<AskCondition> for RunManager {
    type Result = ();

    fn handle(&mut self, AskCondition { reply }: AskCondition, _: &mut Self::Context) {
        // Whoever asked may have gone.
        reply.send(Condition { lease: self.node.is_some(), draining: self.draining.is_some() }).ok();
    }
}
