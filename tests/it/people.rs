//! Runs that wait for people: paused without a process, continued once, from anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use greenroom::{
    Agent, AgentBuilder, CancelOutcome, CrashPolicy, Decision, Error, FailureKind, InputKind, NewRun, Question,
    Requirement, RequirementKind, RunContext, RunEventKind, RunHandle, RunId, RunOutput, RunStatus, Runtime,
    SessionPolicy, StepKey, Store,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::postgres::fresh_database;
use crate::support::{Gate, LONG, log, name, on_each_store, settled, soon, start, text};

mod bounds;
mod kill;
mod memory;

/// Counts what is done, and asks before it goes on.
#[derive(Clone, Default)]
struct Counts {
    begun: Arc<AtomicUsize>,
    looked: Arc<AtomicUsize>,
    deleted: Arc<AtomicUsize>,
}

fn add(count: &AtomicUsize) -> usize {
    count.fetch_add(1, Ordering::SeqCst) + 1
}

fn of(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

/// Looks, asks whether it may delete, and deletes.
fn janitor(counts: &Counts) -> AgentBuilder {
    let counts = counts.clone();
    Agent::builder("janitor").code(move |cx: RunContext| {
        let counts = counts.clone();
        async move {
            add(&counts.begun);
            let found: usize = cx.step("look", || async { Ok(add(&counts.looked)) }).await?;
            cx.emit_text("found some; ").await;
            let said = cx.confirm("delete", json!({"files": found})).await?;
            if !said.confirmed {
                return Ok(format!("kept: {}", said.note.unwrap_or_default()));
            }
            let deleted: usize = cx.step("delete", || async { Ok(add(&counts.deleted)) }).await?;
            Ok(format!("deleted {deleted}, by attempt {}", cx.attempt()))
        }
    })
}

/// Waits until the run is paused.
pub(crate) async fn paused(run: &RunHandle) -> RunOutput {
    let mut events = run.subscribe(None).await.unwrap();
    loop {
        let event = soon(events.next()).await.expect("it ended without a pause").unwrap();
        let output = run.output().await.unwrap();
        if matches!(event.kind, RunEventKind::RunPaused { .. }) && output.status == RunStatus::Paused {
            return output;
        }
    }
}

pub(crate) fn id(output: &RunOutput) -> StepKey {
    output.requirements[0].requirement_id
}

on_each_store!(
    a_run_pauses_and_goes_on_with_what_was_decided,
    a_rejection_with_its_note_is_a_result,
    what_is_awaited_together_is_decided_together,
    a_step_beside_a_requirement_is_finished_first,
    of_two_who_decide_at_the_same_time_one_is_heard,
    a_paused_run_is_cancelled_at_once_and_not_continued,
    a_paused_run_expires,
    decisions_that_do_not_fit_are_named_and_change_nothing,
    a_user_decides_nothing_of_anybody_else,
    a_session_waits_while_its_run_is_paused,
    whatever_the_crash_policy_a_continued_run_remembers,
);

async fn a_run_pauses_and_goes_on_with_what_was_decided(store: Store) {
    let counts = Counts::default();
    let runtime = start(store, janitor(&counts).max_attempts(1)).await;
    let run = runtime.submit(NewRun::new("janitor", "clean up")).await.unwrap();

    let output = paused(&run).await;
    let Requirement { name: called, kind, details, .. } = &output.requirements[0];
    assert_eq!((&**called, *kind, details.as_json()), ("delete", RequirementKind::Confirmation, &json!({"files": 1})));
    assert_eq!(text(&output), "found some; ", "what it has said so far");
    assert_eq!(run.wait(Duration::from_millis(20)).await.unwrap().status, RunStatus::Paused);

    run.continue_run([Decision::confirm(id(&output))]).await.unwrap();
    let output = settled(&run).await;
    assert_eq!((text(&output), &output.requirements), ("deleted 1, by attempt 2", &vec![]));
    assert_eq!((of(&counts.begun), of(&counts.looked), of(&counts.deleted)), (2, 1, 1));
    let names: Vec<String> = log(&runtime, run.run_id()).await.iter().map(name).collect();
    let expected =
        ["RunStarted", "RunContent", "RunPaused", "RunContinued", "RunStarted", "RunContent", "RunCompleted"];
    assert_eq!(names, expected);
    assert_eq!(runtime.get(run.run_id()).await.unwrap().unwrap().starts, 1, "a pause burns no attempt");
    assert_eq!(soon(runtime.shutdown(LONG)).await.lost, 0);
}

async fn a_rejection_with_its_note_is_a_result(store: Store) {
    let counts = Counts::default();
    let runtime = start(store, janitor(&counts)).await;
    let run = runtime.submit(NewRun::new("janitor", "clean up")).await.unwrap();
    let output = paused(&run).await;
    run.continue_run([Decision::reject(id(&output), "we need them")]).await.unwrap();
    assert_eq!(text(&settled(&run).await), "kept: we need them");
    assert_eq!(of(&counts.deleted), 0);
}

fn shop() -> AgentBuilder {
    Agent::builder("shop").code(|cx: RunContext| async move {
        let form = Question::new("Where to?").field("street", InputKind::Text).optional("number", InputKind::Integer);
        let (address, paid, said) = tokio::join!(
            cx.ask::<Value>("address", form),
            cx.execute_elsewhere::<u64, _>("pay", [17, 4]),
            cx.confirm("ship", "it"),
        );
        Ok(json!([address?, paid?, said?.confirmed]))
    })
}

async fn what_is_awaited_together_is_decided_together(store: Store) {
    let runtime = start(store, shop()).await;
    let run = runtime.submit(NewRun::new("shop", "buy")).await.unwrap();
    let output = paused(&run).await;
    let ids: Vec<StepKey> = output.requirements.iter().map(|one| one.requirement_id).collect();
    let names: Vec<&str> = output.requirements.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["address", "pay", "ship"]);
    let address = json!({"street": "Elm", "number": 3});
    let decisions =
        [Decision::confirm(ids[2]), Decision::answer(ids[1], 21), Decision::answer(ids[0], address.clone())];
    runtime.continue_run(run.run_id(), decisions).await.unwrap();
    assert_eq!(settled(&run).await.content.unwrap().into_json(), json!([address, 21, true]));
}

