//! One run, live: a mailbox through which it is stopped, around the one `async fn` that is its life.

use std::sync::Arc;

use actix::prelude::*;

use self::ending::Ending;
use self::life::Life;
pub(crate) use self::stop::{Stop, StopSignal};
use crate::run::RunId;

pub(crate) mod ending;
pub(crate) mod journal;
pub(crate) mod life;
mod past;
mod stop;
#[cfg(test)]
mod tests;
mod work;

pub(crate) struct RunActor {
    /// Taken when the actor starts; boxed, since its place stays.
    life: Option<Box<Life>>,
    stop: StopSignal,
    death: DeathWatch,
}

/// A run is not live here any more. Without an ending its actor died.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) struct RunEnded {
    pub(crate) run_id: RunId,
    pub(crate) ending: Option<Ending>,
}

/// Tells the manager when the actor is gone, however it went: it is dropped with the actor, also by a panic, and also when
/// the actor could not be started because its arbiter is gone.
struct DeathWatch {
    run_id: RunId,
    ending: Option<Ending>,
    manager: Arc<Recipient<RunEnded>>,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        // A panic here would abort the process: nothing but a message that cannot fail.
        self.manager.do_send(RunEnded { run_id: self.run_id, ending: self.ending.take() });
    }
}

impl RunActor {
    pub(crate) fn new(life: Life, stop: StopSignal, manager: Arc<Recipient<RunEnded>>) -> Self {
        let death = DeathWatch { run_id: life.run_id(), ending: None, manager };
        Self { life: Some(Box::new(life)), stop, death }
    }
}

impl Actor for RunActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(life) = self.life.take() else { return };
        // Spawned, never waited for: a context that waits does not look into its mailbox.
        ctx.spawn(life.live().into_actor(self).map(|ending, actor, ctx| {
            actor.death.ending = Some(ending);
            ctx.stop();
        }));
    }
}

impl Handler<Stop> for RunActor {
    type Result = ();

    fn handle(&mut self, stop: Stop, _: &mut Self::Context) {
        self.stop.tell(stop);
    }
}

/// Lets a test kill the actor.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Die;

#[cfg(test)]
impl Handler<Die> for RunActor {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Self::Context) {
        panic!("killed by a test");
    }
}
