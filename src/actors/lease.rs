//! The keeper of the node's lease, and its look at the leases of others.
//!
//! It has a thread, and on Postgres a connection, of its own: nobody's code, no full pool and no flooded mailbox is in its
//! way. What it does when is decided by [`next_move`]; here it is only carried out.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::run::RunId;
use crate::store::protocol::Takeover;
use crate::store::protocol::lease::{Answer, Lease, Loss, Move, Terms, next_move};
use crate::store::{NodeId, RunStore, StoreError, StoreResult, within};
use crate::telemetry;

/// The most runs that one sweep takes over.
const SWEEP: usize = 500;

/// What the keeper tells the manager.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum LeaseNews {
    /// The lease is over: everything that runs under it has to stop at once. `stopped` is answered when it has.
    Lost { node: NodeId, stopped: oneshot::Sender<()> },
    /// There is a new lease, for a new node.
    Begun { node: NodeId },
    /// These runs have been taken over from nodes that are gone.
    Swept(Vec<(RunId, Takeover)>),
}

/// The lease of this process. When it is dropped without an end, it is left to expire, as if the process had died.
#[derive(Debug)]
pub(crate) struct LeaseHandle {
    /// The node that the lease was begun for; a later one is told to the manager.
    pub(crate) node: NodeId,
    manager: Option<oneshot::Sender<Recipient<LeaseNews>>>,
    /// `Some` until the end was asked for.
    end: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<std::convert::Infallible>,
}

impl LeaseHandle {
    /// Begins the lease of a new node, and starts the thread that keeps it.
    pub(crate) async fn begin(store: Arc<dyn RunStore>, ttl: Duration) -> std::io::Result<StoreResult<Self>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (begun, beginning) = oneshot::channel();
        let (manager, managed) = oneshot::channel();
        let (end, ending) = oneshot::channel();
        let (alive, ended) = oneshot::channel();
        std::thread::Builder::new().name("greenroom-lease".to_owned()).spawn(move || {
            runtime.block_on(Keeper::new(store, Terms { ttl }).live(begun, managed, ending));
            // What hangs in a name look-up is not waited for.
            runtime.shutdown_background();
            drop::<oneshot::Sender<std::convert::Infallible>>(alive);
        })?;
        let node = beginning.await.unwrap_or(Err(StoreError::Closed));
        Ok(node.map(|node| Self { node, manager: Some(manager), end: Some(end), ended }))
    }

    /// From now on the lease is kept, and its keeper tells `manager` what happens to it.
    pub(crate) fn keep(&mut self, manager: Recipient<LeaseNews>) {
        if let Some(sender) = self.manager.take() {
            // An error says that the keeper's thread has ended, which is the end of the claims as well.
            sender.send(manager).ok();
        }
    }

    /// Ends the lease, when nothing runs under it any more.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again, as long as it has not returned.
    pub(crate) async fn end(&mut self) {
        if let Some(end) = self.end.take() {
            end.send(()).ok();
        }
        // The other half is never used to send, only dropped.
        (&mut self.ended).await.ok();
    }
}

struct Keeper {
    store: Arc<dyn RunStore>,
    terms: Terms,
    /// All readings of the clock are taken from here.
    origin: Instant,
    sweep_now: Notify,
}

impl Keeper {
    fn new(store: Arc<dyn RunStore>, terms: Terms) -> Self {
        Self { store, terms, origin: Instant::now(), sweep_now: Notify::new() }
    }

    /// The keeper's whole life.
    async fn live(
        self,
        begun: oneshot::Sender<StoreResult<NodeId>>,
        managed: oneshot::Receiver<Recipient<LeaseNews>>,
        ending: oneshot::Receiver<()>,
    ) {
        let (node, lease) = match self.begin().await {
            Ok(held) => held,
            Err(error) => {
                begun.send(Err(error)).ok();
                return;
            }
        };
        if begun.send(Ok(node)).is_err() {
            return;
        }
        let Ok(manager) = managed.await else { return };
        let mut held = node;
        let ends = tokio::select! {
            biased;
            ends = ending => ends.is_ok(),
            () = self.keep(&mut held, lease, &manager) => false,
            () = self.sweep_for_ever(&manager) => false,
        };
        // A handle that was dropped says nothing: then this is like the death of the process.
        if ends {
            self.end(held).await;
        }
    }

