//! Threads to run a measurement on.

use tokio::runtime::{Builder, Runtime};

/// For what only waits: the orchestration, a probe.
pub(crate) fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// For callers, of whom there are many: as many threads as a small service has.
pub(crate) fn for_callers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Waits for what blocks its thread, and lets others go on meanwhile.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
