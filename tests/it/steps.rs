//! Steps: what was finished is not done again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom::{
    Agent, AgentBuilder, CrashPolicy, FailureKind, NewRun, RunContext, RunEventKind, RunOutput, RunStatus, Runtime,
    StepKey, Store,
};

use crate::support::{DropGuard, Gate, LONG, log, settled, soon, start};

mod kill;

/// Tests of the same names, each on a database that two runtimes open one after the other.
macro_rules! on_each_lasting_store {
    ($($claim:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $claim() {
                let folder = tempfile::tempdir().unwrap();
                super::$claim(&|| greenroom::Store::sqlite(folder.path().join("runs.db"))).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $claim() {
                let database = crate::postgres::fresh_database().await;
                super::$claim(&|| greenroom::Store::postgres(database.url())).await;
            })*
        }
    };
}

pub(crate) use on_each_lasting_store;

on_each_lasting_store! {
    finished_steps_are_not_done_again_after_a_shutdown,
    a_run_that_begins_anew_does_all_its_steps_again,
    a_changed_order_fails_the_run_and_does_nothing,
    steps_that_were_awaited_together_are_remembered_one_by_one,
}

/// What was done in steps, in order: the name, and the key.
#[derive(Clone, Default)]
struct Done(Arc<Mutex<Vec<(&'static str, StepKey)>>>);

impl Done {
    /// Notes it, and says how many there are now.
    fn note(&self, name: &'static str, key: StepKey) -> usize {
        let mut done = self.0.lock().unwrap();
        done.push((name, key));
        done.len()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(name, _)| *name).collect()
    }

    fn keys_of(&self, wanted: &str) -> Vec<StepKey> {
        self.0.lock().unwrap().iter().filter(|(name, _)| *name == wanted).map(|(_, key)| *key).collect()
    }
}

/// Three steps, of which the last one waits at a gate; each results in how many were done by then.
fn three_steps(done: &Done, gate: &Gate, policy: CrashPolicy) -> AgentBuilder {
    let (done, gate) = (done.clone(), gate.clone());
    Agent::builder("steps").on_crash(policy).max_attempts(1).code(move |cx: RunContext| {
        let (done, gate) = (done.clone(), gate.clone());
        async move {
            let mut results = Vec::new();
            for name in ["one", "two", "three"] {
                let result = cx.step_with_key(name, async |key| {
                    let count = done.note(name, key);
                    cx.emit(name, count).await?;
                    if name == "three" {
                        gate.pass().await;
                    }
                    Ok(count)
                });
                results.push(result.await?);
            }
            Ok(results)
        }
    })
}

/// Plays a run in one runtime until its code is at the gate, shuts that down, and lets another one go on.
async fn in_two_runtimes(
    store: &dyn Fn() -> Store,
    gate: &Gate,
    first: AgentBuilder,
    second: AgentBuilder,
) -> (Runtime, RunOutput) {
    let runtime = start(store(), first).await;
    let run_id = runtime.submit(NewRun::new("steps", "go")).await.unwrap().run_id();
    gate.arrivals(1).await;
    let drained = soon(runtime.shutdown(Duration::ZERO)).await;
    // A claim that was under way may have taken the run up once more, and that was handed back as well.
    assert!(drained.handed_back >= 1 && drained.settled + drained.lost == 0, "{drained:?}");
    gate.open(1);
    let runtime = start(store(), second).await;
    let output = runtime.wait(run_id, LONG).await.unwrap();
    assert!(output.status.is_terminal());
    (runtime, output)
}

async fn finished_steps_are_not_done_again_after_a_shutdown(store: &dyn Fn() -> Store) {
    let (done, gate) = (Done::default(), Gate::new());
    let agent = || three_steps(&done, &gate, CrashPolicy::Resume);

    let (runtime, output) = in_two_runtimes(store, &gate, agent(), agent()).await;

    assert_eq!((output.status, output.content), (RunStatus::Completed, Some(serde_json::json!([1, 2, 4]).into())));
    assert_eq!(done.names(), ["one", "two", "three", "three"]);
    let keys = done.keys_of("three");
    assert_eq!(keys[0], keys[1]);
    let mut said = Vec::new();
    for event in log(&runtime, output.run_id).await {
        if let RunEventKind::CustomEvent { name, data } = event.kind {
            said.push(format!("{name} {data}"));
        }
    }
    assert_eq!(said, ["one 1", "two 2", "three 3", "three 4"]);
}

async fn a_run_that_begins_anew_does_all_its_steps_again(store: &dyn Fn() -> Store) {
    let (done, gate) = (Done::default(), Gate::new());
    let agent = || three_steps(&done, &gate, CrashPolicy::Restart);

    let (_runtime, output) = in_two_runtimes(store, &gate, agent(), agent()).await;

    assert_eq!((output.status, output.content), (RunStatus::Completed, Some(serde_json::json!([4, 5, 6]).into())));
    let keys = done.keys_of("one");
    assert_eq!(keys[0], keys[1], "the outside world can tell that it is the same step");
}

async fn a_changed_order_fails_the_run_and_does_nothing(store: &dyn Fn() -> Store) {
    let (done, gate) = (Done::default(), Gate::new());
    let later = done.clone();
    let changed = Agent::builder("steps").on_crash(CrashPolicy::Resume).code(move |cx: RunContext| {
        let done = later.clone();
        async move {
            for name in ["one", "three", "two"] {
                // It does not want to know.
                drop(cx.step_with_key(name, async |key| Ok(done.note(name, key))).await);
            }
            Ok("fine")
        }
    });

    let first = three_steps(&done, &gate, CrashPolicy::Resume);
    let (_runtime, output) = in_two_runtimes(store, &gate, first, changed).await;

    let error = output.error.unwrap();
    assert_eq!((output.status, error.kind), (RunStatus::Error, FailureKind::StepsChanged));
    assert!(["position 1", "`two`", "`three`"].iter().all(|part| error.message.contains(part)), "{error}");
    assert_eq!(done.names(), ["one", "two", "three"]);
}

async fn steps_that_were_awaited_together_are_remembered_one_by_one(store: &dyn Fn() -> Store) {
    let (done, gate, durable) = (Done::default(), Gate::new(), Gate::new());
    let agent = || {
        let (done, gate, durable) = (done.clone(), gate.clone(), durable.clone());
        Agent::builder("steps").on_crash(CrashPolicy::Resume).code(move |cx: RunContext| {
            let (done, gate, durable) = (done.clone(), gate.clone(), durable.clone());
            async move {
                let slow = cx.step_with_key("part", async |key| {
                    let count = done.note("slow", key);
                    // The others are in the database by now.
                    durable.arrivals(2).await;
                    gate.pass().await;
                    Ok(count)
                });
                let quick = [0, 1].map(|_| {
                    let part = cx.step_with_key("part", async |key| Ok(done.note("quick", key)));
                    let durable = &durable;
                    async move {
                        let part = part.await;
                        durable.arrive();
                        part
                    }
                });
                let (slow, quick) = tokio::join!(slow, futures_util::future::try_join_all(quick));
                Ok((slow?, quick?))
            }
        })
    };

    let (_runtime, output) = in_two_runtimes(store, &gate, agent(), agent()).await;

    assert_eq!(output.status, RunStatus::Completed, "{:?}", output.error);
    assert_eq!(done.names(), ["slow", "quick", "quick", "slow"]);
    assert_eq!(output.content, Some(serde_json::json!([4, [2, 3]]).into()));
    let keys = done.0.lock().unwrap().iter().map(|(_, key)| *key).collect::<Vec<_>>();
    assert_eq!(keys[0], keys[3]);
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

#[tokio::test]
async fn the_work_of_a_step_ends_with_a_cancel_and_its_panic_with_an_error() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let agent = Agent::builder("steps").code(move |cx: RunContext| {
        let gate = at_gate.clone();
        async move {
            let panics = cx.input().as_text() == Some("panic");
            cx.step("work", async || {
                let _dropped = DropGuard(gate.clone());
                assert!(!panics, "as it was told");
                gate.pass().await;
                Ok(())
            })
            .await
        }
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;

    let cancelled = runtime.submit(NewRun::new("steps", "wait")).await.unwrap();
    gate.arrivals(1).await;
    cancelled.cancel().await.unwrap();
    gate.arrivals(1).await;
    assert_eq!(settled(&cancelled).await.status, RunStatus::Cancelled);

    let panicked = runtime.submit(NewRun::new("steps", "panic")).await.unwrap();
    assert_eq!(settled(&panicked).await.error.unwrap().kind, FailureKind::Panic);
}

#[tokio::test]
async fn a_step_that_cannot_be_remembered_says_why() {
    let agent = Agent::builder("steps").code(|cx: RunContext| async move {
        let mut kinds = Vec::new();
        let nameless = cx.step("", async || Ok(())).await.unwrap_err();
        let large = cx.step("large", async || Ok("x".repeat(2000))).await.unwrap_err();
        assert!(large.to_string().contains("`large`") && large.to_string().contains("1024"), "{large}");
        kinds.extend([nameless.kind(), large.kind()]);
        let own: Result<(), _> = cx.step("own", async || Err(greenroom::AgentError::new("no luck"))).await;
        kinds.push(own.unwrap_err().kind());
        Ok(kinds)
    });
    let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).max_output(1024).start().await;
    let run = runtime.unwrap().submit(NewRun::new("steps", "go")).await.unwrap();
    let expected = serde_json::json!(["invalid_step", "invalid_step", "agent_error"]);
    assert_eq!(settled(&run).await.content, Some(expected.into()));
}
