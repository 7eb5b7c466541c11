//! Actors that die.

use super::{Bring, Kill, Scene, answer};
use crate::actors::manager::cancel::CancelAnswer;
use crate::actors::testing::only;
use crate::run::{FailureKind, RunStatus};
use crate::store::conformance::samples::{self, step};
use crate::store::protocol::{Change, Write};
use crate::store::{Claim, NodeId};

#[tokio::test]
async fn a_run_whose_actor_dies_settles_and_harms_no_other() {
    let scene = Scene::new().await;
    let (victim, other) = (scene.running("endless", 1).await, scene.running("gated", 2).await);

    scene.crew.manager.do_send(Kill(victim));

    let settled = scene.settled(victim).await.output;
    assert_eq!(settled.error.unwrap().kind, FailureKind::Internal);
    // Its code is gone, the other's is not.
    scene.tally.present(1).await;
    scene.tally.gate.send_replace(true);
    assert_eq!(scene.settled(other).await.output.status, RunStatus::Completed);
    let events = samples::events(scene.store.inner(), victim).await;
    assert!(events.iter().enumerate().all(|(place, event)| event.seq == place as u64), "{events:?}");
    assert!(events.last().unwrap().is_terminal());
}

#[tokio::test]
async fn a_write_that_a_dead_actor_left_on_its_way_is_taken_into_account() {
    for held in ["start", "append"] {
        let scene = Scene::new().await;
        scene.store.hold(only(held));
        let run_id = scene.run("endless").await;
        scene.store.has_come(run_id, held).await;

        scene.crew.manager.do_send(Kill(run_id));
        let cancelled = scene.cancel(run_id);
        scene.all_taken_in().await;
        scene.store.let_go();

        let settled = scene.settled(run_id).await.output;
        assert_eq!(settled.error.unwrap().kind, FailureKind::Internal, "{held}");
        assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::AlreadySettled(RunStatus::Error));
    }
}

#[tokio::test]
async fn the_end_of_a_run_whose_actor_died_while_it_was_written_stands() {
    let scene = Scene::new().await;
    scene.store.hold(only("settle"));
    let run_id = scene.run("instant").await;
    scene.store.has_come(run_id, "settle").await;

    scene.crew.manager.do_send(Kill(run_id));
    let cancelled = scene.cancel(run_id);
    scene.all_taken_in().await;
    scene.store.let_go();

    assert_eq!(scene.settled(run_id).await.output.status, RunStatus::Completed);
    assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::AlreadySettled(RunStatus::Completed));
}

#[tokio::test]
async fn a_dead_actor_is_buried_when_the_store_comes_back() {
    let scene = Scene::new().await;
    let run_id = scene.running("endless", 1).await;
    scene.store.has_come(run_id, "append").await;
    scene.store.fail_facts(3);

    scene.crew.manager.do_send(Kill(run_id));

    assert_eq!(scene.settled(run_id).await.output.error.unwrap().kind, FailureKind::Internal);
}

#[tokio::test]
async fn an_attempt_that_follows_a_dead_one_is_not_buried_with_it() {
    let scene = Scene::without_polls().await;
    let run_id = scene.running("gated", 1).await;
    let next = scene.taken_up_again(run_id).await;
    scene.crew.manager.do_send(Bring(next));

    scene.crew.manager.do_send(Kill(run_id));
    scene.tally.gate.send_replace(true);

    let run = scene.settled(run_id).await;
    assert_eq!((run.output.status, run.attempt), (RunStatus::Completed, 2));
}

#[tokio::test]
async fn a_dead_actor_s_run_that_another_node_has_is_left_alone() {
    let scene = Scene::without_polls().await;
    scene.store.hold(only("append"));
    let run_id = scene.run("endless").await;
    scene.store.has_come(run_id, "append").await;
    let store = scene.store.inner();
    let away = step(run_id, 1, 1, Change::HandBack);
    store.write(0, [Write::Advance(Box::new(away))].into()).await.unwrap();
    let claim = Claim { node: NodeId::new(), agents: vec!["endless".to_owned()], limited: Vec::new(), limit: 1 };
    assert_eq!(store.claim(claim).await.unwrap().len(), 1);

    scene.crew.manager.do_send(Kill(run_id));
    let cancelled = scene.cancel(run_id);
    scene.store.let_go();

    assert!(answer(cancelled).await.is_err(), "nothing is known of it here");
    let facts = samples::facts(scene.store.inner(), run_id).await;
    assert_eq!((facts.status, facts.attempt), (RunStatus::Pending, 2));
}
