//! The lease of a process: kept, lost, begun again.

use super::callers::Progress;
use super::process::{Body, ClaimCall, Process, Renewal, RenewalAt, WriteAt};
use super::state::{State, Stray};
use super::tables::LeaseRow;
use super::{TTL, World};
use crate::store::protocol::lease::{Answer, Lease};

impl State {
    /// A renewal that is due, sent, done, committed and heard before the clock goes on.
    pub(super) fn renew(&mut self, world: &World, process: u8) {
        let reading = self.reading(process);
        let Some(node) = self.process(process).node.filter(|_| self.process(process).may_renew(reading)) else {
            return;
        };
        let answer = if self.tables.renew(node) { Answer::Granted } else { Answer::Refused };
        self.tables.commit_renewal(node);
        self.process_mut(process).renewal = Some(Renewal { sent: reading, at: RenewalAt::Sent });
        self.process_mut(process).hear_renewal(world, reading, answer);
    }

    pub(super) fn renew_slowly(&mut self, process: u8) {
        self.may.slow -= 1;
        let sent = self.reading(process);
        self.process_mut(process).renewal = Some(Renewal { sent, at: RenewalAt::Sent });
    }

    pub(super) fn renewal_runs(&mut self, process: u8) {
        let Some(node) = self.process(process).node else { return };
        let at = if self.tables.renew(node) { RenewalAt::Holding } else { RenewalAt::Answered(false) };
        if let Some(renewal) = &mut self.process_mut(process).renewal {
            renewal.at = at;
        }
    }

    pub(super) fn renewal_commits(&mut self, node: u8) {
        self.tables.commit_renewal(node);
        let asked = |process: &&mut Process| process.node == Some(node);
        if let Some(renewal) = self.processes.iter_mut().find(asked).and_then(|process| process.renewal.as_mut())
            && renewal.at == RenewalAt::Holding
        {
            renewal.at = RenewalAt::Answered(true);
        }
    }

    pub(super) fn hear_renewal(&mut self, world: &World, process: u8) {
        let reading = self.reading(process);
        let answer = match self.process(process).renewal.map(|renewal| renewal.at) {
            Some(RenewalAt::Answered(true)) => Answer::Granted,
            Some(RenewalAt::Answered(false)) => Answer::Refused,
            Some(RenewalAt::Sent | RenewalAt::Holding) | None => return,
        };
        self.process_mut(process).hear_renewal(world, reading, answer);
    }

    /// The keeper looks at what it has: it gives up what it has waited for long enough, and stops when it must.
    pub(super) fn keep(&mut self, world: &World, process: u8) {
        let reading = self.reading(process);
        if self.process(process).gives_up_renewal(reading) {
            self.process_mut(process).hear_renewal(world, reading, Answer::None);
        }
        if self.process(process).must_stop(reading) {
            self.lose_lease(process);
        }
    }

    pub(super) fn look_at_lease(&mut self, process: u8) {
        self.process_mut(process).overslept = false;
        if self.process(process).must_stop(self.reading(process)) {
            self.lose_lease(process);
        }
    }

    /// Everything that runs under the lease is stopped. Who waits for a cancel is answered by what the row says.
    fn lose_lease(&mut self, process: u8) {
        let old = self.process(process).node;
        self.forget_lives(process);
        for caller in self.callers.iter_mut().filter(|caller| caller.at == process) {
            if matches!(caller.progress, Progress::AwaitsEnd | Progress::AwaitsLife) {
                caller.cancel_in_store();
            }
        }
        let process = self.process_mut(process);
        (process.node, process.old, process.renewal) = (None, old, None);
        process.lease = Lease::begun(std::time::Duration::ZERO, super::TERMS);
        process.lost_answers = false;
    }

    /// What was sent for the live runs is on its way all the same.
    pub(super) fn forget_lives(&mut self, process: u8) {
        let node = self.process(process).node;
        for life in self.process(process).lives.clone().into_iter().flatten() {
            if let Some((deed, WriteAt::Sent)) = life.write {
                self.stray(Stray::Write(deed));
            }
        }
        if let (ClaimCall::Sent, Some(node)) = (&self.process(process).claim, node) {
            self.stray(Stray::Claim { node });
        }
        let process = self.process_mut(process);
        process.lives.fill(None);
        (process.claim, process.looked) = (ClaimCall::Idle, None);
    }

    fn new_node(&mut self) -> u8 {
        let number = self.tables.leases.len();
        self.tables.leases.push(LeaseRow::Until { end: self.tables.now + TTL, renewing: None });
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    pub(super) fn begin_again(&mut self, process: u8) {
        self.may.boot -= 1;
        let node = self.new_node();
        let begun = Process::begun(node, self.reading(process), 0);
        let process = self.process_mut(process);
        (process.node, process.lease) = (begun.node, begun.lease);
    }

    /// Nothing runs under the old lease any more, so nobody has to wait until it has expired.
    pub(super) fn end_old(&mut self, process: u8) {
        if let Some(old) = self.process_mut(process).old.take() {
            self.tables.leases[usize::from(old)] = LeaseRow::Gone;
        }
    }

    pub(super) fn boot(&mut self, process: u8) {
        self.may.boot -= 1;
        let node = self.new_node();
        let runs = u8::try_from(self.tables.runs.len()).unwrap_or(u8::MAX);
        *self.process_mut(process) = Process::begun(node, self.tables.now, runs);
    }

    pub(super) fn leave(&mut self, process: u8) {
        if let Some(node) = self.process(process).node {
            self.tables.leases[usize::from(node)] = LeaseRow::Gone;
        }
        let process = self.process_mut(process);
        (process.node, process.old, process.body) = (None, None, Body::Dead);
        process.renewal = None;
    }
}
