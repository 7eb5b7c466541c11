//! What the tests of the actors share: a store that a test holds, and runs and agents to play with.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use self::gated::{Gated, Looks, only};
use crate::agent::{Agent, RunContext};
use crate::run::CrashPolicy;
use crate::store::conformance::samples;
use crate::store::protocol::InsertRun;

mod gated;

/// How long a test waits for what must come; only a failure takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes soon")
}

/// A run of the agent `name`.
pub(crate) fn run_of(name: &str) -> InsertRun {
    let mut insert = samples::unowned();
    name.clone_into(&mut insert.run.output.agent);
    insert
}

/// Counts how often user code was started, and how many of it were at work at the same time.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) starts: AtomicUsize,
    present: watch::Sender<usize>,
    pub(crate) most: AtomicUsize,
    /// The inputs, in the order of the starts.
    pub(crate) inputs: Mutex<Vec<String>>,
    /// Lets `gated` code return.
    pub(crate) gate: watch::Sender<bool>,
}

impl Tally {
    fn enter(self: &Arc<Self>, cx: &RunContext) -> Present {
        self.starts.fetch_add(1, Ordering::SeqCst);
        self.inputs.lock().unwrap().push(cx.input().as_text().unwrap_or_default().to_owned());
        self.present.send_modify(|present| *present += 1);
        self.most.fetch_max(*self.present.borrow(), Ordering::SeqCst);
        Present(Arc::clone(self))
    }

    pub(crate) fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    /// Waits until so much code is at work.
    pub(crate) async fn present(&self, n: usize) {
        soon(self.present.subscribe().wait_for(|present| *present == n)).await.unwrap();
    }
}

struct Present(Arc<Tally>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.present.send_modify(|present| *present -= 1);
    }
}

/// `instant` returns at once, `endless` says a word and never returns, `gated` returns when the gate opens, `deaf` does the
/// same and heeds no cancel, `asking` waits for people; all may be run again except `careful`, which is `endless` otherwise.
pub(crate) fn agents(tally: &Arc<Tally>) -> Vec<Agent> {
    let code = |name: &str, says: bool, asks: bool, gated: Option<bool>| {
        let tally = Arc::clone(tally);
        let policy = if name == "careful" { CrashPolicy::Fail } else { CrashPolicy::Restart };
        let code = move |cx: RunContext| {
            let tally = Arc::clone(&tally);
            async move {
                // Whoever has asked once is not dropped at an await; asked before a test can know that the code is at work.
                let _asked = asks && cx.is_cancelled();
                let _present = tally.enter(&cx);
                if says {
                    cx.emit_text("so far").await;
                }
                match gated {
                    None => {}
                    Some(true) => drop(tally.gate.subscribe().wait_for(|open| *open).await),
                    Some(false) => std::future::pending().await,
                }
                Ok("done")
            }
        };
        Agent::builder(name).code(code).on_crash(policy).build().unwrap()
    };
    let asking = Agent::builder("asking").code(|cx: RunContext| async move { cx.confirm("go", ()).await });
    vec![
        asking.build().unwrap(),
        code("instant", false, false, None),
        code("endless", true, false, Some(false)),
        code("careful", true, false, Some(false)),
        code("gated", false, false, Some(true)),
        code("deaf", false, true, Some(true)),
    ]
}
