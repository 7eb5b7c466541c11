//! Sessions whose runs must not run beside each other.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use greenroom::{
    Agent, AgentBuilder, AgentError, CancelOutcome, Error, NewRun, RetryPolicy, RunContext, RunQuery, RunStatus,
    Runtime, SessionPolicy, Store,
};

use crate::postgres::fresh_database;
use crate::support::{Gate, gated, names, on_each_store, settled, soon, submit_all};

on_each_store!(
    runs_of_a_session_wait_for_each_other,
    a_second_run_of_a_session_is_refused,
    one_of_many_submits_at_once_gets_the_session,
    a_session_goes_on_when_the_run_that_it_waits_for_is_cancelled_while_that_waits_itself,
);

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn runtime_of(store: Store, agent: AgentBuilder) -> Runtime {
    // What has become free is taken up at once, not at the next look.
    Runtime::builder().store(store).agent(agent).poll_interval(HOUR).start().await.unwrap()
}

async fn runs_of_a_session_wait_for_each_other(store: Store) {
    let gate = Gate::new();
    let runtime = runtime_of(store, gated(&gate).sessions(SessionPolicy::InOrder)).await;
    let mut runs = Vec::new();
    for priority in [0, 9, -9] {
        let new = NewRun::new("gated", priority).session_id("s").priority(priority);
        runs.push(runtime.submit(new).await.unwrap());
        assert_eq!(runs.last().unwrap().status(), RunStatus::Pending);
    }
    gate.arrivals(1).await;
    let beside = runtime.submit(NewRun::new("gated", "beside").session_id("t")).await.unwrap();
    gate.arrivals(1).await;
    let cancelled = runtime.submit(NewRun::new("gated", "never").session_id("s")).await.unwrap();
    let last = runtime.submit(NewRun::new("gated", "last").session_id("s")).await.unwrap();
    runs.push(last);

    for place in 0..runs.len() {
        assert_eq!(gate.unseen(), 0, "one at a time");
        let waiting = runtime.list(RunQuery::new().session_id("s").status(RunStatus::Pending)).await.unwrap();
        assert_eq!(waiting.runs.len(), [4, 3, 2, 0][place]);
        if place == 2 {
            assert_eq!(cancelled.cancel().await.unwrap(), CancelOutcome::Cancelled);
        }
        assert_eq!(runs[place].cancel().await.unwrap(), CancelOutcome::Cancelled);
        if place + 1 < runs.len() {
            gate.arrivals(1).await;
        }
    }
    gate.open(1);
    assert_eq!(settled(&beside).await.status, RunStatus::Completed);
}

async fn a_second_run_of_a_session_is_refused(store: Store) {
    let gate = Gate::new();
    let runtime = runtime_of(store, gated(&gate).sessions(SessionPolicy::Refuse)).await;
    let new = |input: &str| NewRun::new("gated", input).session_id("s");
    let first = runtime.submit(new("first").idempotency_key("k")).await.unwrap();
    gate.arrivals(1).await;

    let refusal = runtime.submit(new("second")).await.unwrap_err();

    assert!(matches!(refusal, Error::SessionBusy(run_id) if run_id == first.run_id()), "{refusal:?}");
    assert!(!refusal.is_retryable() && refusal.to_string().contains(&first.run_id().to_string()), "{refusal}");
    let again = runtime.submit(new("first").idempotency_key("k")).await.unwrap();
    assert_eq!(again.run_id(), first.run_id());
    let others = submit_all(&runtime, [new("ada's").user_id("ada"), NewRun::new("gated", "alone")]).await;
    gate.arrivals(2).await;
    gate.open(3);
    for run in others.iter().chain([&first]) {
        assert_eq!(settled(run).await.status, RunStatus::Completed);
    }
    let second = runtime.submit(new("second")).await.unwrap();
    gate.open(1);
    assert_eq!(settled(&second).await.status, RunStatus::Completed);
    assert_eq!(runtime.list(RunQuery::new().session_id("s")).await.unwrap().runs.len(), 3);
}