async fn a_step_beside_a_requirement_is_finished_first(store: Store) {
    let (gate, counts) = (Gate::new(), Counts::default());
    let agent = {
        let (gate, counts) = (gate.clone(), counts.clone());
        Agent::builder("both").code(move |cx: RunContext| {
            let (gate, counts) = (gate.clone(), counts.clone());
            async move {
                let begun = Arc::new(Notify::new());
                let work = {
                    let begun = Arc::clone(&begun);
                    move || async move {
                        begun.notify_one();
                        gate.pass().await;
                        Ok(add(&counts.looked))
                    }
                };
                // In a task of its own, which nobody polls along with the code.
                let slow = tokio::spawn(cx.step("slow", work));
                if cx.attempt() == 1 {
                    begun.notified().await;
                }
                let said = cx.confirm("go", ()).await?;
                let slow = slow.await??;
                Ok(json!([said.confirmed, slow]))
            }
        })
    };
    let runtime = start(store, agent).await;
    let run = runtime.submit(NewRun::new("both", "go")).await.unwrap();
    gate.arrivals(1).await;
    assert_eq!(run.output().await.unwrap().status, RunStatus::Running);
    gate.open(10);
    let output = paused(&run).await;
    run.continue_run([Decision::confirm(id(&output))]).await.unwrap();
    assert_eq!(settled(&run).await.content.unwrap().into_json(), json!([true, 1]));
    assert_eq!(of(&counts.looked), 1);
}

