//! The outbox of a store, and name look-ups of the courier that hang.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use crate::store::delivery::{Collect, Delivery, Outbox, Outcome};
use crate::store::{RunStore, StoreResult};

pub(super) struct GatedOutbox {
    inner: Arc<dyn RunStore>,
    /// What the next look-up hangs at.
    hangs_at: Mutex<Option<Receiver<()>>>,
}

impl GatedOutbox {
    pub(super) fn of(inner: Arc<dyn RunStore>) -> Self {
        Self { inner, hangs_at: Mutex::default() }
    }

    pub(super) async fn hang(&self, at: Receiver<()>) {
        *self.hangs_at.lock().unwrap() = Some(at);
        while self.hangs_at.lock().unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    }
}

impl Outbox for GatedOutbox {
    fn collect(&self, collect: Collect) -> BoxFuture<'_, StoreResult<Vec<Delivery>>> {
        if let Some(at) = self.hangs_at.lock().unwrap().take() {
            // Where the courier delivers, names are looked up in the same way.
            drop(tokio::task::spawn_blocking(move || at.recv()));
        }
        self.inner.outbox().collect(collect)
    }

    fn note_outcome(&self, delivery: Delivery, outcome: Outcome) -> BoxFuture<'_, StoreResult<()>> {
        self.inner.outbox().note_outcome(delivery, outcome)
    }
}
