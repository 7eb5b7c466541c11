//! Several runtimes on one database: what one of them has is seen and cancelled by the others.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use greenroom::{
    Agent, AgentBuilder, CancelOutcome, Error, EventStream, NewRun, PostgresOptions, RunContext, RunEvent, RunHandle,
    RunStatus, Runtime, StoreError,
};
use tokio_postgres::NoTls;

use crate::postgres::{Database, fresh_database};
use crate::support::{DropGuard, Gate, LONG, gated, log, soon};

/// Nothing happens because somebody looked by chance.
const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(50);

/// Tells the numbers below its input, each when it is let.
fn counting(gate: &Gate) -> AgentBuilder {
    let gate = gate.clone();
    Agent::builder("counting").code(move |cx: RunContext| {
        let gate = gate.clone();
        async move {
            let _dropped = DropGuard(gate.clone());
            for number in 0..cx.input_as()? {
                gate.pass().await;
                cx.emit("count", number).await?;
            }
            Ok(())
        }
    })
}

/// How runtimes learn of each other.
#[derive(Clone, Copy)]
enum By {
    Hints,
    Polls,
}

async fn start(database: &Database, by: By, agent: AgentBuilder, max_running: usize) -> Runtime {
    let options = PostgresOptions::new(database.url());
    let (options, poll_interval) = match by {
        By::Hints => (options, NEVER),
        By::Polls => (options.poll_only(), OFTEN),
    };
    let runtime = Runtime::builder().store(options).agent(agent).poll_interval(poll_interval).max_running(max_running);
    runtime.start().await.unwrap()
}

/// Submits a run, and waits until it is at work, before there is another runtime that could take it up.
async fn begin(here: &Runtime, gate: &Gate, run: NewRun) -> RunHandle {
    let run = here.submit(run).await.unwrap();
    gate.arrivals(1).await;
    run
}

async fn next(events: &mut EventStream) -> RunEvent {
    soon(events.next()).await.unwrap().unwrap()
}

macro_rules! by_hints_and_by_polls {
    ($($claim:ident),* $(,)?) => {
        mod by_hints {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::By::Hints).await;
            })*
        }

        mod by_polls {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::By::Polls).await;
            })*
        }
    };
}

by_hints_and_by_polls!(
    a_run_is_followed_from_another_process_event_by_event,
    a_run_is_waited_for_from_another_process,
    a_cancel_reaches_the_process_that_has_the_run,
    what_finds_no_room_in_one_process_is_taken_up_by_another,
    what_one_process_hands_back_another_takes_up,
);

async fn a_run_is_followed_from_another_process_event_by_event(by: By) {
    let database = fresh_database().await;
    let gate = Gate::new();
    let here = start(&database, by, counting(&gate), 10).await;
    let run = begin(&here, &gate, NewRun::new("counting", 10_u64)).await;
    let elsewhere = start(&database, by, counting(&Gate::new()), 10).await;

    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(elsewhere.subscribe(run.run_id(), None).await.unwrap());
    }
    let mut late = elsewhere.subscribe(run.run_id(), Some(6)).await.unwrap();
    let mut told = Vec::new();
    for seq in 0..12 {
        for reader in &mut readers {
            let event = next(reader).await;
            assert_eq!(event.seq, seq);
            told.push(event);
        }
        // Only now is there another one.
        gate.open(1);
    }
    for reader in &mut readers {
        assert!(soon(reader.next()).await.is_none());
    }
    assert!(told.last().unwrap().is_terminal());
    let whole = log(&here, run.run_id()).await;
    assert_eq!(told.into_iter().step_by(5).collect::<Vec<_>>(), whole);
    let mut rest = vec![next(&mut late).await];
    rest.extend(soon(late.try_collect::<Vec<_>>()).await.unwrap());
    assert_eq!(rest, whole[7..]);
    elsewhere.shutdown(LONG).await;
    here.shutdown(LONG).await;
}

async fn a_run_is_waited_for_from_another_process(by: By) {
    let database = fresh_database().await;
    let gate = Gate::new();
    let here = start(&database, by, gated(&gate), 10).await;
    let run = begin(&here, &gate, NewRun::new("gated", "an answer")).await;
    let elsewhere = start(&database, by, gated(&Gate::new()), 10).await;

    let waits = (0..20).map(|_| {
        let elsewhere = elsewhere.clone();
        let run_id = run.run_id();
        tokio::spawn(async move { elsewhere.wait(run_id, NEVER).await.unwrap() })
    });
    let waits: Vec<_> = waits.collect();
    let unfinished = elsewhere.wait(run.run_id(), Duration::from_millis(30)).await.unwrap();
    assert_eq!(unfinished.status, RunStatus::Running);
    gate.open(1);

    for wait in waits {
        let output = soon(wait).await.unwrap();
        assert_eq!((output.status, output.content.unwrap().as_text()), (RunStatus::Completed, Some("an answer")));
    }
    elsewhere.shutdown(LONG).await;
    here.shutdown(LONG).await;
}

