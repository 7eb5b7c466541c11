//! Agents of which only so many runs may be at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom::{Agent, AgentBuilder, CrashPolicy, NewRun, RunContext, RunQuery, RunStatus, Runtime, Store};

use crate::postgres::fresh_database;
use crate::support::{Gate, LONG, gated, on_each_store, settled, submit_all};

on_each_store!(
    no_more_runs_of_an_agent_are_live_than_it_allows,
    what_waits_for_its_agent_is_in_nobodys_way,
    what_waits_for_its_agent_goes_on_in_its_order,
);

const HOUR: Duration = Duration::from_secs(60 * 60);

/// An agent that counts how many of its runs are at work, each until it may pass.
fn counting(name: &str, gate: &Gate, most: &Arc<AtomicUsize>) -> AgentBuilder {
    counting_all(name, gate, most, &Arc::default())
}

/// The same, for several agents that count together.
fn counting_all(name: &str, gate: &Gate, most: &Arc<AtomicUsize>, present: &Arc<AtomicUsize>) -> AgentBuilder {
    let (gate, most, present) = (gate.clone(), Arc::clone(most), Arc::clone(present));
    Agent::builder(name).on_crash(CrashPolicy::Restart).code(move |cx: RunContext| {
        let (gate, most, present) = (gate.clone(), Arc::clone(&most), Arc::clone(&present));
        async move {
            most.fetch_max(present.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _present = Present(present);
            gate.pass().await;
            Ok(cx.input().clone())
        }
    })
}

/// A run at work, until it is dropped.
struct Present(Arc<AtomicUsize>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn no_more_runs_of_an_agent_are_live_than_it_allows(store: Store) {
    let (gate, most) = (Gate::new(), Arc::default());
    let builder = Runtime::builder().store(store).agent(counting("few", &gate, &most).max_running(3));
    // Room that becomes free is filled at once, not at the next look.
    let runtime = builder.poll_interval(HOUR).start().await.unwrap();

    let runs = submit_all(&runtime, (0..40).map(|number| NewRun::new("few", number))).await;
    gate.arrivals(3).await;
    gate.open(40);

    for run in &runs {
        assert_eq!(settled(run).await.status, RunStatus::Completed);
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn processes_share_the_runs_of_an_agent_that_only_so_many_may_be_live_of_everywhere() {
    let database = fresh_database().await;
    let (gate, most, present) = (Gate::new(), Arc::default(), Arc::default());
    let start = || {
        let few = counting_all("few", &gate, &most, &present).max_running_everywhere(3);
        Runtime::builder().store(Store::postgres(database.url())).agent(few).poll_interval(HOUR).start()
    };
    let (one, other) = (start().await.unwrap(), start().await.unwrap());

    let mut runs = submit_all(&one, (0..20).map(|number| NewRun::new("few", number))).await;
    runs.extend(submit_all(&other, (0..20).map(|number| NewRun::new("few", number))).await);
    gate.arrivals(3).await;
    let live = one.list(RunQuery::new().agent("few").status(RunStatus::Running)).await.unwrap();
    assert_eq!(live.runs.len(), 3);
    // When one process is gone, the other one has all the room.
    gate.open(10);
    gate.arrivals(10).await;
    one.shutdown(Duration::ZERO).await;
    gate.open(40);

    for run in &runs {
        let settled = other.wait(run.run_id(), LONG).await.unwrap();
        assert_eq!(settled.status, RunStatus::Completed);
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

async fn what_waits_for_its_agent_is_in_nobodys_way(store: Store) {
    let (gate, most, other) = (Gate::new(), Arc::default(), Gate::new());
    let few = counting("few", &gate, &most).max_running(1);
    let builder = Runtime::builder().store(store).agent(few).agent(gated(&other)).max_running(3);
    let runtime = builder.poll_interval(HOUR).start().await.unwrap();
    let urgent = submit_all(&runtime, (0..20).map(|number| NewRun::new("few", number).priority(9))).await;
    gate.arrivals(1).await;
    other.open(20);

    for run in submit_all(&runtime, (0..20).map(|number| NewRun::new("gated", number))).await {
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
    }

    assert_eq!(gate.unseen(), 0, "one of them is at work, the others wait");
    let waiting = runtime.list(RunQuery::new().agent("few").status(RunStatus::Pending)).await.unwrap();
    assert_eq!(waiting.runs.len(), 19);
    gate.open(20);
    for run in &urgent {
        assert_eq!(settled(run).await.status, RunStatus::Completed);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

async fn what_waits_for_its_agent_goes_on_in_its_order(store: Store) {
    let (gate, most) = (Gate::new(), Arc::default());
    let builder = Runtime::builder().store(store).agent(counting("few", &gate, &most).max_running(1));
    let runtime = builder.poll_interval(HOUR).start().await.unwrap();
    let mut runs = vec![runtime.submit(NewRun::new("few", "first")).await.unwrap()];
    gate.arrivals(1).await;
    for priority in [0, 5, -5, 5] {
        runs.push(runtime.submit(NewRun::new("few", priority).priority(priority)).await.unwrap());
    }
    gate.open(5);

    let mut ends = Vec::new();
    for run in &runs {
        ends.push((settled(run).await.started_at.unwrap(), run.run_id()));
    }
    ends.sort();
    let order: Vec<_> = ends.into_iter().map(|(_, run_id)| run_id).collect();
    assert_eq!(order, [0, 2, 4, 1, 3].map(|place| runs[place].run_id()));
}
