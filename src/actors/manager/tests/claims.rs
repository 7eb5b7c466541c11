//! Runs that wait, and answers that get lost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Bring, LIMITS, LIMITS_WITHOUT_POLLS, Scene, answer};
use crate::actors::manager::ManagerLimits;
use crate::actors::manager::claim::Seen;
use crate::actors::manager::hints::Hinted;
use crate::actors::manager::submit::{Room, SubmitRefusal};
use crate::actors::testing::run_of;
use crate::run::RunStatus;
use crate::store::conformance::samples::{self, id};
use crate::store::hints::Named;
use crate::store::protocol::InsertRun;

fn asked(agent: &str, input: &str, priority: i16) -> InsertRun {
    let mut insert = run_of(agent);
    insert.run.input = input.into();
    insert.run.priority = priority;
    insert
}

#[tokio::test]
async fn no_more_runs_are_live_than_there_is_room_for() {
    let scene = Scene::with_room_for(3).await;
    let runs: Vec<InsertRun> = (0..60).map(|_| run_of("instant")).collect();

    let submitted: Vec<_> = runs.iter().map(|run| scene.submit(run)).collect();

    for one in submitted {
        answer(one).await.unwrap();
    }
    for run in &runs {
        assert_eq!(scene.settled(id(run)).await.output.status, RunStatus::Completed);
    }
    assert_eq!(scene.tally.starts(), 60);
    assert!(scene.tally.most.load(Ordering::SeqCst) <= 3, "{:?}", scene.tally.most);
}

