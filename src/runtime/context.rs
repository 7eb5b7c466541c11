//! Lets the front door work from any thread, also from one without a tokio runtime.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::context::TokioContext;

/// Runs `work` with the timers of `own`: the caller may have no tokio runtime, or one whose time is paused while the actors and the
/// database work.
pub(super) async fn anywhere<F: Future>(own: &Handle, work: F) -> F::Output {
    TokioContext::new(work, own.clone()).await
}

/// A tokio runtime for signals, and for the timers of callers. It is the process's own and ends with it: user code cannot hold
/// it up, and no shutdown takes it away from those who wait.
pub(super) fn timers() -> io::Result<Handle> {
    static TIMERS: Mutex<Option<Handle>> = Mutex::new(None);
    let mut timers = TIMERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(timers) = &*timers {
        return Ok(timers.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("greenroom-timers".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    *timers = Some(handle.clone());
    Ok(handle)
}
