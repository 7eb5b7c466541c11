//! Shuts a runtime down when the process is asked to end.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Inner, Runtime};

/// What a runtime that heeds SIGTERM keeps: when it is dropped, nobody waits for the signal any more.
pub(super) type Watch = DropGuard;

/// From the return of this on, SIGTERM is heeded; it does not end the process by itself any more.
pub(super) struct Sigterm {
    signal: Signal,
    gone: CancellationToken,
}

impl Sigterm {
    /// `driver` hears the signal; it must outlive the runtime.
    pub(super) fn heed(driver: &Handle) -> io::Result<Self> {
        let _driver = driver.enter();
        Ok(Self { signal: signal(SignalKind::terminate())?, gone: CancellationToken::new() })
    }

    pub(super) fn watch(&self) -> Watch {
        self.gone.clone().drop_guard()
    }

    /// Shuts `runtime` down when the signal comes. Does not keep it alive.
    pub(super) fn shut_down(mut self, runtime: &Arc<Inner>, deadline: Duration) {
        let driver = runtime.timers.clone();
        let runtime: Weak<Inner> = Arc::downgrade(runtime);
        let waiting = async move {
            tokio::select! {
                () = self.gone.cancelled() => return,
                _ = self.signal.recv() => {}
            }
            if let Some(inner) = runtime.upgrade() {
                tracing::info!("SIGTERM: the runtime is shut down");
                Runtime { inner, user: None }.shutdown(deadline).await;
            }
        };
        driver.spawn(waiting);
    }
}
