//! The runs that are this node's, and how many of them each agent has.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use actix::Addr;

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
    /// A later attempt that is this node's as well, taken up before the actor was heard to be gone.
    pub(super) next: Option<TakenRun>,
    /// Somebody wants it cancelled; those who wait for the answer are in `cancels`.
    pub(super) cancel_wanted: bool,
    pub(super) cancels: Vec<CancelReply>,
}

impl LiveRun {
    pub(super) fn of(agent: &Agent, user_id: Option<UserId>) -> Self {
        Self {
            agent: Arc::clone(&agent.name),
            user_id,
            actor: None,
            attempt: 0,
            next: None,
            cancel_wanted: false,
            cancels: Vec::new(),
        }
    }
}

/// All of them. Each agent's are counted as they come and go: claims ask for the numbers, however many runs there are.
#[derive(Default)]
pub(super) struct LiveRuns {
    runs: HashMap<RunId, LiveRun>,
    of_agents: HashMap<Arc<str>, usize>,
}

impl LiveRuns {
    /// How many runs of an agent there are.
    pub(super) fn of(&self, agent: &str) -> usize {
        self.of_agents.get(agent).copied().unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, run_id: RunId) -> Option<&mut LiveRun> {
        self.runs.get_mut(&run_id)
    }

    /// The run that is there, or else `new`.
    pub(super) fn get_or_insert(&mut self, run_id: RunId, new: LiveRun) -> &mut LiveRun {
        let of_agents = &mut self.of_agents;
        self.runs.entry(run_id).or_insert_with(|| {
            *of_agents.entry(Arc::clone(&new.agent)).or_default() += 1;
            new
        })
    }

    pub(super) fn remove(&mut self, run_id: RunId) -> Option<LiveRun> {
        let removed = self.runs.remove(&run_id)?;
        count_off(&mut self.of_agents, &removed.agent);
        Some(removed)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(RunId, &mut LiveRun) -> bool) {
        let of_agents = &mut self.of_agents;
        self.runs.retain(|&run_id, live| {
            let kept = keep(run_id, live);
            if !kept {
                count_off(of_agents, &live.agent);
            }
            kept
        });
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.of_agents.clear();
    }
}

fn count_off(of_agents: &mut HashMap<Arc<str>, usize>, agent: &str) {
    if let Some(count) = of_agents.get_mut(agent) {
        *count -= 1;
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
    fn each_agents_runs_are_counted_as_they_come_and_go() {
        let (one, other) = (agent("one"), agent("other"));
        let ids: Vec<RunId> = (0..4).map(|_| RunId::new()).collect();
        let mut live = LiveRuns::default();
        for (&run_id, agent) in ids.iter().zip([&one, &one, &one, &other]) {
            live.get_or_insert(run_id, LiveRun::of(agent, None));
            live.get_or_insert(run_id, LiveRun::of(agent, None));
        }
        assert_eq!((live.of("one"), live.of("other"), live.of("no such agent"), live.len()), (3, 1, 0, 4));

        assert!(live.remove(ids[0]).is_some());
        assert!(live.remove(ids[0]).is_none());
        assert_eq!((live.of("one"), live.of("other")), (2, 1));

        live.retain(|run_id, _| run_id == ids[1]);
        assert_eq!((live.of("one"), live.of("other"), live.len()), (1, 0, 1));

        live.clear();
        assert_eq!((live.of("one"), live.is_empty()), (0, true));
    }
}
