//! Shutdown: no new work, what runs may finish, the rest is handed back.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::RunManager;
use crate::actors::run_actor::Stop;
use crate::actors::run_actor::ending::Ending;

/// Refuses new runs from now on, lets live ones finish until `deadline` has passed, and hands back the rest.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Drain {
    pub(crate) deadline: Duration,
    /// How long handing back may take after that, while the database is away for example.
    pub(crate) patience: Duration,
    pub(crate) reply: oneshot::Sender<Drained>,
}

/// What became of the runs that were live when a runtime was shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Runs that settled, those included that settled as `ERROR` because their agent does not want to be run again.
    pub settled: usize,
    /// Runs that wait again, to be taken up by another runtime.
    pub handed_back: usize,
    /// Runs that wait for people.
    pub paused: usize,
    /// Runs of which the store could not be told what became of them.
    pub lost: usize,
}

/// A shutdown under way.
pub(super) struct Draining {
    replies: Vec<oneshot::Sender<Drained>>,
    drained: Drained,
}

impl Draining {
    pub(super) const fn count(&mut self, ending: &Ending) {
        match ending {
            Ending::Settled(_) => self.drained.settled += 1,
            Ending::Paused => self.drained.paused += 1,
            Ending::HandedBack | Ending::Retrying(_) => self.drained.handed_back += 1,
            Ending::Fenced | Ending::Unstored(_) => self.drained.lost += 1,
        }
    }

    fn answer(&mut self) {
        for reply in self.replies.drain(..) {
            reply.send(self.drained).ok();
        }
    }
}

impl Handler<Drain> for RunManager {
    type Result = ();

    fn handle(&mut self, Drain { deadline, patience, reply }: Drain, ctx: &mut Self::Context) {
        match &mut self.draining {
            Some(draining) => draining.replies.push(reply),
            None => {
                tracing::info!(live = self.live.len(), "shutting down");
                self.draining = Some(Draining { replies: vec![reply], drained: Drained::default() });
            }
        }
        ctx.run_later(deadline, Self::hand_back_all);
        ctx.run_later(deadline.saturating_add(patience), Self::give_up);
        self.finish_draining();
    }
}

impl RunManager {
    fn hand_back_all(&mut self, _: &mut Context<Self>) {
        for actor in self.live.values().filter_map(|live| live.actor.as_ref()) {
            actor.do_send(Stop::HandBack);
        }
    }

    fn give_up(&mut self, _: &mut Context<Self>) {
        if let Some(draining) = &mut self.draining {
            draining.drained.lost += self.live.len();
            draining.answer();
        }
        self.live.clear();
        self.giving_way = 0;
        self.tell_stopped();
    }

    /// Answers whoever waits for the shutdown, when nothing is live any more and nothing can come to life: the store has
    /// answered, and this node has no run that it does not know of.
    pub(super) fn finish_draining(&mut self) {
        let Some(draining) = &mut self.draining else { return };
        if self.live.is_empty() && self.calls == 0 && !self.lost_answers && self.early_cancels.is_empty() {
            draining.answer();
        }
    }
}
