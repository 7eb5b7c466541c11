//! What the tests of the front door share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use greenroom::{
    Agent, AgentBuilder, NewRun, RunContext, RunEvent, RunEventKind, RunHandle, RunId, RunOutput, Runtime, Store,
};
use tokio::sync::Semaphore;

pub(crate) mod killed;

/// Longer than anything takes that is not broken.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Tests of the same names, once on SQLite in memory and once on a Postgres database of the test's own.
macro_rules! on_each_store {
    ($($claim:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(greenroom::Store::sqlite_in_memory()).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $claim() {
                let database = crate::postgres::fresh_database().await;
                super::$claim(greenroom::Store::postgres(database.url())).await;
            })*
        }
    };
}
pub(crate) use on_each_store;

/// Bounds what would otherwise hang a test for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("nothing happened for a long time")
}

/// Time passes for whoever has the run: its lease is over by now.
pub(crate) async fn expire_the_lease_of(run_id: RunId, url: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let of_run = format!("SELECT node_id FROM greenroom.runs WHERE run_id = '{run_id}'");
    let expire = format!("UPDATE greenroom.nodes SET lease_until = now() WHERE node_id = ({of_run})");
    client.batch_execute(&expire).await.unwrap();
}

pub(crate) async fn start(store: Store, agent: AgentBuilder) -> Runtime {
    Runtime::builder().store(store).agent(agent).start().await.unwrap()
}

pub(crate) async fn settled(run: &RunHandle) -> RunOutput {
    let output = run.wait(LONG).await.unwrap();
    assert!(output.status.is_terminal(), "the run is still {}", output.status);
    output
}

pub(crate) async fn submit_all(runtime: &Runtime, runs: impl IntoIterator<Item = NewRun>) -> Vec<RunHandle> {
    join_all(runs.into_iter().map(|run| runtime.submit(run))).await.into_iter().map(Result::unwrap).collect()
}

pub(crate) fn text(output: &RunOutput) -> &str {
    output.content.as_ref().and_then(|content| content.as_text()).unwrap_or_default()
}

/// Waits until the run has said something that is durable.
pub(crate) async fn has_spoken(run: &RunHandle) {
    let mut events = run.subscribe(None).await.unwrap();
    while let Some(event) = soon(events.next()).await {
        if let RunEventKind::RunContent { .. } = event.unwrap().kind {
            return;
        }
    }
    panic!("the run ended without a word");
}

/// The whole log of a run that settles.
pub(crate) async fn log(runtime: &Runtime, run_id: RunId) -> Vec<RunEvent> {
    let events = runtime.subscribe(run_id, None).await.unwrap();
    soon(events.try_collect()).await.unwrap()
}

/// What the event is called on the wire.
pub(crate) fn name(event: &RunEvent) -> String {
    serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned()
}

pub(crate) fn names(log: &[RunEvent]) -> Vec<String> {
    log.iter().map(name).collect()
}

/// The pieces of content that a log has.
pub(crate) fn pieces(log: &[RunEvent]) -> Vec<&str> {
    let mut pieces = Vec::new();
    for event in log {
        if let RunEventKind::RunContent { content } = &event.kind {
            pieces.push(content.as_text().unwrap());
        }
    }
    pieces
}

/// Where user code waits until its test lets it pass.
#[derive(Clone)]
pub(crate) struct Gate {
    arrived: Arc<Semaphore>,
    passes: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), passes: Arc::new(Semaphore::new(0)) }
    }

    pub(crate) async fn pass(&self) {
        self.arrive();
        self.passes.acquire().await.unwrap().forget();
    }

    pub(crate) fn arrive(&self) {
        self.arrived.add_permits(1);
    }

    /// Waits for `n` more arrivals than were waited for before.
    pub(crate) async fn arrivals(&self, n: u32) {
        soon(self.arrived.acquire_many(n)).await.unwrap().forget();
    }

    /// How many have arrived and were not waited for.
    pub(crate) fn unseen(&self) -> usize {
        self.arrived.available_permits()
    }

    pub(crate) fn open(&self, n: usize) {
        self.passes.add_permits(n);
    }

    /// Takes back what was opened and nobody has passed.
    pub(crate) fn close(&self) {
        self.passes.forget_permits(usize::MAX);
    }
}

/// An agent that waits at a gate, and then returns its input.
pub(crate) fn gated(gate: &Gate) -> AgentBuilder {
    let gate = gate.clone();
    Agent::builder("gated").code(move |cx: RunContext| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(cx.input().clone())
        }
    })
}

/// An agent that nobody runs, for a process that is to leave every run to others.
pub(crate) fn idle() -> AgentBuilder {
    Agent::builder("idle").code(|_: RunContext| async { Ok(()) })
}

/// Notes that it was dropped.
pub(crate) struct DropGuard(pub(crate) Gate);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.arrive();
    }
}
