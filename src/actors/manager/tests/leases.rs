//! Leases that are lost.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{Bring, Kill, Scene, answer};
use crate::actors::lease::LeaseNews;
use crate::actors::manager::RunManager;
use crate::actors::manager::drain::Drained;
use crate::actors::testing::soon;
use crate::run::{RunId, RunStatus};
use crate::store::NodeId;
use crate::store::conformance::samples;

/// Whether the run has no actor any more and is being settled without it.
#[derive(Message)]
#[rtype(result = "bool")]
struct IsBuried(RunId);

impl Handler<IsBuried> for RunManager {
    type Result = bool;

    fn handle(&mut self, IsBuried(run_id): IsBuried, _: &mut Self::Context) -> bool {
        self.live.get(&run_id).is_some_and(|live| live.burial.is_some())
    }
}

impl Scene {
    /// The lease under which the run is live here is lost; answered when nothing of it runs any more.
    async fn lose_lease_of(&self, run_id: RunId) -> oneshot::Receiver<()> {
        let node = samples::facts(self.store.inner(), run_id).await.node.unwrap();
        let (stopped, all_stopped) = oneshot::channel();
        self.crew.manager.do_send(LeaseNews::Lost { node, stopped });
        all_stopped
    }

    /// A run whose actor has died, and that cannot be settled, since the store says nothing of it.
    async fn being_buried(&self) -> RunId {
        let run_id = self.running("endless", 1).await;
        self.store.has_come(run_id, "append").await;
        self.store.fail_facts(usize::MAX);
        self.crew.manager.do_send(Kill(run_id));
        while !soon(self.crew.manager.send(IsBuried(run_id))).await.unwrap() {
            tokio::task::yield_now().await;
        }
        run_id
    }
}

#[tokio::test]
async fn a_run_that_is_being_buried_when_the_lease_is_lost_is_left_to_others() {
    let scene = Scene::new().await;
    let run_id = scene.being_buried().await;
    let mut follower = scene.hub.follow(run_id);
    assert!(scene.hub.is_live(run_id));

    answer(scene.lose_lease_of(run_id).await).await;

    assert!(!scene.hub.is_live(run_id));
    assert!(soon(follower.next()).await.unwrap().is_empty(), "whoever follows it is to look at the store");
    // Nobody settles it here any more: burials are tried ten times as often as a node looks for runs of its own.
    scene.store.fail_facts(0);
    scene.crew.manager.do_send(LeaseNews::Begun { node: NodeId::new() });
    scene.store.looked().await;
    scene.store.looked().await;
    assert_eq!(scene.status(run_id).await, RunStatus::Running);
}

#[tokio::test]
async fn a_shutdown_counts_what_was_being_buried_when_the_lease_was_lost() {
    let scene = Scene::new().await;
    let run_id = scene.being_buried().await;
    let drained = scene.drain(std::time::Duration::from_secs(3600));

    answer(scene.lose_lease_of(run_id).await).await;

    assert_eq!(answer(drained).await, Drained { lost: 1, ..Drained::default() });
}

#[tokio::test]
async fn an_attempt_that_is_to_follow_is_lost_with_the_lease() {
    let scene = Scene::without_polls().await;
    let run_id = scene.running("gated", 1).await;
    let next = scene.taken_up_again(run_id).await;
    scene.crew.manager.do_send(Bring(next));

    answer(scene.lose_lease_of(run_id).await).await;

    assert_eq!((scene.all_taken_in().await, scene.hub.is_live(run_id)), (0, false));
    assert_eq!((scene.status(run_id).await, scene.tally.starts()), (RunStatus::Pending, 1));
}