#[tokio::test]
async fn a_claim_under_way_has_the_room_that_it_asked_for() {
    // A look would find what the claim has brought before its answer does.
    let scene = Scene::with(ManagerLimits { max_running: 1, ..LIMITS_WITHOUT_POLLS }).await;
    let blocker = scene.running("endless", 1).await;
    let waiting = scene.run("gated").await;
    scene.store.hold_claims(true);
    let claims = scene.store.claim_count();
    answer(scene.cancel(blocker)).await.unwrap();
    scene.store.claims_have_come(claims + 1).await;

    let later = answer(scene.submit(&run_of("gated"))).await.unwrap().output.run_id;
    scene.store.hold_claims(false);
    scene.store.has_come(waiting, "start").await;

    assert_eq!(scene.all_taken_in().await, 1);
    scene.tally.gate.send_replace(true);
    for run_id in [waiting, later] {
        assert_eq!(scene.settled(run_id).await.output.status, RunStatus::Completed);
    }
    assert_eq!(scene.tally.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_most_urgent_and_then_the_oldest_run_starts_first() {
    let scene = Scene::with_room_for(1).await;
    let blocker = scene.running("endless", 1).await;
    let mut runs = Vec::new();
    for (input, priority) in [("low", -1), ("first", 0), ("second", 0), ("high", 5), ("third", 0)] {
        runs.push(answer(scene.submit(&asked("instant", input, priority))).await.unwrap().output.run_id);
    }

    answer(scene.cancel(blocker)).await.unwrap();

    for run_id in runs {
        scene.settled(run_id).await;
    }
    assert_eq!(scene.tally.inputs.lock().unwrap()[1..], ["high", "first", "second", "third", "low"]);
}

#[tokio::test]
async fn no_more_runs_wait_than_may_wait() {
    // Without polls: a count that is under way while the runs come would not have seen them.
    let never = Duration::from_secs(3600);
    let scene = Scene::with(ManagerLimits { max_running: 1, max_waiting: 3, poll_interval: never, ..LIMITS }).await;
    scene.running("endless", 1).await;
    scene.store.hold_all();

    let submitted: Vec<_> = (0..10).map(|_| scene.submit(&run_of("instant"))).collect();
    scene.all_taken_in().await;
    scene.store.let_go();

    let mut accepted = 0;
    for one in submitted {
        match answer(one).await {
            Ok(_) => accepted += 1,
            Err(refusal) => assert!(matches!(refusal, SubmitRefusal::Full(3, _)), "{refusal:?}"),
        }
    }
    assert_eq!(accepted, 3);
    let late = answer(scene.submit(&run_of("instant"))).await;
    assert!(matches!(late, Err(SubmitRefusal::Full(3, _))), "{late:?}");
}

#[tokio::test]
async fn where_nothing_may_wait_a_claim_under_way_refuses_nothing_that_there_is_room_for() {
    let never = Duration::from_secs(3600);
    let limits = ManagerLimits { max_running: 2, max_waiting: 0, poll_interval: never, ..LIMITS };
    let scene = Scene::with(limits).await;
    let claims = scene.store.claim_count();
    scene.store.hold_claims(true);
    scene.crew.manager.do_send(Hinted { work: true, cancels: Named::default() });
    scene.store.claims_have_come(claims + 1).await;

    let runs = [run_of("instant"), run_of("instant"), run_of("instant")];
    let [first, second, third] = runs.each_ref().map(|run| scene.submit(run));
    for accepted in [first, second] {
        assert_eq!(answer(accepted).await.unwrap().output.status, RunStatus::Pending);
    }
    let refused = answer(third).await;
    assert!(matches!(refused, Err(SubmitRefusal::Full(0, _))), "{refused:?}");
    scene.store.hold_claims(false);

    for run in &runs[..2] {
        assert_eq!(scene.settled(id(run)).await.output.status, RunStatus::Completed);
    }
}

#[tokio::test]
async fn children_that_wait_are_counted_past_the_number_that_others_may_wait_in() {
    let scene = Scene::with(ManagerLimits { max_running: 1, max_waiting: 1, ..LIMITS }).await;
    scene.running("endless", 1).await;
    let child = || scene.submit_to(Room::OfChildren, &run_of("instant"), scene.call_timeout);
    for _ in 0..2 {
        answer(child()).await.unwrap();
    }
    // By the second look, the count that followed upon the first has been taken in.
    scene.store.looked().await;
    scene.store.looked().await;

    let refused = answer(child()).await;

    assert!(matches!(refused, Err(SubmitRefusal::Full(2, _))), "{refused:?}");
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_found_again_and_started_once() {
    let scene = Scene::with_room_for(1).await;
    let blocker = scene.running("endless", 1).await;
    let waiting = scene.run("instant").await;
    scene.store.lose_claim_answers(1);

    answer(scene.cancel(blocker)).await.unwrap();

    assert_eq!(scene.settled(waiting).await.output.status, RunStatus::Completed);
    let facts = samples::facts(scene.store.inner(), waiting).await;
    assert_eq!((facts.attempt, facts.starts, scene.tally.starts()), (1, 1, 2));
}

/// The connection broke while the claim was on its way: it is done after the node has looked for what it has brought.
#[tokio::test]
async fn a_claim_that_arrives_after_it_was_given_up_is_found_again() {
    let scene = Scene::with_room_for(1).await;
    let blocker = scene.running("endless", 1).await;
    let waiting = scene.run("instant").await;
    let claims = scene.store.claim_count();
    scene.store.delay_claims(1);
    answer(scene.cancel(blocker)).await.unwrap();
    scene.store.claims_have_come(claims + 1).await;
    scene.store.looked().await;

    assert_eq!(scene.store.late_claims_arrive().await, 1);

    assert_eq!(scene.settled(waiting).await.output.status, RunStatus::Completed);
    assert_eq!(scene.tally.starts(), 2);
}

#[tokio::test]
async fn an_insert_whose_answer_is_lost_is_found_again_and_started_once() {
    let scene = Scene::new().await;
    let run = run_of("instant");
    scene.store.lose_answers(usize::MAX);
    let submitted = scene.submit_within(&run, Duration::from_secs(4));
    scene.store.has_come(id(&run), "insert").await;

    assert!(answer(submitted).await.is_err());
    scene.store.lose_answers(0);
    assert_eq!(scene.settled(id(&run)).await.output.status, RunStatus::Completed);
    assert_eq!(scene.tally.starts(), 1);
}

#[tokio::test]
async fn a_slow_answer_to_a_claim_that_was_found_meanwhile_starts_nothing_again() {
    let scene = Scene::with_room_for(2).await;
    let first = scene.running("endless", 1).await;
    let second = scene.running("endless", 2).await;
    let waiting = scene.run("gated").await;
    scene.store.hold_claims(true);
    let claims = scene.store.claim_count();
    answer(scene.cancel(first)).await.unwrap();
    scene.store.claims_have_come(claims + 1).await;

    // An insert that is not heard of in time makes the manager look for what it may have missed.
    assert!(answer(scene.submit_within(&run_of("instant"), Duration::ZERO)).await.is_err());
    scene.store.has_come(waiting, "start").await;
    scene.tally.present(2).await;
    scene.store.hold_claims(false);
    // The next claim comes when the answer to the last one has been taken in.
    answer(scene.cancel(second)).await.unwrap();
    scene.store.claims_have_come(claims + 2).await;
    scene.tally.gate.send_replace(true);

    assert_eq!(scene.settled(waiting).await.output.status, RunStatus::Completed);
    assert_eq!(scene.tally.starts(), 3, "its code was started once");
}

#[tokio::test]
async fn an_attempt_that_comes_before_the_last_one_is_heard_to_be_gone_follows_it() {
    let scene = Scene::without_polls().await;
    let run_id = scene.running("gated", 1).await;
    let next = scene.taken_up_again(run_id).await;

    scene.crew.manager.do_send(Bring(next));
    assert_eq!((scene.all_taken_in().await, scene.tally.starts()), (1, 1), "the last one is still at work");
    scene.tally.gate.send_replace(true);

    let run = scene.settled(run_id).await;
    assert_eq!((run.output.status, run.attempt, scene.tally.starts()), (RunStatus::Completed, 2, 2));
}

#[tokio::test]
async fn runs_that_waited_for_people_are_not_counted_off_those_that_wait() {
    let scene = Scene::with(ManagerLimits { max_running: 1, ..LIMITS_WITHOUT_POLLS }).await;
    let (cancelled, expired) = (scene.paused().await, scene.paused().await);
    scene.running("endless", 1).await;
    let waiting = scene.run("instant").await;

    answer(scene.cancel(cancelled)).await.unwrap();
    scene.crew.manager.do_send(Seen::Overdue(vec![(expired, RunStatus::Paused)]));
    assert_eq!(scene.waiting().await, 1);

    scene.crew.manager.do_send(Seen::Overdue(vec![(waiting, RunStatus::Pending)]));
    assert_eq!(scene.waiting().await, 0);
}

#[tokio::test]
async fn a_store_that_is_slow_is_looked_at_once_at_a_time() {
    let scene = Scene::with(ManagerLimits { poll_interval: Duration::from_millis(10), ..LIMITS }).await;
    scene.store.hold_looks(true);
    scene.store.looked().await;
    let looks = scene.store.own_looks();

    scene.store.claims_have_come(scene.store.claim_count() + 50).await;

    assert_eq!(scene.store.own_looks(), looks);
    scene.store.hold_looks(false);
    scene.store.looked().await;
}
