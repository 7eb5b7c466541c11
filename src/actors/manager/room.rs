//! How many more runs may be live here, in all and of each agent.

use std::sync::Arc;

use super::RunManager;
use super::live::LiveRun;
use crate::agent::Agent;
use crate::run::{RunId, SessionPolicy};
use crate::store::{AgentRoom, Claim, NodeId};

/// Whether a run of `agent` has to wait until a claim takes it up, even when there is room: how many there are elsewhere, and
/// what its session does, is only known by one.
pub(crate) fn begins_by_claims(agent: &Agent) -> bool {
    agent.sessions == SessionPolicy::InOrder || agent.max_running_everywhere.is_some()
}

impl RunManager {
    /// The room for runs of any agent.
    pub(super) fn room(&self) -> usize {
        self.limits.max_running.saturating_sub(self.live.at_work() + self.claiming)
    }

    /// Whether a new run of `agent` can be this node's at once: there is room, and it need not wait for its session.
    pub(super) fn can_begin(&self, agent: &Agent) -> bool {
        !begins_by_claims(agent) && self.has_room(agent)
    }

    /// How many new runs of `agent` there is room for once what is about to be claimed has turned out to be nothing: until
    /// then they wait, and not for room.
    pub(super) fn room_besides_claims(&self, agent: &Agent) -> usize {
        if self.node.is_none() || begins_by_claims(agent) {
            return 0;
        }
        let room = self.limits.max_running.saturating_sub(self.live.at_work());
        agent.max_running.map_or(room, |most| room.min(most.saturating_sub(self.live.at_work_of(&agent.name))))
    }

    /// The most runs that may wait, whoever has submitted them and for whatever reason.
    pub(super) const fn most_waiting(&self) -> usize {
        self.limits.max_waiting.saturating_mul(2).saturating_add(self.limits.max_running)
    }

    /// Whether there is room here for one more run of `agent`.
    pub(super) fn has_room(&self, agent: &Agent) -> bool {
        let claiming = || self.claiming_of.get(&agent.name).copied().unwrap_or_default();
        let of_agent = |most: usize| self.live.at_work_of(&agent.name) + claiming() < most;
        self.room() > 0 && agent.max_running.is_none_or(of_agent)
    }

    /// The claim of as many runs as there is room for, at most `most`; `None` when there is no room, or no agent.
    pub(super) fn claim_of(&self, node: NodeId, most: usize) -> Option<Claim> {
        let limit = self.room().min(most);
        let mut claim = Claim { node, agents: Vec::new(), limited: Vec::new(), limit };
        for agent in self.agents.values() {
            let name = agent.name.to_string();
            match agent.most_here() {
                None => claim.agents.push(name),
                Some(most) => {
                    let runs = most.saturating_sub(self.live.at_work_of(&agent.name)).min(limit);
                    let everywhere = agent.max_running_everywhere;
                    claim.limited.extend((runs > 0).then_some(AgentRoom { agent: name, runs, everywhere }));
                }
            }
        }
        let any = !claim.agents.is_empty() || !claim.limited.is_empty();
        (any && limit > 0).then_some(claim)
    }

    /// Keeps the places that `claim`, which is under way, may fill.
    pub(super) fn keep_places(&mut self, claim: &Claim) {
        self.claiming = claim.limit;
        self.claiming_of = claim.limited.iter().map(|room| (Arc::from(room.agent.as_str()), room.runs)).collect();
    }

    /// Gives up the places of the claim that was under way.
    pub(super) fn free_places(&mut self) {
        self.claiming = 0;
        self.claiming_of.clear();
    }

    /// Forgets a run that is not live any more. Where its agent has limits, another one may have waited for this.
    pub(super) fn forget(&mut self, run_id: RunId) -> Option<LiveRun> {
        let forgotten = self.live.remove(run_id)?;
        let agent = self.agents.get(&forgotten.agent);
        self.behind |= agent.is_some_and(|agent| agent.holds_back());
        if agent.is_some_and(|agent| agent.max_running_everywhere.is_some()) {
            self.offer_work();
        }
        Some(forgotten)
    }
}
