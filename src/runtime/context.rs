//! Lets the front door work from any thread, also from one without a tokio runtime.

use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

/// Runs `work`, whose timers need a tokio runtime: the caller's where there is one, else the one that `own` belongs to.
pub(super) async fn anywhere<F: Future>(own: &Handle, work: F) -> F::Output {
    if Handle::try_current().is_ok() { work.await } else { TokioContext::new(work, own.clone()).await }
}
