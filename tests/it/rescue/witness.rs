//! What user code did, when, and in which runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom::{Agent, AgentBuilder, AgentError, CrashPolicy, NewRun, RunContext, RunId, Runtime, Store};
use tokio::sync::{Semaphore, watch};

use super::{LONG, TTL};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Start,
    Stop,
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) place: &'static str,
    pub(super) run_id: RunId,
    pub(super) attempt: u32,
    pub(super) what: What,
    pub(super) at: Instant,
}

/// What user code did, in whichever runtime, and the gate that it waits at.
#[derive(Clone)]
pub(super) struct Witness {
    pub(super) seen: watch::Sender<Vec<Seen>>,
    pub(super) gate: Arc<Semaphore>,
}

struct NoteStop(Witness, Seen);

impl Drop for NoteStop {
    fn drop(&mut self) {
        self.0.note(Seen { what: What::Stop, at: Instant::now(), ..self.1.clone() });
    }
}

impl Witness {
    pub(super) fn new() -> Self {
        Self { seen: watch::Sender::new(Vec::new()), gate: Arc::new(Semaphore::new(0)) }
    }

    fn note(&self, seen: Seen) {
        self.seen.send_modify(|all| all.push(seen));
    }

    /// Waits until user code has done so, and says when that was.
    pub(super) async fn has_seen(&self, run_id: RunId, attempt: u32, what: What) -> Seen {
        let fits = |seen: &Seen| (seen.run_id, seen.attempt, seen.what) == (run_id, attempt, what);
        let mut all = self.seen.subscribe();
        let all = tokio::time::timeout(LONG, all.wait_for(|all| all.iter().any(fits))).await;
        all.expect("user code does it").unwrap().iter().find(|seen| fits(seen)).unwrap().clone()
    }

    /// An agent whose code waits at the gate.
    fn agent(&self, name: &'static str, place: &'static str) -> AgentBuilder {
        let witness = self.clone();
        Agent::builder(name).max_attempts(100).code(move |cx: RunContext| {
            let witness = witness.clone();
            async move {
                let (run_id, attempt) = (cx.run_id(), cx.attempt());
                let seen = Seen { place, run_id, attempt, what: What::Start, at: Instant::now() };
                witness.note(seen.clone());
                let stop = NoteStop(witness, seen);
                stop.0.gate.acquire().await.unwrap().forget();
                Ok::<_, AgentError>(place)
            }
        })
    }

    pub(super) async fn runtime(&self, url: &str, place: &'static str) -> Runtime {
        self.with_lease(url, place, TTL).await
    }

    /// Its lease does not end by itself: not on a slow machine either.
    pub(super) async fn lasting(&self, url: &str, place: &'static str) -> Runtime {
        self.with_lease(url, place, LONG * 10).await
    }

    async fn with_lease(&self, url: &str, place: &'static str, lease_ttl: Duration) -> Runtime {
        Runtime::builder()
            .store(Store::postgres(url))
            .agent(self.agent("restarts", place).on_crash(CrashPolicy::Restart))
            .agent(self.agent("fails", place).on_crash(CrashPolicy::Fail))
            .agent(self.agent(place, place).on_crash(CrashPolicy::Restart))
            .lease_ttl(lease_ttl)
            // Nothing here happens because somebody looked by chance.
            .poll_interval(LONG * 100)
            .start()
            .await
            .unwrap()
    }

    /// Submits a run, and waits until it has started.
    pub(super) async fn start(&self, runtime: &Runtime, agent: &str) -> RunId {
        let run_id = runtime.submit(NewRun::new(agent, "go")).await.unwrap().run_id();
        self.has_seen(run_id, 1, What::Start).await;
        run_id
    }

    pub(super) fn assert_never_two_at_a_time(&self) {
        let all = self.seen.borrow();
        for stop in all.iter().filter(|seen| seen.what == What::Stop) {
            for start in all.iter().filter(|seen| seen.what == What::Start) {
                if start.run_id == stop.run_id && start.attempt > stop.attempt {
                    assert!(stop.at <= start.at, "{start:?} before {stop:?}");
                }
            }
        }
        for start in all.iter().filter(|seen| seen.what == What::Start) {
            let same =
                |seen: &&Seen| (seen.run_id, seen.attempt, seen.what) == (start.run_id, start.attempt, start.what);
            assert_eq!(all.iter().filter(same).count(), 1, "{start:?} happened twice");
        }
    }
}
