//! How live runs tell the manager of facts.

use std::sync::{Arc, Weak};

use actix::prelude::*;

use super::RunManager;
use crate::actors::children::ToManager;
use crate::actors::run_actor::RunEnded;

/// The manager's recipients, which all live runs share and nobody else keeps: they are not to keep the manager alive.
#[derive(Default)]
pub(super) struct Upward {
    of_children: Weak<ToManager>,
    of_ends: Weak<Recipient<RunEnded>>,
}

impl Upward {
    pub(super) fn to(&mut self, ctx: &Context<RunManager>) -> (Arc<ToManager>, Arc<Recipient<RunEnded>>) {
        let of_children = shared(&mut self.of_children, || {
            let manager = ctx.address();
            ToManager { submits: manager.clone().recipient(), waits: manager.recipient() }
        });
        (of_children, shared(&mut self.of_ends, || ctx.address().recipient()))
    }
}

/// What there is already, or a new one.
fn shared<T>(kept: &mut Weak<T>, make: impl FnOnce() -> T) -> Arc<T> {
    kept.upgrade().unwrap_or_else(|| {
        let made = Arc::new(make());
        *kept = Arc::downgrade(&made);
        made
    })
}
