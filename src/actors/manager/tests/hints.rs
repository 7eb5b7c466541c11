//! Hints, given and taken.

use std::time::Duration;

use super::{LIMITS_WITHOUT_POLLS, Scene, answer};
use crate::actors::manager::ManagerLimits;
use crate::actors::manager::cancel::CancelAnswer;
use crate::actors::manager::hints::Hinted;
use crate::actors::testing::{run_of, soon};
use crate::run::RunStatus;
use crate::store::NodeId;
use crate::store::conformance::samples::{self, id};
use crate::store::hints::{Hint, Named};
use crate::store::protocol::Write;

async fn hint(scene: &Scene, hinted: Hinted) {
    soon(scene.crew.manager.send(hinted)).await.unwrap();
}

fn work() -> Hinted {
    Hinted { work: true, cancels: Named::default() }
}

#[tokio::test]
async fn a_hint_of_work_is_a_reason_to_claim() {
    let scene = Scene::without_polls().await;
    let run = run_of("instant");
    scene.store.inner().write(0, [Write::Insert(Box::new(run.clone()))].into()).await.unwrap();

    hint(&scene, work()).await;

    assert_eq!(scene.settled(id(&run)).await.output.status, RunStatus::Completed);
}

#[tokio::test]
async fn many_hints_of_work_are_one_claim_and_a_node_without_room_makes_none() {
    let scene = Scene::with(ManagerLimits { max_running: 1, ..LIMITS_WITHOUT_POLLS }).await;
    let before = scene.store.claim_count();
    for _ in 0..50 {
        scene.crew.manager.do_send(work());
    }
    scene.all_taken_in().await;
    scene.store.claims_have_come(before + 1).await;
    assert!(scene.store.claim_count() <= before + 5, "{} claims", scene.store.claim_count() - before);

    let busy = scene.running("endless", 1).await;
    let waits = run_of("instant");
    scene.store.inner().write(0, [Write::Insert(Box::new(waits.clone()))].into()).await.unwrap();
    hint(&scene, work()).await;
    scene.all_taken_in().await;
    assert_eq!(scene.status(id(&waits)).await, RunStatus::Pending);

    // The place that becomes free is for what was hinted at.
    answer(scene.cancel(busy)).await.unwrap();
    assert_eq!(scene.settled(id(&waits)).await.output.status, RunStatus::Completed);
}

#[tokio::test]
async fn a_hint_of_a_cancel_is_looked_up_by_the_node_that_it_names() {
    let scene = Scene::without_polls().await;
    let run_id = scene.running("endless", 1).await;
    // As another process does it.
    scene.store.inner().write(0, [Write::Cancel(run_id.into())].into()).await.unwrap();

    hint(&scene, Hinted { work: false, cancels: Named::These([NodeId::new()].into()) }).await;
    scene.all_taken_in().await;
    assert_eq!(scene.status(run_id).await, RunStatus::Running);

    let node = samples::facts(scene.store.inner(), run_id).await.node.unwrap();
    hint(&scene, Hinted { work: false, cancels: Named::These([node].into()) }).await;
    assert_eq!(scene.settled(run_id).await.output.status, RunStatus::Cancelled);
}

#[tokio::test]
async fn a_forged_hint_of_a_cancel_does_nothing() {
    let scene = Scene::without_polls().await;
    let run_id = scene.running("endless", 1).await;

    hint(&scene, Hinted { work: true, cancels: Named::Any }).await;

    scene.all_taken_in().await;
    assert_eq!(scene.status(run_id).await, RunStatus::Running);
    answer(scene.cancel(run_id)).await.unwrap();
}

#[tokio::test]
async fn others_are_told_of_what_finds_no_room_here_and_of_cancels_of_their_runs() {
    let scene = Scene::with(ManagerLimits { max_running: 1, ..LIMITS_WITHOUT_POLLS }).await;
    let busy = scene.running("endless", 1).await;
    let hints = scene.store.take_hints();
    assert!(hints.is_empty(), "it was taken up here at once: {hints:?}");

    scene.run("instant").await;
    assert_eq!(scene.store.take_hints(), [Hint::Work]);

    let mut foreign = run_of("instant");
    let node = NodeId::new();
    foreign.node = Some(node);
    scene.store.inner().write(0, [Write::Insert(Box::new(foreign.clone()))].into()).await.unwrap();
    assert_eq!(answer(scene.cancel(id(&foreign))).await.unwrap(), CancelAnswer::Requested);
    assert_eq!(scene.store.take_hints(), [Hint::Cancel(node)]);

    answer(scene.cancel(busy)).await.unwrap();
}

#[tokio::test]
async fn what_is_handed_back_is_offered() {
    let scene = Scene::without_polls().await;
    scene.running("endless", 1).await;
    let drained = scene.drain(Duration::ZERO);
    assert_eq!(answer(drained).await.handed_back, 1);
    assert_eq!(scene.store.take_hints(), [Hint::Work]);
}
