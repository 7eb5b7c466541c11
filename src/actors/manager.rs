//! The manager: knows which runs are live in this process, and is where submits, cancels and shutdowns meet them.
//!
//! It never waits: whatever takes time is a task that sends its result back as a message. The tasks are not spawned into
//! the actor's own context, which polls all that it holds whenever one of them moves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::cancel::CancelReply;
use self::children::Cascade;
use self::drain::Draining;
use self::live::{LiveRun, LiveRuns};
use self::upward::Upward;
use super::arbiters::Arbiters;
use super::children::Children;
use super::run_actor::life::{Life, Surroundings};
use super::run_actor::{RunActor, Stop, StopSignal};
use crate::agent::Agent;
use crate::run::{RunId, RunStatus, SessionPolicy};
use crate::store::{NodeId, TakenRun};

pub(crate) mod cancel;
mod children;
mod claim;
pub(crate) mod condition;
pub(crate) mod drain;
mod ended;
pub(crate) mod hints;
mod lease;
mod live;
pub(crate) mod resume;
pub(crate) mod room;
pub(crate) mod submit;
#[cfg(test)]
mod tests;
mod upward;

/// The agents that a runtime knows, by name.
pub(crate) type Agents = HashMap<Arc<str>, Arc<Agent>>;

/// The numbers that the manager goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ManagerLimits {
    /// How many runs are live at the same time.
    pub(crate) max_running: usize,
    /// How many runs may wait unowned in the store.
    pub(crate) max_waiting: usize,
    /// How often the store is looked at for what nobody told this process.
    pub(crate) poll_interval: Duration,
    /// How long a submit or a cancel may wait for its commit.
    pub(crate) call_timeout: Duration,
    /// The largest input of a child, in bytes.
    pub(crate) max_input: usize,
    /// Whether this process tells webhooks.
    #[cfg(feature = "webhooks")]
    pub(crate) tells_webhooks: bool,
}

pub(crate) struct RunManager {
    /// Under which lease this process takes up runs; `None` while it has none.
    node: Option<NodeId>,
    agents: Arc<Agents>,
    around: Arc<Surroundings>,
    arbiters: Arbiters,
    limits: ManagerLimits,
    upward: Upward,
    live: LiveRuns,
    /// How many runs wait unowned in the store, as far as this process knows.
    waiting: usize,
    /// Runs whose inserts are under way and that are to wait there as well.
    arriving: HashSet<RunId>,
    /// Among those that wait there may be some that this node can take up now.
    behind: bool,
    /// A claim is about to be made, since others have hinted at work.
    claim_due: bool,
    /// How many runs the claim that is under way may bring; 0 when there is none.
    claiming: usize,
    /// And how many of them of each agent that has a limit of its own.
    claiming_of: HashMap<Arc<str>, usize>,
    /// How many answers of the store are still to come that somebody, or some run, depends on.
    calls: usize,
    /// A claim or an insert got no answer: this node may have runs that it does not know of.
    lost_answers: bool,
    /// Cancels of runs that are this node's and not live yet.
    early_cancels: HashMap<RunId, Vec<CancelReply>>,
    cascade: Cascade,
    draining: Option<Draining>,
    /// Whoever waits for the runs of a lost lease to have stopped.
    stopping: Option<oneshot::Sender<()>>,
    /// How many ticks have looked at the store.
    ticks: u64,
    /// A tick's look is under way.
    looking: bool,
}

/// A reply that is owed, and the admission that its caller holds until then.
pub(crate) struct Reply<T> {
    pub(crate) to: oneshot::Sender<T>,
    /// Children hold none: their parent waits for the answer.
    pub(crate) admission: Option<Admission>,
}

/// The place of a call among those that wait for their answers; free again when dropped.
pub(crate) struct Admission {
    pub(crate) _call: OwnedSemaphorePermit,
    pub(crate) _input: OwnedSemaphorePermit,
}

impl<T> Reply<T> {
    /// The caller may have gone away: what it asked for is done all the same.
    pub(crate) fn send(self, answer: T) {
        drop(self.admission);
        self.to.send(answer).ok();
    }
}

impl RunManager {
    pub(crate) fn new(
        node: NodeId,
        agents: Arc<Agents>,
        around: Arc<Surroundings>,
        arbiters: Arbiters,
        limits: ManagerLimits,
    ) -> Self {
        Self {
            node: Some(node),
            agents,
            around,
            arbiters,
            limits,
            upward: Upward::default(),
            live: LiveRuns::default(),
            waiting: 0,
            arriving: HashSet::new(),
            behind: true,
            claim_due: false,
            claiming: 0,
            claiming_of: HashMap::new(),
            calls: 0,
            lost_answers: false,
            early_cancels: HashMap::new(),
            cascade: Cascade::default(),
            draining: None,
            stopping: None,
            ticks: 0,
            looking: false,
        }
    }

    /// Counts a run that does not wait any more. One whose insert has not been answered yet was never counted, and is not
    /// counted when the answer comes.
    fn count_off(&mut self, run_id: RunId) {
        if !self.arriving.remove(&run_id) {
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Takes in that a run has settled that waited, as the status says that it had: those that wait for people are not counted.
    fn settled_waiting(&mut self, run_id: RunId, was: RunStatus) {
        if was == RunStatus::Pending {
            self.count_off(run_id);
        }
        // Whoever follows the run here finds its last event in the store.
        self.around.hub.leave(run_id);
        if self.agents.values().any(|agent| agent.sessions == SessionPolicy::InOrder) {
            // The next of its session, here or elsewhere, may have waited for this.
            self.behind = true;
            self.offer_work();
        }
    }

    /// Gives a run that is this node's its actor. It may have one already: a claim, an insert and a look for what was missed
    /// may all bring the same run.
    fn enliven(&mut self, taken: TakenRun, ctx: &Context<Self>) {
        let run_id = taken.run.output.run_id;
        let Some(agent) = self.agents.get(taken.run.output.agent.as_str()).cloned() else {
            // Claims ask for known agents only, and so do submits.
            tracing::error!(run.id = %run_id, run.agent = taken.run.output.agent, "no such agent here");
            return;
        };
        let user_id = taken.run.output.user_id.clone();
        let live = self.live.get_or_insert(run_id, LiveRun::of(&agent, user_id.clone()));
        if live.actor.is_some() {
            if taken.run.attempt > live.attempt {
                live.next = Some(taken);
            }
            return;
        }
        live.attempt = taken.run.attempt;
        live.user_id = user_id;
        if let Some(replies) = self.early_cancels.remove(&run_id) {
            live.cancels.extend(replies);
            live.cancel_wanted = true;
        }
        let first = match (live.cancel_wanted, &self.draining) {
            (true, _) => Some(Stop::Cancel),
            (false, Some(_)) => Some(Stop::HandBack),
            (false, None) => None,
        };
        self.around.hub.enter(run_id);
        let stop = StopSignal::new(first);
        let (submits, ends) = self.upward.to(ctx);
        let (agents, around) = (Arc::clone(&self.agents), Arc::clone(&self.around));
        let children = Arc::new(Children::new(Arc::clone(&taken.run), agents, around, self.limits, submits));
        let life = Life::new(taken, agent, Arc::clone(&self.around), children, stop.clone());
        let actor = RunActor::start_in_arbiter(&self.arbiters.next(), |_| RunActor::new(life, stop, ends));
        live.actor = Some(actor);
    }
}

impl Actor for RunManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.limits.poll_interval, Self::tick);
        self.claim(ctx);
    }
}
