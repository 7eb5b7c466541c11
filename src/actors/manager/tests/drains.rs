//! Shutdown.

use std::time::Duration;

use super::{Bring, LIMITS, LIMITS_WITHOUT_POLLS, Scene, answer};
#[cfg(feature = "webhooks")]
use crate::actors::courier::{WebhookOptions, post::Post};
use crate::actors::manager::ManagerLimits;
use crate::actors::manager::cancel::CancelAnswer;
use crate::actors::manager::drain::Drained;
use crate::actors::manager::submit::SubmitRefusal;
use crate::actors::testing::{only, run_of, soon};
use crate::run::{FailureKind, RunStatus};
use crate::store::conformance::samples::{self, id};

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn runs_that_end_before_the_deadline_settle_and_new_ones_are_refused() {
    let scene = Scene::new().await;
    let runs = [scene.running("gated", 1).await, scene.running("gated", 2).await];

    let drained = scene.drain(LONG);
    let refused = answer(scene.submit(&run_of("instant"))).await;
    assert!(matches!(refused, Err(SubmitRefusal::ShuttingDown)), "{refused:?}");
    scene.tally.gate.send_replace(true);

    assert_eq!(answer(drained).await, Drained { settled: 2, ..Drained::default() });
    for run_id in runs {
        assert_eq!(scene.status(run_id).await, RunStatus::Completed);
    }
    assert_eq!(answer(scene.drain(LONG)).await.settled, 2, "asking again gets the same answer");
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_handed_back_or_failed_as_its_agent_wants() {
    let scene = Scene::new().await;
    let (again, not_again) = (scene.running("endless", 1).await, scene.running("careful", 2).await);

    let drained = scene.drain(Duration::ZERO);

    assert_eq!(answer(drained).await, Drained { settled: 1, handed_back: 1, ..Drained::default() });
    let facts = samples::facts(scene.store.inner(), again).await;
    assert_eq!((facts.status, facts.starts, facts.node), (RunStatus::Pending, 0, None));
    assert_eq!(scene.settled(not_again).await.output.error.unwrap().kind, FailureKind::Shutdown);
}

#[tokio::test]
async fn a_cancel_while_a_run_is_handed_back_is_done_afterwards() {
    let scene = Scene::new().await;
    let run_id = scene.running("endless", 1).await;
    scene.store.hold(only("hand back"));

    let drained = scene.drain(Duration::ZERO);
    scene.store.has_come(run_id, "hand back").await;
    let cancelled = scene.cancel(run_id);
    scene.all_taken_in().await;
    scene.store.let_go();

    assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::Cancelled);
    assert_eq!(scene.status(run_id).await, RunStatus::Cancelled);
    assert_eq!(answer(drained).await.handed_back, 1);
}

#[tokio::test]
async fn a_run_that_is_being_inserted_is_accepted_and_handed_back() {
    let scene = Scene::without_polls().await;
    let run = run_of("careful");
    scene.store.hold(only("insert"));
    let submitted = scene.submit(&run);
    scene.store.has_come(id(&run), "insert").await;

    let drained = scene.drain(LONG);
    scene.all_taken_in().await;
    scene.store.let_go();

    assert_eq!(answer(submitted).await.unwrap().output.status, RunStatus::Pending);
    assert_eq!(answer(drained).await.handed_back, 1);
    assert_eq!(samples::facts(scene.store.inner(), id(&run)).await.node, None);
}

#[tokio::test]
async fn runs_that_a_claim_is_just_taking_up_are_handed_back() {
    // A look would find what the claim has brought before its answer does.
    let scene = Scene::with(ManagerLimits { max_running: 1, ..LIMITS_WITHOUT_POLLS }).await;
    let blocker = scene.running("endless", 1).await;
    let waiting = scene.run("endless").await;
    scene.store.hold_claims(true);
    let claims = scene.store.claim_count();
    answer(scene.cancel(blocker)).await.unwrap();
    scene.store.claims_have_come(claims + 1).await;

    let drained = scene.drain(LONG);
    scene.all_taken_in().await;
    scene.store.hold_claims(false);

    assert_eq!(answer(drained).await.handed_back, 1);
    let facts = samples::facts(scene.store.inner(), waiting).await;
    assert_eq!((facts.status, facts.node), (RunStatus::Pending, None));
}

#[tokio::test]
async fn a_submit_and_a_cancel_that_are_being_written_are_answered_before_the_end() {
    let scene = Scene::with_room_for(1).await;
    let blocker = scene.running("endless", 1).await;
    let (run, unknown) = (run_of("instant"), run_of("instant"));
    scene.store.hold_all();
    let submitted = scene.submit(&run);
    let intent = scene.cancel(id(&unknown));
    scene.store.has_come(id(&run), "insert").await;
    let drained = scene.drain(LONG);
    let cancelled = scene.cancel(blocker);
    scene.all_taken_in().await;
    scene.store.let_go();

    assert_eq!(answer(drained).await.settled, 1);
    // By now the answers are there, or the end of the threads would cut them off.
    assert!(matches!(submitted.await.unwrap(), Ok(run) if run.output.status == RunStatus::Pending));
    assert_eq!(intent.await.unwrap().unwrap(), CancelAnswer::IntentStored);
    assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::Cancelled);
}

#[tokio::test]
async fn what_a_shutdown_has_given_up_can_be_waited_for_once_more_and_cancelled() {
    for cancels in [false, true] {
        let scene = Scene::new().await;
        let run_id = scene.running("deaf", 1).await;
        let given_up = scene.drain_within(Duration::ZERO, Duration::ZERO);
        assert_eq!(answer(given_up).await, Drained { lost: 1, ..Drained::default() });

        let again = scene.drain(LONG);
        let cancelled = cancels.then(|| scene.cancel(run_id));
        assert_eq!(scene.all_taken_in().await, 1, "it is at work");
        scene.tally.gate.send_replace(true);

        // Its code was told to hand the run back before anybody wanted it cancelled.
        assert_eq!(answer(again).await.lost, 0);
        if let Some(cancelled) = cancelled {
            assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::Cancelled);
        }
        let status = if cancels { RunStatus::Cancelled } else { RunStatus::Pending };
        assert_eq!(scene.status(run_id).await, status);
    }
}

#[cfg(feature = "webhooks")]
#[tokio::test]
async fn a_name_look_up_of_a_webhook_that_hangs_holds_up_no_shutdown() {
    let options = WebhookOptions::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let post = Post::new(options).unwrap();
    let mut scene = Scene::made(LIMITS, |options| options.post = Some(post.into())).await;
    let (_hanging, at) = std::sync::mpsc::channel();
    scene.store.hang_a_look_up(at).await;

    soon(scene.crew.stop()).await;
}

#[tokio::test]
async fn a_run_with_two_attempts_here_is_counted_once() {
    let scene = Scene::without_polls().await;
    let run_id = scene.running("gated", 1).await;
    let next = scene.taken_up_again(run_id).await;
    scene.crew.manager.do_send(Bring(next));

    let drained = scene.drain(Duration::ZERO);

    assert_eq!(answer(drained).await, Drained { handed_back: 1, ..Drained::default() });
    let facts = samples::facts(scene.store.inner(), run_id).await;
    assert_eq!((facts.status, facts.attempt, facts.node), (RunStatus::Pending, 2, None));
}
