//! How a runtime comes to its end.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Runtime, Stage};
use crate::actors::manager::drain::{Drain, Drained};

impl Runtime {
    /// Refuses new runs from now on, lets live ones finish for `deadline`, and hands back the rest, as
    /// [`shutdown`](Self::shutdown) does; but the store stays open, so that those who wait for a run, or follow it, are told
    /// how it ended. To be followed by a shutdown, when they have been answered. It takes at most `deadline`, the
    /// [cancel grace](crate::RuntimeBuilder::cancel_grace) and twice the [call timeout](crate::RuntimeBuilder::call_timeout),
    /// which is `deadline` and 15 s by default.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the runtime goes on draining; calling it again waits for the same.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        match self.drained(deadline).await {
            Some(drained) => drained,
            // The actors were stopped.
            None => match &*self.inner.stage.lock().await {
                Stage::Stopped(drained) => *drained,
                Stage::AtWork(_) => Drained::default(),
            },
        }
    }

    async fn drained(&self, deadline: Duration) -> Option<Drained> {
        let (reply, drained) = oneshot::channel();
        // Time for user code to stop, which is that of a cancel, and for a database that is just coming back.
        let patience = self.inner.limits.cancel_timeout + self.inner.limits.call_timeout;
        self.inner.manager.do_send(Drain { deadline, patience, reply });
        drained.await.ok()
    }

    /// Shuts down: refuses new runs from now on, lets live ones finish for `deadline`, hands back the rest, and closes the
    /// store. Says what became of the runs that were live.
    ///
    /// A run that is handed back waits as `PENDING`, without having used up an attempt. One that was started and whose agent has
    /// [`CrashPolicy::Fail`](crate::CrashPolicy::Fail), the default of code, settles as `ERROR` instead, with
    /// [`FailureKind::Shutdown`](crate::FailureKind::Shutdown). Calling it again waits for the same shutdown.
    ///
    /// # How long it takes
    ///
    /// As long as there are live runs, up to `deadline`. What comes after that is over in a moment, as a rule; at most it takes:
    ///
    /// - the [cancel grace](crate::RuntimeBuilder::cancel_grace) and twice the
    ///   [call timeout](crate::RuntimeBuilder::call_timeout), 15 s by default, in which user code stops and what has become of its
    ///   runs is written. Runs that are not done by then count as [`lost`](Drained::lost): they are taken over as if
    ///   the process had died;
    /// - 1 s for webhooks that are under way;
    /// - when the database does not answer, a quarter of the [lease](crate::RuntimeBuilder::lease_ttl), 3.75 s by default, to end
    ///   the lease, and then as long as the statements that are under way may take: by the default options of a Postgres 17 s for
    ///   each, of which three may come one after the other.
    ///
    /// So with a database that answers, `deadline` and 16 s are enough for the process before it is killed, such as by the
    /// `terminationGracePeriodSeconds` of Kubernetes; what else it does before and after comes on top of that.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the runtime stays in shutdown; calling it again goes on.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        let drained = self.drained(deadline).await;
        // Whoever comes while the threads are being stopped waits here: afterwards the store is free for the next runtime.
        let mut stage = self.inner.stage.lock().await;
        match &mut *stage {
            Stage::Stopped(drained) => *drained,
            Stage::AtWork(crew) => {
                crew.stop().await;
                self.inner.store.close().await;
                self.inner.hub.close();
                let drained = drained.unwrap_or_default();
                *stage = Stage::Stopped(drained);
                self.inner.stopped.send_replace(Some(drained));
                drained
            }
        }
    }

    /// Waits until a [shutdown](Self::shutdown) is over, whoever asked for it, and says what became of the runs that were
    /// live. For the `main` of a process that ends by [SIGTERM](crate::RuntimeBuilder::shutdown_on_sigterm).
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn stopped(&self) -> Drained {
        let mut stopped = self.inner.stopped.subscribe();
        // An error would say that the sender is gone, which this runtime has.
        let drained = stopped.wait_for(Option::is_some).await.ok().and_then(|drained| *drained);
        drained.unwrap_or_default()
    }
}
