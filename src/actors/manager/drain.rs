//! Shutdown: no new work, what runs may finish, the rest is handed back.

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::RunManager;
use crate::actors::run_actor::Stop;
use crate::actors::run_actor::ending::Ending;
use crate::run::RunId;

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

/// What has become of a run.
#[derive(Clone, Copy)]
enum Fate {
    Settled,
    HandedBack,
    Paused,
    Lost,
}

/// A shutdown under way.
pub(super) struct Draining {
    replies: Vec<oneshot::Sender<Drained>>,
    /// Of a run with several attempts here, one after the other, the last one counts.
    fates: HashMap<RunId, Fate>,
}

impl Draining {
    pub(super) fn count(&mut self, run_id: RunId, ending: &Ending) {
        let fate = match ending {
            Ending::Settled(_) => Fate::Settled,
            Ending::Paused => Fate::Paused,
            Ending::HandedBack | Ending::Retrying(_) => Fate::HandedBack,
            Ending::Fenced | Ending::Unstored(_) => Fate::Lost,
        };
        self.fates.insert(run_id, fate);
    }

    fn answer(&mut self) {
        let mut drained = Drained::default();
        for fate in self.fates.values() {
            match fate {
                Fate::Settled => drained.settled += 1,
                Fate::HandedBack => drained.handed_back += 1,
                Fate::Paused => drained.paused += 1,
                Fate::Lost => drained.lost += 1,
            }
        }
        for reply in self.replies.drain(..) {
            reply.send(drained).ok();
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
                self.draining = Some(Draining { replies: vec![reply], fates: HashMap::new() });
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
            draining.fates.extend(self.live.keys().map(|&run_id| (run_id, Fate::Lost)));
            draining.answer();
        }
        // They stay among the live ones: they are at work, and can be cancelled, abandoned, and waited for once more.
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