async fn a_cancel_reaches_the_process_that_has_the_run(by: By) {
    let database = fresh_database().await;
    let gate = Gate::new();
    let here = start(&database, by, counting(&gate), 10).await;
    let run = begin(&here, &gate, NewRun::new("counting", 10_u64)).await;
    let elsewhere = start(&database, by, counting(&Gate::new()), 10).await;

    assert_eq!(elsewhere.cancel(run.run_id()).await.unwrap(), CancelOutcome::Requested);

    // Its code is gone, there, and that is known here.
    gate.arrivals(1).await;
    assert_eq!(soon(elsewhere.wait(run.run_id(), NEVER)).await.unwrap().status, RunStatus::Cancelled);
    elsewhere.shutdown(LONG).await;
    here.shutdown(LONG).await;
}

async fn what_finds_no_room_in_one_process_is_taken_up_by_another(by: By) {
    let database = fresh_database().await;
    let (gate, other_gate) = (Gate::new(), Gate::new());
    let full = start(&database, by, gated(&gate), 1).await;
    let begun = begin(&full, &gate, NewRun::new("gated", "runs")).await;
    let roomy = start(&database, by, gated(&other_gate), 10).await;

    for _ in 0..5 {
        full.submit(NewRun::new("gated", "waits")).await.unwrap();
    }

    other_gate.arrivals(5).await;
    other_gate.open(5);
    gate.open(1);
    assert_eq!(soon(begun.wait(NEVER)).await.unwrap().status, RunStatus::Completed);
    roomy.shutdown(LONG).await;
    full.shutdown(LONG).await;
    assert_eq!(gate.unseen(), 0);
}

async fn what_one_process_hands_back_another_takes_up(by: By) {
    let database = fresh_database().await;
    let (gate, other_gate) = (Gate::new(), Gate::new());
    let restarts = |gate: &Gate| gated(gate).on_crash(greenroom::CrashPolicy::Restart);
    let leaving = start(&database, by, restarts(&gate), 10).await;
    let run = begin(&leaving, &gate, NewRun::new("gated", "goes on")).await;
    let staying = start(&database, by, restarts(&other_gate), 10).await;

    assert_eq!(leaving.shutdown(Duration::ZERO).await.handed_back, 1);

    other_gate.arrivals(1).await;
    other_gate.open(1);
    assert_eq!(soon(staying.wait(run.run_id(), NEVER)).await.unwrap().status, RunStatus::Completed);
    staying.shutdown(LONG).await;
}

#[tokio::test]
async fn a_follower_goes_on_by_itself_when_all_connections_were_cut() {
    let database = fresh_database().await;
    let gate = Gate::new();
    let here = start(&database, By::Hints, counting(&gate), 10).await;
    let run = begin(&here, &gate, NewRun::new("counting", 5_u64)).await;
    let elsewhere = start(&database, By::Hints, counting(&Gate::new()), 10).await;
    let mut events = elsewhere.subscribe(run.run_id(), None).await.unwrap();
    assert_eq!(next(&mut events).await.seq, 0);
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let cut = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
               WHERE application_name = 'greenroom' AND datname = current_database()";

    for seq in 1..7 {
        client.query_one(cut, &[]).await.unwrap();
        gate.open(1);
        let mut event = soon(events.next()).await.unwrap();
        // A read may have met the cut; the stream goes on after that.
        let deadline = Instant::now() + LONG;
        while let Err(Error::Store(StoreError::Unavailable(_))) = event {
            assert!(Instant::now() < deadline);
            event = soon(events.next()).await.unwrap();
        }
        assert_eq!(event.unwrap().seq, seq);
    }
    // A shutdown would wait for what a claim that was cut has done, which is looked for in the next poll interval.
    drop((here, elsewhere));
}

#[tokio::test]
async fn followers_of_a_runtime_that_ends_do_not_wait_for_ever() {
    let database = fresh_database().await;
    let gate = Gate::new();
    let here = start(&database, By::Hints, gated(&gate), 10).await;
    let run = begin(&here, &gate, NewRun::new("gated", "stays")).await;
    for in_good_order in [true, false] {
        let ending = start(&database, By::Hints, gated(&Gate::new()), 10).await;
        let mut events = ending.subscribe(run.run_id(), Some(0)).await.unwrap();
        let waits = tokio::spawn(async move { events.next().await });
        let mut seen = ending.subscribe(run.run_id(), None).await.unwrap();
        assert_eq!(next(&mut seen).await.seq, 0);

        if in_good_order {
            ending.shutdown(LONG).await;
        }
        drop(ending);

        let told = soon(waits).await.unwrap();
        assert!(matches!(told, Some(Err(Error::Store(StoreError::Closed)))), "{told:?}");
    }
    gate.open(1);
    assert_eq!(soon(run.wait(NEVER)).await.unwrap().status, RunStatus::Completed);
}

#[tokio::test]
async fn one_runtime_may_use_hints_while_another_only_polls() {
    let database = fresh_database().await;
    let gate = Gate::new();
    let polling = start(&database, By::Polls, counting(&gate), 10).await;
    let run = begin(&polling, &gate, NewRun::new("counting", 3_u64)).await;
    let hinted = start(&database, By::Hints, counting(&Gate::new()), 10).await;
    assert_eq!(hinted.cancel(run.run_id()).await.unwrap(), CancelOutcome::Requested);
    gate.arrivals(1).await;
    assert_eq!(soon(polling.wait(run.run_id(), NEVER)).await.unwrap().status, RunStatus::Cancelled);
    hinted.shutdown(LONG).await;
    polling.shutdown(LONG).await;
}
