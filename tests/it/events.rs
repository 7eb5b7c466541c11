//! The log of a run.

use std::time::Duration;

use greenroom::{
    Agent, Error, NewRun, RunContext, RunEvent, RunEventKind, RunId, RunStatus, Runtime, ScriptedModel, ScriptedTurn,
    Store, Usage,
};
use serde_json::json;

use crate::support::{Gate, LONG, gated, log, names, on_each_store, pieces, settled, soon, start, text};

mod live;

on_each_store!(
    a_log_counts_from_zero_and_ends_with_the_end,
    pieces_are_joined_and_make_up_the_content,
    a_settled_log_is_read_from_any_place,
    a_wait_is_woken_and_not_polled,
);

async fn a_log_counts_from_zero_and_ends_with_the_end(store: Store) {
    let usage = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, ..Usage::default() };
    let model = ScriptedModel::new([ScriptedTurn::text("Paris.").usage(usage)]);
    let runtime = start(store, Agent::builder("model").model(model)).await;
    let run = runtime.submit(NewRun::new("model", "hi")).await.unwrap();

    let log = log(&runtime, run.run_id()).await;

    let expected = ["RunStarted", "ModelRequestStarted", "RunContent", "ModelRequestCompleted", "RunCompleted"];
    assert_eq!(names(&log), expected);
    assert_eq!(log.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(log.iter().all(|event| event.run_id == run.run_id()));
    assert!(log.is_sorted_by_key(|event| event.created_at));
    assert_eq!(log[0].kind, RunEventKind::RunStarted { attempt: 1 });
    let (model, model_provider) = ("scripted".to_owned(), "greenroom".to_owned());
    assert_eq!(log[1].kind, RunEventKind::ModelRequestStarted { model, model_provider });
    let RunEventKind::ModelRequestCompleted { usage: cost, .. } = log[3].kind else { panic!("{:?}", log[3]) };
    assert_eq!(cost, usage);
    assert!(log[4].is_terminal() && !log[..4].iter().any(RunEvent::is_terminal));
    assert_eq!(settled(&run).await.status, RunStatus::Completed, "what is told is durable");
}

async fn pieces_are_joined_and_make_up_the_content(store: Store) {
    let words = "word ".repeat(20_000);
    let model = ScriptedModel::new([ScriptedTurn::text(&*words)]);
    let runtime = start(store, Agent::builder("model").model(model)).await;
    let run = runtime.submit(NewRun::new("model", "hi")).await.unwrap();

    let log = log(&runtime, run.run_id()).await;

    let pieces = pieces(&log);
    assert_eq!(pieces.concat(), words);
    assert_eq!(text(&settled(&run).await), words);
    assert!(pieces.len() < 2_000, "20,000 pieces were stored as {} events", pieces.len());
    assert!(pieces.iter().all(|piece| piece.len() <= 8 * 1024));
    assert!(log.iter().map(|event| event.seq).eq(0..log.len() as u64));
}

#[tokio::test]
async fn a_piece_is_told_soon_and_not_only_at_the_end() {
    let model = ScriptedModel::new([ScriptedTurn::text("partly").then_stall()]);
    let runtime = start(Store::sqlite_in_memory(), Agent::builder("model").model(model)).await;
    let run = runtime.submit(NewRun::new("model", "hi")).await.unwrap();

    let mut events = run.subscribe(Some(1)).await.unwrap();
    let event = soon(futures_util::StreamExt::next(&mut events)).await.unwrap().unwrap();

    assert_eq!(event.kind, RunEventKind::RunContent { content: "partly".into() });
}

async fn a_settled_log_is_read_from_any_place(store: Store) {
    let agent = Agent::builder("talking").code(|cx: RunContext| async move {
        // More than is read from the store at a time.
        for number in 0..300 {
            cx.emit("count", number).await?;
        }
        Ok(())
    });
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("talking", "hi")).await.unwrap();
    settled(&run).await;

    let whole = log(&runtime, run.run_id()).await;

    assert_eq!(whole.len(), 302);
    for (after, rest) in [(0, 301), (1, 300), (44, 257), (45, 256), (46, 255), (300, 1), (301, 0), (u64::MAX, 0)] {
        let events = run.subscribe(Some(after)).await.unwrap();
        let read: Vec<_> = soon(futures_util::TryStreamExt::try_collect(events)).await.unwrap();
        assert_eq!(read, whole[302 - rest..], "after {after}");
    }
}

