//! One moment of a [`World`].

use super::callers::{Caller, Submit};
use super::process::Process;
use super::row::Deed;
use super::tables::{LeaseRow, Tables};
use super::{May, Results, TTL, World};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) tables: Tables,
    pub(super) processes: Vec<Process>,
    pub(super) callers: Vec<Caller>,
    /// What was sent to the database and has not arrived, and nobody waits for it any more; in one order.
    pub(super) strays: Vec<Stray>,
    /// What may still happen.
    pub(super) may: May,
    /// By run: how user code was started.
    pub(super) started: Vec<Started>,
    /// A node that a sweep saw expired: only in a broken protocol.
    pub(super) seen_expired: Option<u8>,
}

/// A request that arrives late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Stray {
    Insert { submit: Submit, node: Option<u8> },
    Write(Deed),
    Claim { node: u8 },
}

/// What is known about the starts of one run's user code. Nothing looks at this but the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Started {
    pub(super) ever: bool,
    /// By which attempts that count: those that were handed back do not. A bit each.
    pub(super) counted: u16,
    /// The results of steps that it has gone on from.
    pub(super) results: Results,
}

impl State {
    pub(super) fn new(world: &World) -> Self {
        let leases = vec![LeaseRow::Until { end: TTL, renewing: None }; usize::from(world.processes)];
        Self {
            tables: Tables {
                now: 0,
                runs: vec![None; usize::from(world.runs)],
                intents: vec![false; usize::from(world.runs)],
                leases,
                flaws: Vec::new(),
            },
            processes: (0..world.processes).map(|node| Process::begun(node, 0, world.runs)).collect(),
            callers: world.asks.iter().map(|&(at, ask)| Caller::new(at, ask)).collect(),
            strays: Vec::new(),
            may: world.may,
            started: vec![Started::default(); usize::from(world.runs)],
            seen_expired: None,
        }
    }

    pub(super) fn process(&self, process: u8) -> &Process {
        &self.processes[usize::from(process)]
    }

    pub(super) fn process_mut(&mut self, process: u8) -> &mut Process {
        &mut self.processes[usize::from(process)]
    }

    pub(super) fn caller_mut(&mut self, caller: u8) -> &mut Caller {
        &mut self.callers[usize::from(caller)]
    }

    /// What the clock of a process shows.
    pub(super) fn reading(&self, process: u8) -> u8 {
        self.tables.now - self.process(process).lag
    }

    pub(super) fn stray(&mut self, stray: Stray) {
        self.strays.push(stray);
        self.strays.sort_unstable();
    }
}
