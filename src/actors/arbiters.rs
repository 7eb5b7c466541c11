//! The arbiters that run actors are spread over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::ArbiterHandle;

/// The arbiters that run actors are spread over, in turn.
#[derive(Clone)]
pub(crate) struct Arbiters {
    handles: Arc<[ArbiterHandle]>,
    next: Arc<AtomicUsize>,
}

impl Arbiters {
    pub(crate) fn new(handles: impl Iterator<Item = ArbiterHandle>) -> Self {
        Self { handles: handles.collect(), next: Arc::default() }
    }

    pub(crate) fn next(&self) -> ArbiterHandle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.handles[turn % self.handles.len()].clone()
    }
}
