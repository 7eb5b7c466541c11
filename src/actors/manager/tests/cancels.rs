//! A cancel, wherever the run is in its life.

use std::time::Duration;

use super::{LIMITS, LIMITS_WITHOUT_POLLS, Scene, answer};
use crate::actors::manager::ManagerLimits;
use crate::actors::manager::cancel::CancelAnswer;
use crate::actors::testing::{only, run_of};
use crate::run::{RunId, RunStatus};
use crate::store::conformance::samples::id;
use crate::store::protocol::InsertRun;

#[tokio::test]
async fn a_cancel_while_the_insert_is_in_flight_starts_nothing() {
    let scene = Scene::new().await;
    let run = run_of("endless");
    scene.store.hold_all();

    let submitted = scene.submit(&run);
    scene.store.has_come(id(&run), "insert").await;
    let cancelled = scene.cancel(id(&run));
    scene.all_taken_in().await;
    scene.store.let_go();

    assert_eq!(answer(submitted).await.unwrap().output.status, RunStatus::Pending);
    assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::Cancelled);
    assert_eq!((scene.status(id(&run)).await, scene.tally.starts()), (RunStatus::Cancelled, 0));
}

#[tokio::test]
async fn a_cancel_of_an_insert_that_is_not_done_in_time_becomes_an_intent() {
    let scene = Scene::new().await;
    let run = run_of("endless");
    scene.store.hold_all();
    let block = scene.submit(&run_of("instant"));
    scene.all_taken_in().await;

    let submitted = scene.submit_within(&run, Duration::ZERO);
    let cancelled = scene.cancel(id(&run));
    scene.all_taken_in().await;
    scene.store.let_go();

    let first = answer(block).await.unwrap().output.run_id;
    assert_eq!(scene.settled(first).await.output.status, RunStatus::Completed);
    assert!(answer(submitted).await.is_err());
    assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::IntentStored);
    let again = answer(scene.submit(&run)).await.unwrap();
    assert_eq!(again.output.status, RunStatus::Pending);
    assert_eq!(scene.settled(id(&run)).await.output.status, RunStatus::Cancelled);
    assert_eq!(scene.tally.inputs.lock().unwrap().len(), 1, "only the code of the first run was started");
}

#[tokio::test]
async fn a_cancel_during_the_start_wins_and_during_the_end_loses() {
    let scene = Scene::new().await;
    for (agent, held, outcome) in [
        ("endless", "start", CancelAnswer::Cancelled),
        ("endless", "append", CancelAnswer::Cancelled),
        ("instant", "settle", CancelAnswer::AlreadySettled(RunStatus::Completed)),
    ] {
        scene.store.hold(only(held));
        let run_id = scene.run(agent).await;
        scene.store.has_come(run_id, held).await;
        let cancels = [scene.cancel(run_id), scene.cancel(run_id)];
        scene.all_taken_in().await;
        scene.store.let_go();

        for cancelled in cancels {
            assert_eq!(answer(cancelled).await.unwrap(), outcome, "{held}");
        }
        let settled = answer(scene.cancel(run_id)).await.unwrap();
        assert_eq!(settled, CancelAnswer::AlreadySettled(scene.status(run_id).await));
    }
}

