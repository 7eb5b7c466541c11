//! Continues: paused runs go on when people have decided. No process has such a run, so it is a write.

use actix::prelude::*;
use tokio::time::Instant;

use super::{Reply, RunManager};
use crate::run::RunId;
use crate::store::StoreResult;
use crate::store::protocol::pause::{Continue, ContinueRefusal};

/// Lets a paused run go on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ContinueRun {
    pub(crate) asked: Continue,
    pub(crate) reply: Reply<ContinueAnswer>,
}

pub(crate) type ContinueAnswer = StoreResult<Result<(), ContinueRefusal>>;

/// The answer of the persister to a continue.
#[derive(Message)]
#[rtype(result = "()")]
struct ContinueDone {
    run_id: RunId,
    written: ContinueAnswer,
    reply: Reply<ContinueAnswer>,
}

impl Handler<ContinueRun> for RunManager {
    type Result = ();

    fn handle(&mut self, ContinueRun { asked, reply }: ContinueRun, ctx: &mut Self::Context) {
        let run_id = asked.run_id;
        tracing::info!(run.id = %run_id, "continue asked for");
        self.calls += 1;
        let manager = ctx.address();
        let written = self.around.writer.resume(asked, Instant::now() + self.limits.call_timeout);
        actix::spawn(async move {
            let written = written.await;
            manager.do_send(ContinueDone { run_id, written, reply });
        });
    }
}

impl Handler<ContinueDone> for RunManager {
    type Result = ();

    fn handle(&mut self, ContinueDone { run_id, written, reply }: ContinueDone, ctx: &mut Self::Context) {
        self.calls = self.calls.saturating_sub(1);
        if matches!(written, Ok(Ok(()))) {
            self.waiting += 1;
            self.behind = true;
            self.tell_followers(run_id);
            self.offer_work();
            self.claim(ctx);
        } else if matches!(written, Ok(Err(_))) {
            // It may have expired just now.
            self.tell_followers(run_id);
        }
        reply.send(written);
        self.finish_draining();
    }
}

impl RunManager {
    /// Whoever follows a run that is not live here finds what has happened in the store.
    fn tell_followers(&self, run_id: RunId) {
        if !self.live.contains_key(&run_id) {
            self.around.hub.leave(run_id);
        }
    }
}