async fn one_of_many_submits_at_once_gets_the_session(store: Store) {
    let gate = Gate::new();
    let runtime = runtime_of(store, gated(&gate).sessions(SessionPolicy::Refuse)).await;

    let submits = (0..50).map(|number| runtime.submit(NewRun::new("gated", number).session_id("s")));
    let (accepted, refused): (Vec<_>, Vec<_>) = join_all(submits).await.into_iter().partition(Result::is_ok);

    assert_eq!(accepted.len(), 1);
    let first = accepted[0].as_ref().unwrap();
    for refusal in refused {
        assert!(matches!(refusal, Err(Error::SessionBusy(run_id)) if run_id == first.run_id()));
    }
    gate.open(100);
    settled(first).await;
    // The places that were kept for the others are free again.
    for run in submit_all(&runtime, (0..49).map(|number| NewRun::new("gated", number))).await {
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
    }
}

async fn a_session_goes_on_when_the_run_that_it_waits_for_is_cancelled_while_that_waits_itself(store: Store) {
    let agent = Agent::builder("fails once").code(|cx: RunContext| async move {
        if cx.input_as::<bool>()? { Err(AgentError::new("not yet")) } else { Ok("done") }
    });
    let agent = agent.sessions(SessionPolicy::InOrder).retry(RetryPolicy::new(HOUR));
    let runtime = runtime_of(store, agent).await;
    let run = |fails: bool| runtime.submit(NewRun::new("fails once", fails).session_id("s"));
    let tried_again = run(true).await.unwrap();
    let mut events = tried_again.subscribe(None).await.unwrap();
    while names(&[soon(events.next()).await.unwrap().unwrap()]) != ["RunRetrying"] {}
    let next = run(false).await.unwrap();
    assert_eq!(next.wait(Duration::from_millis(1)).await.unwrap().status, RunStatus::Pending);

    assert_eq!(tried_again.cancel().await.unwrap(), CancelOutcome::Cancelled);

    assert_eq!(settled(&next).await.status, RunStatus::Completed);
}

#[tokio::test]
async fn runs_of_a_session_in_two_processes_never_run_beside_each_other() {
    let database = fresh_database().await;
    let present = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let agent = || {
        let (present, order) = (present.clone(), order.clone());
        Agent::builder("alone").sessions(SessionPolicy::InOrder).code(move |cx: RunContext| {
            let (present, order) = (present.clone(), order.clone());
            async move {
                let session = cx.session_id().to_string();
                assert!(present.lock().unwrap().insert(session.clone()), "another one is at work in {session}");
                tokio::task::yield_now().await;
                order.lock().unwrap().push((session.clone(), cx.run_id()));
                present.lock().unwrap().remove(&session);
                Ok(())
            }
        })
    };
    let runtime = || {
        let builder = Runtime::builder().store(Store::postgres(database.url())).agent(agent());
        builder.poll_interval(Duration::from_millis(20)).start()
    };
    let (one, two) = (runtime().await.unwrap(), runtime().await.unwrap());

    let mut runs = Vec::new();
    for number in 0..60 {
        let session = ["a", "b", "c"][number % 3];
        let door = if number % 2 == 0 { &one } else { &two };
        let new = NewRun::new("alone", number).session_id(session).priority(i16::try_from(number % 5).unwrap());
        runs.push((session, door.submit(new).await.unwrap()));
    }

    for (_, run) in &runs {
        let output = settled(run).await;
        assert_eq!(output.status, RunStatus::Completed, "{:?}", output.error);
    }
    for session in ["a", "b", "c"] {
        let asked: Vec<_> = runs.iter().filter(|(of, _)| *of == session).map(|(_, run)| run.run_id()).collect();
        let order = order.lock().unwrap();
        let played: Vec<_> = order.iter().filter(|(of, _)| of == session).map(|(_, run_id)| *run_id).collect();
        assert_eq!(played, asked);
    }
    one.shutdown(Duration::from_secs(10)).await;
    two.shutdown(Duration::from_secs(10)).await;
}