#[tokio::test]
async fn a_cancel_that_nobody_waits_for_is_done_all_the_same() {
    let scene = Scene::new().await;
    let run_id = scene.running("endless", 1).await;

    drop(scene.cancel(run_id));

    assert_eq!(scene.settled(run_id).await.output.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_cancel_while_a_claim_takes_the_run_up_is_kept_for_it() {
    // A look would find what the claim has brought before its answer does.
    let scene = Scene::with(ManagerLimits { max_running: 1, ..LIMITS_WITHOUT_POLLS }).await;
    let blocker = scene.running("endless", 1).await;
    let waiting = scene.run("endless").await;
    scene.store.hold_claims(true);
    let claims = scene.store.claim_count();
    answer(scene.cancel(blocker)).await.unwrap();
    scene.store.claims_have_come(claims + 1).await;

    let cancelled = scene.cancel(waiting);
    scene.store.has_come(waiting, "cancel").await;
    scene.all_taken_in().await;
    scene.store.hold_claims(false);

    assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::Cancelled);
    assert_eq!((scene.status(waiting).await, scene.tally.starts()), (RunStatus::Cancelled, 1));
}

#[tokio::test]
async fn a_run_that_waits_is_cancelled_where_it_is() {
    let scene = Scene::with_room_for(1).await;
    scene.running("endless", 1).await;
    let waiting = scene.run("endless").await;

    assert_eq!(answer(scene.cancel(waiting)).await.unwrap(), CancelAnswer::Cancelled);
    assert_eq!(scene.status(waiting).await, RunStatus::Cancelled);
}

#[tokio::test]
async fn an_acknowledged_intent_keeps_the_code_from_starting_also_when_there_is_no_room() {
    for room in [true, false] {
        let scene = Scene::with(ManagerLimits { max_running: 1, ..LIMITS }).await;
        if !room {
            scene.running("endless", 1).await;
        }
        let run = run_of("instant");
        assert_eq!(answer(scene.cancel(id(&run))).await.unwrap(), CancelAnswer::IntentStored);
        let submitted = answer(scene.submit(&run)).await.unwrap();
        assert_eq!(submitted.output.status, RunStatus::Pending);
        assert_eq!(scene.settled(id(&run)).await.output.status, RunStatus::Cancelled);
        assert_eq!(scene.tally.starts(), usize::from(!room));
    }
}

#[tokio::test]
async fn a_cancel_when_the_store_is_away_is_answered_in_time() {
    let scene = Scene::with(ManagerLimits { call_timeout: Duration::from_millis(20), ..LIMITS }).await;
    scene.store.fail_writes(usize::MAX);

    let refused = answer(scene.cancel(RunId::new())).await.unwrap_err();

    assert!(refused.is_retryable(), "{refused}");
}

#[tokio::test]
async fn a_cancel_on_behalf_of_a_user_meets_runs_of_that_user_only() {
    let scene = Scene::with_room_for(1).await;
    let (anns, bobs) = (of_user("ann"), of_user("bob"));
    scene.store.hold(only("insert"));
    // Live and not yet durable, live and at work, and waiting for room.
    let submitted = scene.submit(&anns);
    scene.store.has_come(id(&anns), "insert").await;
    let stranger = scene.cancel_for(Some("bob"), id(&anns));
    scene.store.let_go();
    answer(submitted).await.unwrap();
    assert_eq!(answer(stranger).await.unwrap(), CancelAnswer::IntentStored);
    scene.tally.present(1).await;
    answer(scene.submit(&bobs)).await.unwrap();

    for (user_id, run_id) in [("bob", id(&anns)), ("ann", id(&bobs)), ("bob", id(&anns))] {
        assert_eq!(answer(scene.cancel_for(Some(user_id), run_id)).await.unwrap(), CancelAnswer::IntentStored);
    }
    assert_eq!(scene.status(id(&anns)).await, RunStatus::Running);
    assert_eq!(scene.status(id(&bobs)).await, RunStatus::Pending);
    for (user_id, run_id) in [("bob", id(&bobs)), ("ann", id(&anns))] {
        assert_eq!(answer(scene.cancel_for(Some(user_id), run_id)).await.unwrap(), CancelAnswer::Cancelled);
    }
    assert_eq!(scene.tally.starts(), 1, "only ann's");
}

#[cfg(feature = "web")]
#[tokio::test]
async fn a_run_whose_reader_has_gone_is_cancelled_unless_a_shutdown_begins() {
    let scene = Scene::new().await;
    let deserted = scene.running("endless", 1).await;
    scene.desert(deserted);
    assert_eq!(scene.settled(deserted).await.output.status, RunStatus::Cancelled);

    let cut_off = scene.running("endless", 1).await;
    scene.desert(cut_off);
    let drained = answer(scene.drain(Duration::from_millis(1500))).await;

    assert_eq!((drained.handed_back, scene.status(cut_off).await), (1, RunStatus::Pending));
}

fn of_user(user_id: &str) -> InsertRun {
    let mut run = run_of("endless");
    run.run.output.user_id = Some(user_id.into());
    run
}