    async fn begin(&self) -> StoreResult<(NodeId, Lease)> {
        // An id of its own for each try: what became of an earlier one may not be known.
        let node = NodeId::new();
        let sent = self.origin.elapsed();
        self.store.begin_lease(node, self.terms.ttl).await?;
        Ok((node, Lease::begun(sent, self.terms)))
    }

    async fn end(&self, node: NodeId) {
        if let Err(error) = within(self.terms.patience(), self.store.end_lease(node)).await {
            tracing::warn!(node.id = %node, %error, "the lease was not ended and is left to expire");
        }
    }

    /// Keeps the lease, and begins another one whenever it is lost.
    async fn keep(&self, held: &mut NodeId, mut lease: Lease, manager: &Recipient<LeaseNews>) {
        loop {
            let node = *held;
            let loss = self.keep_one(node, lease).await;
            telemetry::lease_lost();
            tracing::error!(node.id = %node, ?loss, "the lease is lost: every run of this process is stopped");
            let (stopped, all_stopped) = oneshot::channel();
            manager.do_send(LeaseNews::Lost { node, stopped });
            if all_stopped.await.is_err() {
                // The manager is gone, and the process's runs with it.
                return std::future::pending().await;
            }
            (*held, lease) = self.begin_again().await;
            // Nothing runs under the old lease any more, so nobody has to wait until it has expired.
            self.end(node).await;
            tracing::info!(node.id = %*held, "back with a new lease");
            manager.do_send(LeaseNews::Begun { node: *held });
            self.sweep_now.notify_one();
        }
    }

    /// Keeps the lease of `node` until it is lost.
    async fn keep_one(&self, node: NodeId, mut lease: Lease) -> Loss {
        loop {
            match next_move(&lease, self.origin.elapsed(), self.terms) {
                Move::Stop(loss) => return loss,
                Move::Wait(until) => tokio::time::sleep_until(self.origin + until).await,
                Move::Renew(patience) => {
                    let sent = self.origin.elapsed();
                    let answer = match within(patience, self.store.renew_lease(node, self.terms.ttl)).await {
                        Ok(true) => Answer::Granted,
                        Ok(false) => Answer::Refused,
                        Err(error) => {
                            tracing::warn!(node.id = %node, %error, "the lease was not renewed");
                            Answer::None
                        }
                    };
                    telemetry::lease_renewed(word(answer));
                    lease = lease.after(sent, self.origin.elapsed(), answer, self.terms);
                }
            }
        }
    }

    async fn begin_again(&self) -> (NodeId, Lease) {
        loop {
            match within(self.terms.patience(), self.begin()).await {
                Ok(held) => return held,
                Err(error) => tracing::warn!(%error, "there is no new lease yet"),
            }
            // Until there is one, nothing runs here.
            tokio::time::sleep(self.terms.pause().min(Duration::from_secs(1))).await;
        }
    }

    /// Takes over what dead nodes have left: at once, and then in each beat.
    async fn sweep_for_ever(&self, manager: &Recipient<LeaseNews>) {
        loop {
            match self.store.sweep(SWEEP).await {
                Ok(swept) => {
                    let more = swept.len() == SWEEP;
                    for (run_id, takeover) in &swept {
                        telemetry::run_rescued(takeover.word());
                        tracing::warn!(run.id = %run_id, ?takeover, "the run was taken over from a process that is gone");
                    }
                    if !swept.is_empty() {
                        manager.do_send(LeaseNews::Swept(swept));
                    }
                    if more {
                        continue;
                    }
                }
                Err(error) => tracing::warn!(%error, "nobody looked after the runs of dead processes"),
            }
            // An error says that the time has passed.
            tokio::time::timeout(jittered(self.terms.beat()), self.sweep_now.notified()).await.ok();
        }
    }
}

const fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Granted => "granted",
        Answer::Refused => "refused",
        Answer::None => "unanswered",
    }
}

/// Up to a fifth less, so that the nodes do not all look at the same time.
fn jittered(time: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or_default();
    time - time / 5 * random / 1000
}