#[tokio::test]
async fn events_of_the_agents_own_are_told_as_they_are() {
    let agent = Agent::builder("talking").code(|cx: RunContext| async move {
        cx.emit_text("a").await;
        cx.emit("progress", json!({"done": 1, "of": [2]})).await?;
        cx.emit_text("b").await;
        cx.emit_text("").await;
        cx.emit("", None::<u32>).await?;
        Ok(())
    });
    let runtime = start(Store::sqlite_in_memory(), agent).await;
    let run = runtime.submit(NewRun::new("talking", "hi")).await.unwrap();

    let log = log(&runtime, run.run_id()).await;

    let custom =
        |name: &str, data: serde_json::Value| RunEventKind::CustomEvent { name: name.into(), data: data.into() };
    let piece = |text: &str| RunEventKind::RunContent { content: text.into() };
    let kinds: Vec<_> = log.iter().map(|event| event.kind.clone()).skip(1).take(4).collect();
    let expected = [piece("a"), custom("progress", json!({"done": 1, "of": [2]})), piece("b"), custom("", json!(null))];
    assert_eq!(kinds, expected);
    assert_eq!(log.len(), 6);
    let json = serde_json::to_value(&log[2]).unwrap();
    assert_eq!((&json["event"], &json["seq"], &json["name"]), (&json!("CustomEvent"), &json!(2), &json!("progress")));
    assert_eq!(serde_json::from_value::<RunEvent>(json).unwrap(), log[2]);
}

#[tokio::test]
async fn a_run_that_nobody_knows_can_be_neither_followed_nor_waited_for() {
    let runtime = start(Store::sqlite_in_memory(), gated(&Gate::new())).await;
    let run_id = RunId::new();

    let refusals = [runtime.subscribe(run_id, None).await.err(), runtime.wait(run_id, LONG).await.err()];

    for refusal in refusals {
        let refusal = refusal.unwrap();
        assert!(matches!(refusal, Error::NotFound(unknown) if unknown == run_id) && refusal.is_not_found());
    }
}

async fn a_wait_is_woken_and_not_polled(store: Store) {
    let hour = Duration::from_secs(60 * 60);
    let gate = Gate::new();
    let builder = Runtime::builder().store(store).agent(gated(&gate)).max_running(1);
    let runtime = builder.poll_interval(hour).start().await.unwrap();
    let mut runs = Vec::new();
    for input in ["runs", "waits", "is cancelled"] {
        runs.push(runtime.submit(NewRun::new("gated", input)).await.unwrap());
    }
    gate.arrivals(1).await;

    let waits = runs.iter().map(|run| {
        let run = run.clone();
        let wait = tokio::spawn(async move { run.wait(hour).await.unwrap().status });
        async move { soon(wait).await.unwrap() }
    });
    let acts = async {
        runs[2].cancel().await.unwrap();
        gate.open(2);
    };
    let (statuses, ()) = futures_util::join!(futures_util::future::join_all(waits), acts);

    assert_eq!(statuses, [RunStatus::Completed, RunStatus::Completed, RunStatus::Cancelled]);
}

#[tokio::test]
async fn a_wait_that_is_over_says_how_far_the_run_has_come() {
    let gate = Gate::new();
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(gated(&gate)).max_running(1);
    let runtime = builder.start().await.unwrap();
    let running = runtime.submit(NewRun::new("gated", "runs")).await.unwrap();
    gate.arrivals(1).await;
    let waiting = runtime.submit(NewRun::new("gated", "waits")).await.unwrap();

    for timeout in [Duration::ZERO, Duration::from_millis(20)] {
        assert_eq!(running.wait(timeout).await.unwrap().status, RunStatus::Running);
        assert_eq!(waiting.wait(timeout).await.unwrap().status, RunStatus::Pending);
    }

    gate.open(2);
    assert_eq!(waiting.wait(Duration::MAX).await.unwrap().status, RunStatus::Completed);
}
