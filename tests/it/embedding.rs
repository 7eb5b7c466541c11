//! A runtime inside a program: its executors, its end, and its next start.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use greenroom::{
    Agent, AgentBuilder, CancelOutcome, CrashPolicy, Error, NewRun, RunEvent, RunStatus, Runtime, ScriptedModel,
    ScriptedTurn, Store,
};

use crate::support::{Gate, LONG, gated, names, settled, soon, start, submit_all, text};

mod restart;
mod shutdown;
#[cfg(unix)]
mod sigterm;

/// Does everything once: in whatever executor it is called.
async fn tour(runtime: Runtime) {
    let run = runtime.submit(NewRun::new("model", "hi")).await.unwrap();
    let output = run.wait(LONG).await.unwrap();
    assert_eq!((output.status, text(&output)), (RunStatus::Completed, "Paris."));
    let events: Vec<RunEvent> = run.subscribe(None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(names(&events).last().unwrap(), "RunCompleted");

    let stalled = runtime.submit(NewRun::new("model", "hi")).await.unwrap();
    let mut events = stalled.subscribe(Some(1)).await.unwrap();
    events.next().await.unwrap().unwrap();
    assert_eq!(stalled.wait(Duration::from_millis(20)).await.unwrap().status, RunStatus::Running);
    assert_eq!(stalled.cancel().await.unwrap(), CancelOutcome::Cancelled);
    assert_eq!(names(&[events.next().await.unwrap().unwrap()]), ["RunCancelled"]);
    assert!(events.next().await.is_none());

    assert_eq!(runtime.shutdown(LONG).await, greenroom::Drained::default());
    let refusal = runtime.submit(NewRun::new("model", "hi")).await.unwrap_err();
    assert!(matches!(refusal, Error::ShuttingDown), "{refusal:?}");
}

fn agent() -> AgentBuilder {
    let turns = [ScriptedTurn::text("Paris."), ScriptedTurn::text("partly").then_stall()];
    Agent::builder("model").model(ScriptedModel::new(turns))
}

/// Drives a future with nothing but a thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn it_works_on_a_tokio_runtime_of_one_thread() {
    tour(start(Store::sqlite_in_memory(), agent()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_on_a_tokio_runtime_of_several_threads() {
    let runtime = start(Store::sqlite_in_memory(), agent()).await;
    tokio::spawn(tour(runtime)).await.unwrap();
}

#[test]
fn it_works_in_an_actix_system() {
    actix_web::rt::System::new().block_on(async {
        let database = crate::postgres::fresh_database().await;
        for store in [Store::sqlite_in_memory(), Store::postgres(database.url())] {
            let runtime = start(store, agent()).await;
            actix_web::rt::spawn(tour(runtime)).await.unwrap();
        }
    });
}

#[test]
fn it_works_on_a_thread_without_any_executor() {
    block_on(async { tour(start(Store::sqlite_in_memory(), agent()).await).await });
}

#[test]
fn a_runtime_on_postgres_is_used_from_a_thread_without_any_executor() {
    let executor = tokio::runtime::Runtime::new().unwrap();
    let database = executor.block_on(crate::postgres::fresh_database());
    let runtime = executor.block_on(start(Store::postgres(database.url()), agent()));
    block_on(tour(runtime));
}

#[test]
fn a_runtime_outlives_the_executor_that_started_it() {
    let first = tokio::runtime::Runtime::new().unwrap();
    let runtime = first.block_on(start(Store::sqlite_in_memory(), agent()));
    first.shutdown_background();

    tokio::runtime::Runtime::new().unwrap().block_on(tour(runtime));
}

#[test]
fn a_thread_without_an_executor_keeps_its_time_though_user_code_blocks() {
    let gate = Gate::new();
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let blocking = Agent::builder("blocking").code({
        let gate = gate.clone();
        let blocked = Arc::new(blocked);
        move |_| {
            let (gate, blocked) = (gate.clone(), Arc::clone(&blocked));
            async move {
                gate.arrive();
                blocked.lock().unwrap().recv().ok();
                Ok(())
            }
        }
    });
    let executor = tokio::runtime::Runtime::new().unwrap();
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(blocking).agent_threads(1);
    let runtime = executor.block_on(builder.start()).unwrap();
    let run = block_on(runtime.submit(NewRun::new("blocking", "hi"))).unwrap();
    executor.block_on(gate.arrivals(1));

    let (sender, answer) = std::sync::mpsc::channel();
    let waiting = run.clone();
    thread::spawn(move || sender.send(block_on(waiting.wait(Duration::from_millis(20))).unwrap().status));

    assert_eq!(answer.recv_timeout(LONG), Ok(RunStatus::Running));
    unblock.send(()).unwrap();
    assert_eq!(executor.block_on(settled(&run)).status, RunStatus::Completed);
}

#[test]
fn a_thread_without_an_executor_that_waits_is_told_of_the_shutdown() {
    let gate = Gate::new();
    let executor = tokio::runtime::Runtime::new().unwrap();
    let builder =
        Runtime::builder().store(Store::sqlite_in_memory()).agent(gated(&gate).on_crash(CrashPolicy::Restart));
    let runtime = executor.block_on(builder.start()).unwrap();
    let run = block_on(runtime.submit(NewRun::new("gated", "hi"))).unwrap();
    executor.block_on(gate.arrivals(1));
    let waiting = thread::spawn({
        let run = run.clone();
        move || block_on(run.wait(LONG))
    });
    // Its wait is under way when the run is followed; a wait that came later would be refused in the same way.
    block_on(runtime.shutdown(Duration::ZERO));

    let refusal = waiting.join().expect("a caller does not panic").unwrap_err();

    assert!(matches!(refusal, Error::Store(_)), "{refusal:?}");
}

#[tokio::test]
async fn two_runtimes_in_one_process_know_nothing_of_each_other() {
    let gates = [Gate::new(), Gate::new()];
    let one = start(Store::sqlite_in_memory(), gated(&gates[0])).await;
    let other = start(Store::sqlite_in_memory(), gated(&gates[1])).await;
    let runs = submit_all(&one, [NewRun::new("gated", "hi")]).await;
    gates[0].arrivals(1).await;

    assert!(other.get(runs[0].run_id()).await.unwrap().is_none());
    let twin = other.submit(NewRun::new("gated", "other").run_id(runs[0].run_id())).await.unwrap();
    gates[1].open(1);
    assert_eq!(text(&settled(&twin).await), "other");
    other.shutdown(LONG).await;

    gates[0].open(1);
    assert_eq!(text(&settled(&runs[0]).await), "hi");
}

#[tokio::test]
async fn the_agents_of_a_runtime_are_known_by_name() {
    let runtime = start(Store::sqlite_in_memory(), agent().description("A geographer")).await;

    let known: Vec<_> = runtime.agents().map(|agent| (agent.name(), agent.description())).collect();

    assert_eq!(known, [("model", Some("A geographer"))]);
    let handle = runtime.agent("model").unwrap();
    assert_eq!(handle.name(), "model");
    let run = handle.submit("hi").await.unwrap();
    let mut events = run.subscribe(None).await.unwrap();
    assert_eq!(names(&[soon(events.next()).await.unwrap().unwrap()]), ["RunStarted"]);
}
