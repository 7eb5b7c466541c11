//! How runs that wait are taken up.

use super::row::{Row, Taken};
use super::tables::{LeaseRow, Tables};
use super::{Broken, World};
use crate::run::SessionPolicy;

impl Tables {
    /// What `ClaimRuns` sees that it may take: what waits and is due, and whose turn it is in its session.
    pub(super) fn claimable(&self, world: &World) -> Vec<u8> {
        let due = |row: &Row| row.run_at <= self.now || world.broken == Some(Broken::RetryTakenAtOnce);
        let rows = || (0..).zip(&self.runs).filter_map(|(run, row)| row.as_ref().map(|row| (run, row)));
        let is_next = |run: u8, row: &Row| {
            let is_before = |&(other, earlier): &(u8, &Row)| {
                let comes_first = (earlier.run_at, other) < (row.run_at, run);
                earlier.keeps_session() || !earlier.status.is_terminal() && comes_first
            };
            !rows().filter(|(other, _)| *other != run).any(|earlier| is_before(&earlier))
        };
        let in_turn = |run: u8, row: &Row| world.sessions != SessionPolicy::InOrder || row.holds || is_next(run, row);
        rows().filter(|(run, row)| row.waits() && due(row) && in_turn(*run, row)).map(|(run, _)| run).collect()
    }

    /// What `ClaimRuns` takes of what it has seen: what still waits, unless another one has the session by now.
    pub(super) fn take_up(&mut self, world: &World, node: u8, seen: &[u8]) -> Vec<Taken> {
        if !matches!(self.leases[usize::from(node)], LeaseRow::Until { end, .. } if end > self.now) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for &run in seen {
            let others = || (0..).zip(&self.runs).filter(move |(other, _)| *other != run);
            let is_kept = others().any(|(_, row)| row.as_ref().is_some_and(Row::keeps_session));
            let has_index = world.broken != Some(Broken::TurnWithoutIndex);
            let in_turn = world.sessions != SessionPolicy::InOrder || !is_kept || !has_index;
            if !in_turn || !self.row(run).is_some_and(Row::waits) {
                continue;
            }
            let row = self.row_mut(run);
            (row.node, row.attempt) = (Some(node), row.attempt + 1);
            row.holder = Some((node, row.attempt));
            row.holds |= world.sessions == SessionPolicy::InOrder;
            taken.push(row.taken(run));
        }
        taken
    }

    /// The whole statement at once.
    pub(super) fn claim(&mut self, world: &World, node: u8) -> Vec<Taken> {
        let seen = self.claimable(world);
        self.take_up(world, node, &seen)
    }
}
