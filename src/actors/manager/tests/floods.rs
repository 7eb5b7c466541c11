//! More messages than anybody should send.

use super::{CountLive, Scene, answer};
use crate::actors::manager::cancel::CancelAnswer;
use crate::actors::run_actor::RunEnded;
use crate::actors::run_actor::ending::Ending;
use crate::run::{RunId, RunStatus};

#[tokio::test]
async fn a_hundred_thousand_cancels_of_one_run_hold_up_no_other() {
    let scene = Scene::new().await;
    let deaf = scene.running("deaf", 1).await;

    let cancels: Vec<_> = (0..100_000).map(|_| scene.cancel(deaf)).collect();
    let other = scene.run("instant").await;

    assert_eq!(scene.settled(other).await.output.status, RunStatus::Completed);
    assert_eq!(scene.status(deaf).await, RunStatus::Running);
    scene.tally.gate.send_replace(true);
    for cancelled in cancels {
        assert_eq!(answer(cancelled).await.unwrap(), CancelAnswer::Cancelled);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_does_not_end_lets_runs_complete() {
    let scene = Scene::new().await;
    let manager = scene.crew.manager.clone();
    let flood = tokio::spawn(async move {
        loop {
            for _ in 0..10_000 {
                manager.do_send(RunEnded { run_id: RunId::new(), ending: Some(Ending::HandedBack) });
            }
            // Or the mailbox would grow without end, and this is not about memory.
            manager.send(CountLive).await.unwrap();
        }
    });

    for _ in 0..20 {
        let run_id = scene.run("instant").await;
        assert_eq!(scene.settled(run_id).await.output.status, RunStatus::Completed);
    }

    assert!(!flood.is_finished());
    flood.abort();
}