async fn of_two_who_decide_at_the_same_time_one_is_heard(store: Store) {
    let counts = Counts::default();
    let runtime = start(store, janitor(&counts)).await;
    for round in 1..=10 {
        let run = runtime.submit(NewRun::new("janitor", "clean up")).await.unwrap();
        let decision = Decision::confirm(id(&paused(&run).await));
        let (one, other) =
            tokio::join!(run.continue_run([decision.clone()]), runtime.continue_run(run.run_id(), [decision]));
        let refused = match (one, other) {
            (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
            both => panic!("{both:?}"),
        };
        assert!(matches!(refused, Error::NotPaused { run_id, .. } if run_id == run.run_id()), "{refused:?}");
        assert_eq!(settled(&run).await.status, RunStatus::Completed);
        assert_eq!(of(&counts.deleted), round);
    }
}

async fn a_paused_run_is_cancelled_at_once_and_not_continued(store: Store) {
    let counts = Counts::default();
    let runtime = start(store, janitor(&counts)).await;
    let run = runtime.submit(NewRun::new("janitor", "clean up")).await.unwrap();
    let decision = Decision::confirm(id(&paused(&run).await));
    assert_eq!(run.cancel().await.unwrap(), CancelOutcome::Cancelled);
    let refused = run.continue_run([decision]).await.unwrap_err();
    let expected = (run.run_id(), RunStatus::Cancelled);
    assert!(matches!(refused, Error::NotPaused { run_id, status } if (run_id, status) == expected), "{refused:?}");
    let output = settled(&run).await;
    assert_eq!((output.status, text(&output)), (RunStatus::Cancelled, "found some; "));
    assert_eq!((of(&counts.begun), of(&counts.deleted)), (1, 0), "the code never goes on");
    assert_eq!(soon(runtime.shutdown(LONG)).await.lost, 0);
}

async fn a_paused_run_expires(store: Store) {
    let counts = Counts::default();
    let agent = janitor(&counts).pause_timeout(Duration::from_millis(1));
    let builder = Runtime::builder().store(store).poll_interval(Duration::from_millis(50)).agent(agent);
    let runtime = builder.start().await.unwrap();
    let run = runtime.submit(NewRun::new("janitor", "clean up")).await.unwrap();
    let output = settled(&run).await;
    assert_eq!((output.status, output.error.as_ref().unwrap().kind), (RunStatus::Error, FailureKind::PauseTimeout));
    assert_eq!((text(&output), of(&counts.begun)), ("found some; ", 1));
    assert!(output.requirements.is_empty());
}

async fn decisions_that_do_not_fit_are_named_and_change_nothing(store: Store) {
    let runtime = start(store, shop()).await;
    let run = runtime.submit(NewRun::new("shop", "buy")).await.unwrap();
    let output = paused(&run).await;
    let ids: Vec<StepKey> = output.requirements.iter().map(|one| one.requirement_id).collect();
    let good = [
        Decision::answer(ids[0], json!({"street": "Elm"})),
        Decision::answer(ids[1], 21),
        Decision::reject(ids[2], "too late"),
    ];
    let with = |place: usize, decision: Decision| {
        let mut decisions = good.to_vec();
        decisions[place] = decision;
        decisions
    };
    let stranger: StepKey = "018f9d5e-5a3c-7c3e-9f43-6d6f1c1b2a30".parse().unwrap();
    for (decisions, words) in [
        (good[..2].to_vec(), "`ship`"),
        (with(2, Decision::confirm(stranger)), &*stranger.to_string()),
        (with(2, good[1].clone()), &*ids[1].to_string()),
        (with(0, Decision::answer(ids[0], json!({"street": 1}))), "`address` has a field `street`"),
        (with(1, Decision::confirm(ids[1])), "`pay` must be a value"),
        (with(1, Decision::answer(ids[1], "x".repeat(2 * 1024 * 1024))), "at most"),
    ] {
        let error = run.continue_run(decisions).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(invalid) if invalid.field() == "decisions"), "{error:?}");
        assert!(error.to_string().contains(words), "{error} without {words}");
    }
    assert_eq!(run.output().await.unwrap(), output);
    run.continue_run(good).await.unwrap();
    assert_eq!(settled(&run).await.content.unwrap().into_json()[2], json!(false));
}

