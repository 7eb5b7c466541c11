//! Readers that follow a run while it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use greenroom::{Agent, AgentBuilder, NewRun, RunContext, RunEvent, RunEventKind, RunHandle, RunStatus, Store};

use crate::support::{Gate, log, on_each_store, pieces, settled, soon, start};

on_each_store!(
    twenty_readers_that_come_at_different_times_read_the_same,
    a_reader_that_falls_behind_gets_everything_and_holds_up_nobody,
    whoever_talks_fast_is_heard_in_full,
);

/// An agent that tells a number of events, each when it is let.
fn counting(gate: &Gate) -> AgentBuilder {
    let gate = gate.clone();
    Agent::builder("counting").code(move |cx: RunContext| {
        let gate = gate.clone();
        async move {
            for number in 0..cx.input_as()? {
                gate.pass().await;
                cx.emit("count", number).await?;
            }
            Ok(())
        }
    })
}

fn read(run: &RunHandle, after: Option<u64>) -> impl Future<Output = Vec<RunEvent>> + use<> {
    let run = run.clone();
    let reading = tokio::spawn(async move { run.subscribe(after).await.unwrap().try_collect().await.unwrap() });
    async move { soon(reading).await.unwrap() }
}

async fn twenty_readers_that_come_at_different_times_read_the_same(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, counting(&gate)).await;
    let run = runtime.submit(NewRun::new("counting", 20_u64)).await.unwrap();
    let mut guide = run.subscribe(None).await.unwrap();
    soon(guide.next()).await.unwrap().unwrap();

    let mut readers = Vec::new();
    for number in 0..20_u64 {
        // From the start, from where the log stands, and from a place that is not there yet.
        let after = [None, Some(number), Some(number + 1)][number as usize % 3];
        readers.push((after, read(&run, after)));
        gate.open(1);
        soon(guide.next()).await.unwrap().unwrap();
    }

    let whole = log(&runtime, run.run_id()).await;
    assert!(whole.iter().map(|event| event.seq).eq(0..22));
    let (places, readers): (Vec<_>, Vec<_>) = readers.into_iter().unzip();
    for (after, log) in places.into_iter().zip(join_all(readers).await) {
        let from = after.map_or(0, |after| after as usize + 1);
        assert_eq!(log, whole[from..], "after {after:?}");
    }
    let rest: Vec<_> = guide.try_collect().await.unwrap();
    assert_eq!(rest, whole[21..]);
}

async fn a_reader_that_falls_behind_gets_everything_and_holds_up_nobody(store: Store) {
    let gate = Gate::new();
    let runtime = start(store, counting(&gate)).await;
    let run = runtime.submit(NewRun::new("counting", 200_u64)).await.unwrap();
    let mut slow = run.subscribe(None).await.unwrap();
    let mut seen = vec![soon(slow.next()).await.unwrap().unwrap()];
    let mut fast = run.subscribe(Some(0)).await.unwrap();
    for _ in 0..200 {
        // One batch for each event: the next one is told only when this one has been read.
        gate.open(1);
        soon(fast.next()).await.unwrap().unwrap();
    }

    assert_eq!(settled(&run).await.status, RunStatus::Completed, "the run has ended while one reader read nothing");
    let rest: Vec<_> = soon(slow.try_collect()).await.unwrap();

    seen.extend(rest);
    assert_eq!(seen.len(), 202);
    assert_eq!(seen, log(&runtime, run.run_id()).await);
}

async fn whoever_talks_fast_is_heard_in_full(store: Store) {
    let told = Arc::new(AtomicU64::new(0));
    let agent = Agent::builder("fast").code({
        let told = Arc::clone(&told);
        move |cx: RunContext| {
            let told = Arc::clone(&told);
            async move {
                for number in 0..5_000 {
                    cx.emit("count", number).await?;
                    cx.emit_text("x".repeat(100)).await;
                    told.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        }
    });
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("fast", "hi")).await.unwrap();

    let mut events = run.subscribe(None).await.unwrap();
    let (mut counts, mut words, mut seq) = (Vec::new(), String::new(), 0);
    while let Some(event) = soon(events.next()).await {
        let event = event.unwrap();
        assert_eq!(event.seq, seq);
        seq += 1;
        if let RunEventKind::CustomEvent { data, .. } = &event.kind {
            counts.push(data.as_json().as_u64().unwrap());
        }
        words.push_str(&pieces(&[event]).concat());
    }

    assert!(counts.into_iter().eq(0..5_000));
    assert_eq!(words.len(), 500_000);
    assert_eq!(told.load(Ordering::Relaxed), 5_000);
    assert_eq!(settled(&run).await.status, RunStatus::Completed);
}
