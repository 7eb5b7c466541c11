//! The runs that are this node's, and how many of them each agent has.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use actix::Addr;
use tokio_util::task::AbortOnDropHandle;

use super::cancel::CancelReply;
use crate::actors::run_actor::RunActor;
use crate::agent::Agent;
use crate::run::{RunId, UserId};
use crate::store::TakenRun;

/// A run that is this node's: submitted and not yet durable, or with an actor of its own.
pub(super) struct LiveRun {
    pub(super) agent: Arc<str>,
    /// Whom the run belongs to.
    pub(super) user_id: Option<UserId>,
    pub(super) actor: Option<Addr<RunActor>>,
    /// The attempt that the actor plays.
    pub(super) attempt: u32,
    /// The actor is dead, and the run is being settled without it.
    pub(super) burial: Option<AbortOnDropHandle<()>>,
    /// A later attempt that is this node's as well, taken up before the actor was heard to be gone.
    pub(super) next: Option<TakenRun>,
    /// Somebody wants it cancelled; those who wait for the answer are in `cancels`.
    pub(super) cancel_wanted: bool,
    pub(super) cancels: Vec<CancelReply>,
    /// How many children it waits for.
    waits_for: usize,
}

impl LiveRun {
    pub(super) fn of(agent: &Agent, user_id: Option<UserId>) -> Self {
        Self {
            agent: Arc::clone(&agent.name),
            user_id,
            actor: None,
            attempt: 0,
            burial: None,
            next: None,
            cancel_wanted: false,
            cancels: Vec::new(),
            waits_for: 0,
        }
    }
}

/// All of them. Those at work are counted by agent as they come and go: claims ask for the numbers, however many runs there
/// are. Those that wait for children give way to others.
#[derive(Default)]
pub(super) struct LiveRuns {
    runs: HashMap<RunId, LiveRun>,
    at_work: Counts,
}

#[derive(Default)]
struct Counts {
    of_agents: HashMap<Arc<str>, usize>,
    all: usize,
}

impl Counts {
    fn add(&mut self, agent: &Arc<str>) {
        *self.of_agents.entry(Arc::clone(agent)).or_default() += 1;
        self.all += 1;
    }

    fn take_off(&mut self, run: &LiveRun) {
        if run.waits_for == 0
            && let Some(count) = self.of_agents.get_mut(&run.agent)
        {
            *count -= 1;
            self.all -= 1;
        }
    }
}

impl LiveRuns {
    /// How many runs of an agent are at work.
    pub(super) fn at_work_of(&self, agent: &str) -> usize {
        self.at_work.of_agents.get(agent).copied().unwrap_or_default()
    }

    /// How many runs are at work.
    pub(super) const fn at_work(&self) -> usize {
        self.at_work.all
    }

    pub(super) fn get_mut(&mut self, run_id: RunId) -> Option<&mut LiveRun> {
        self.runs.get_mut(&run_id)
    }

    /// The run that is there, or else `new`.
    pub(super) fn get_or_insert(&mut self, run_id: RunId, new: LiveRun) -> &mut LiveRun {
        let at_work = &mut self.at_work;
        self.runs.entry(run_id).or_insert_with(|| {
            at_work.add(&new.agent);
            new
        })
    }

    /// Takes in that this attempt of a run begins to wait for one more child, or has waited for one. Answers the run's agent
    /// when it gives way to others from now on; one that goes on does so at once, even if its place was taken meanwhile.
    pub(super) fn note_wait(&mut self, run_id: RunId, attempt: u32, begins: bool) -> Option<Arc<str>> {
        let run = self.runs.get_mut(&run_id).filter(|run| run.attempt == attempt)?;
        let waited = run.waits_for > 0;
        if begins {
            self.at_work.take_off(run);
            run.waits_for += 1;
            return (!waited).then(|| Arc::clone(&run.agent));
        }
        run.waits_for = run.waits_for.saturating_sub(1);
        if waited && run.waits_for == 0 {
            self.at_work.add(&run.agent);
        }
        None
    }

    pub(super) fn remove(&mut self, run_id: RunId) -> Option<LiveRun> {
        let removed = self.runs.remove(&run_id)?;
        self.at_work.take_off(&removed);
        Some(removed)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(RunId, &mut LiveRun) -> bool) {
        let at_work = &mut self.at_work;
        self.runs.retain(|&run_id, live| {
            let kept = keep(run_id, live);
            if !kept {
                at_work.take_off(live);
            }
            kept
        });
    }
}

impl Deref for LiveRuns {
    type Target = HashMap<RunId, LiveRun>;

    fn deref(&self) -> &Self::Target {
        &self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::{LiveRun, LiveRuns};
    use crate::agent::{Agent, RunContext};
    use crate::run::RunId;

    fn agent(name: &str) -> Agent {
        Agent::builder(name).code(|_: RunContext| async { Ok(()) }).build().unwrap()
    }

    #[test]
    fn runs_at_work_are_counted_as_they_come_and_go_and_wait() {
        let (one, other) = (agent("one"), agent("other"));
        let ids: Vec<RunId> = (0..4).map(|_| RunId::new()).collect();
        let mut live = LiveRuns::default();
        for (&run_id, agent) in ids.iter().zip([&one, &one, &one, &other]) {
            live.get_or_insert(run_id, LiveRun::of(agent, None));
            live.get_or_insert(run_id, LiveRun::of(agent, None));
        }
        let counts = |live: &LiveRuns| (live.at_work_of("one"), live.at_work_of("other"), live.at_work(), live.len());
        assert_eq!((counts(&live), live.at_work_of("no such agent")), ((3, 1, 4, 4), 0));

        assert_eq!(live.note_wait(ids[0], 0, true).as_deref(), Some("one"));
        assert_eq!(live.note_wait(ids[0], 0, true), None);
        assert_eq!(live.note_wait(ids[0], 7, true), None, "another attempt has nothing to say");
        assert_eq!(counts(&live), (2, 1, 3, 4));
        assert_eq!(live.note_wait(ids[0], 0, false), None);
        assert_eq!(counts(&live), (2, 1, 3, 4), "it still waits for the other child");

        // One that waits is not at work, and is not taken off twice.
        assert!(live.remove(ids[0]).is_some());
        assert!(live.remove(ids[0]).is_none());
        assert_eq!(counts(&live), (2, 1, 3, 3));

        live.note_wait(ids[3], 0, true);
        live.note_wait(ids[3], 0, false);
        live.note_wait(ids[3], 0, false);
        assert_eq!(counts(&live), (2, 1, 3, 3), "it is at work again, once");

        live.retain(|run_id, _| run_id == ids[1]);
        assert_eq!(counts(&live), (1, 0, 1, 1));
    }
}