async fn a_user_decides_nothing_of_anybody_else(store: Store) {
    let runtime = start(store, janitor(&Counts::default())).await;
    let (ann, bob) = (runtime.for_user("ann"), runtime.for_user("bob"));
    let run = ann.submit(NewRun::new("janitor", "clean up")).await.unwrap();
    let decision = Decision::confirm(id(&paused(&run).await));
    for (asked, of_whom) in [(run.run_id(), &bob), (RunId::new(), &ann)] {
        let refused = of_whom.continue_run(asked, [decision.clone()]).await.unwrap_err();
        assert!(matches!(refused, Error::NotFound(run_id) if run_id == asked), "{refused:?}");
    }
    assert_eq!(run.output().await.unwrap().status, RunStatus::Paused);
    ann.continue_run(run.run_id(), [decision]).await.unwrap();
    settled(&run).await;
}

async fn a_session_waits_while_its_run_is_paused(store: Store) {
    let counts = Counts::default();
    let runtime = start(store, janitor(&counts).sessions(SessionPolicy::InOrder)).await;
    let new = || NewRun::new("janitor", "clean up").session_id("s");
    let first = runtime.submit(new()).await.unwrap();
    let output = paused(&first).await;
    let second = runtime.submit(new()).await.unwrap();
    let other = runtime.submit(NewRun::new("janitor", "clean up").session_id("t")).await.unwrap();
    paused(&other).await;
    assert_eq!(second.output().await.unwrap().status, RunStatus::Pending);
    first.continue_run([Decision::confirm(id(&output))]).await.unwrap();
    settled(&first).await;
    paused(&second).await;
}

async fn whatever_the_crash_policy_a_continued_run_remembers(store: Store) {
    let counts = Counts::default();
    let named = |name: &str, policy| {
        let counts = counts.clone();
        Agent::builder(name).on_crash(policy).code(move |cx: RunContext| {
            let counts = counts.clone();
            async move {
                cx.step("look", || async { Ok(add(&counts.looked)) }).await?;
                for place in 0..3 {
                    cx.confirm("again", place).await?;
                }
                Ok(cx.attempt())
            }
        })
    };
    let policies = [("resume", CrashPolicy::Resume), ("restart", CrashPolicy::Restart), ("fail", CrashPolicy::Fail)];
    let mut builder = Runtime::builder().store(store);
    for (name, policy) in policies {
        builder = builder.agent(named(name, policy));
    }
    let runtime = builder.start().await.unwrap();
    for (place, (name, _)) in policies.into_iter().enumerate() {
        let run = runtime.submit(NewRun::new(name, 1)).await.unwrap();
        let mut asked = Vec::new();
        for _ in 0..3 {
            let output = soon(async {
                loop {
                    let output = run.output().await.unwrap();
                    if output.status == RunStatus::Paused && !asked.contains(&id(&output)) {
                        return output;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
            .await;
            asked.push(id(&output));
            run.continue_run([Decision::confirm(id(&output))]).await.unwrap();
        }
        assert_eq!(text(&settled(&run).await), "", "{name}");
        assert_eq!(settled(&run).await.content.unwrap().into_json(), json!(4), "{name}");
        assert_eq!(of(&counts.looked), place + 1, "{name}");
    }
}

#[tokio::test]
async fn a_run_is_continued_in_a_process_that_never_had_it_and_finished_in_another() {
    let database = fresh_database().await;
    let counts = Counts::default();
    let first = start(Store::postgres(database.url()), janitor(&counts)).await;
    let run = first.submit(NewRun::new("janitor", "clean up")).await.unwrap();
    let decision = Decision::confirm(id(&paused(&run).await));
    soon(first.shutdown(LONG)).await;

    // Knows no such agent, so it can do nothing but pass it on.
    let door = start(Store::postgres(database.url()), Agent::builder("other").code(|_| async { Ok(()) })).await;
    door.continue_run(run.run_id(), [decision]).await.unwrap();
    let output = door.wait(run.run_id(), Duration::from_millis(20)).await.unwrap();
    assert_eq!(output.status, RunStatus::Pending);
    let second = start(Store::postgres(database.url()), janitor(&counts)).await;
    let output = second.wait(run.run_id(), LONG).await.unwrap();
    assert_eq!((text(&output), of(&counts.looked)), ("deleted 1, by attempt 2", 1));
}
