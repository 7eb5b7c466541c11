use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Watch;
use crate::actors::hub::{Batch, Follower, Hub};
use crate::actors::testing::{Gated, Looks, run_of, soon};
use crate::run::{RunEvent, RunId, RunStatus};
use crate::store::conformance::samples::{id, settle, step};
use crate::store::hints::Named;
use crate::store::protocol::{Change, Write};
use crate::store::{NodeId, StoreError};

const HOUR: Duration = Duration::from_secs(3600);

/// A run that lives elsewhere, and a watch.
struct Scene {
    store: Arc<Gated>,
    hub: Arc<Hub>,
    run_id: RunId,
    next_seq: u64,
}

impl Scene {
    async fn new(poll_interval: Duration) -> Self {
        let store = Gated::open().await;
        let hub = Arc::new(Hub::default());
        tokio::spawn(Watch::new(Arc::clone(&hub), store.clone(), poll_interval).live());
        let mut run = run_of("agent");
        run.node = Some(NodeId::new());
        let run_id = id(&run);
        store.inner().write(0, [Write::Insert(Box::new(run))].into()).await.unwrap();
        let mut scene = Self { store, hub, run_id, next_seq: 0 };
        scene.advance(Change::Start).await;
        scene
    }

    async fn advance(&mut self, change: Change) {
        let advance = step(self.run_id, 1, self.next_seq, change);
        let written = self.store.inner().write(0, [Write::Advance(Box::new(advance))].into()).await.unwrap();
        assert!(matches!(written[..], [crate::store::protocol::Written::Advance(Ok(()))]), "{written:?}");
        self.next_seq += 1;
    }

    fn follow(&self) -> Follower {
        self.hub.follow(self.run_id)
    }

    fn ask(&self) {
        self.hub.ask(&Named::These([self.run_id].into()));
    }
}

fn seqs(batch: &Batch) -> Vec<u64> {
    batch.iter().map(|event: &RunEvent| event.seq).collect()
}

#[tokio::test]
async fn a_thousand_followers_cost_what_one_costs() {
    let mut scene = Scene::new(HOUR).await;
    let mut followers: Vec<Follower> = (0..1000).map(|_| scene.follow()).collect();
    for turn in 0..5 {
        if turn > 0 {
            scene.advance(if turn < 4 { Change::Append } else { settle(RunStatus::Completed) }).await;
            scene.ask();
        }
        let told = soon(join_all(followers.iter_mut().map(|follower| follower.next_from(turn)))).await;
        assert!(told.into_iter().all(|batch| seqs(&batch.unwrap()) == [turn]));
        let looks = turn as usize + 1;
        assert_eq!(scene.store.looks(), Looks { marks: looks, tails: looks });
    }

    // A run that has ended is not looked at any more, and neither is one that nobody follows.
    let before = scene.store.looks();
    let other = RunId::new();
    let mut gone = scene.hub.follow(other);
    scene.hub.ask(&Named::Any);
    assert!(soon(gone.next()).await.unwrap().is_empty(), "it does not exist");
    assert_eq!(scene.store.looks(), Looks { marks: before.marks + 1, ..before });
    drop(followers);
    scene.hub.ask(&Named::Any);
    let mut gone = scene.hub.follow(RunId::new());
    scene.hub.ask(&Named::Any);
    soon(gone.next()).await.unwrap();
    assert_eq!(scene.store.looks(), Looks { marks: before.marks + 2, ..before });
}

#[tokio::test]
async fn without_hints_a_run_is_looked_at_in_each_poll_interval() {
    let mut scene = Scene::new(Duration::from_millis(20)).await;
    let mut follower = scene.follow();
    assert_eq!(seqs(&soon(follower.next_from(0)).await.unwrap()), [0]);
    scene.advance(Change::Append).await;
    scene.advance(settle(RunStatus::Completed)).await;
    let (mut seen, mut next) = (Vec::new(), 1);
    while next < 3 {
        seen.extend(seqs(&soon(follower.next_from(next)).await.unwrap()));
        next = seen.last().unwrap() + 1;
    }
    assert_eq!(seen, [1, 2]);
}

#[tokio::test]
async fn hints_that_never_end_keep_nobody_from_the_look_in_each_poll_interval() {
    let mut scene = Scene::new(Duration::from_millis(20)).await;
    let mut follower = scene.follow();
    assert_eq!(seqs(&soon(follower.next_from(0)).await.unwrap()), [0]);
    let (hub, other) = (Arc::clone(&scene.hub), RunId::new());
    let _followed = hub.follow(other);
    let asking = tokio::spawn(async move {
        loop {
            hub.ask(&Named::These([other].into()));
            tokio::task::yield_now().await;
        }
    });
    scene.advance(Change::Append).await;

    assert_eq!(seqs(&soon(follower.next_from(1)).await.unwrap()), [1]);

    asking.abort();
}

/// What was committed before it said from where it wants to be told may have been looked at for others, and not read.
#[tokio::test]
async fn whoever_begins_to_read_is_told_at_once_what_it_has_missed() {
    let mut scene = Scene::new(HOUR).await;
    let (mut waiter, mut reader) = (scene.follow(), scene.follow());
    scene.advance(Change::Append).await;
    scene.ask();
    // The look is over when the next one has told something.
    let mut gone = scene.hub.follow(RunId::new());
    scene.hub.ask(&Named::Any);
    soon(gone.next()).await.unwrap();
    assert_eq!(scene.store.looks().tails, 0, "nobody reads");

    assert_eq!(seqs(&soon(reader.next_from(1)).await.unwrap()), [1]);

    scene.advance(settle(RunStatus::Completed)).await;
    scene.ask();
    assert_eq!(seqs(&soon(waiter.next()).await.unwrap()), [1]);
    assert_eq!(seqs(&soon(waiter.next()).await.unwrap()), [2]);
}

#[tokio::test]
async fn those_who_only_wait_are_told_of_the_end_and_cost_no_reading() {
    let mut scene = Scene::new(HOUR).await;
    let mut waiter = scene.follow();
    for _ in 0..3 {
        scene.advance(Change::Append).await;
    }
    scene.advance(settle(RunStatus::Completed)).await;
    scene.ask();
    assert!(soon(waiter.next()).await.unwrap().is_empty());
    assert_eq!(scene.store.looks().tails, 0);
}

#[tokio::test]
async fn a_long_log_is_told_whole_and_in_order() {
    let mut scene = Scene::new(HOUR).await;
    for _ in 0..200 {
        scene.advance(Change::Append).await;
    }
    scene.advance(settle(RunStatus::Completed)).await;
    let mut follower = scene.follow();
    let mut seen = Vec::new();
    while seen.last() != Some(&201) {
        let next = seen.last().map_or(0, |last| last + 1);
        seen.extend(seqs(&soon(follower.next_from(next)).await.unwrap()));
    }
    assert_eq!(seen, (0..202).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_told_to_all_and_read_again_later() {
    let mut scene = Scene::new(HOUR).await;
    let (mut one, mut other) = (scene.follow(), scene.follow());
    scene.store.fail_marks(1);
    for follower in [&mut one, &mut other] {
        let told = soon(follower.next_from(0)).await;
        assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    }
    scene.advance(Change::Append).await;
    scene.ask();
    assert_eq!(seqs(&soon(one.next_from(0)).await.unwrap()), [0, 1]);
    assert_eq!(seqs(&soon(other.next_from(0)).await.unwrap()), [0, 1]);
}

#[tokio::test]
async fn a_run_that_is_live_here_is_not_looked_at() {
    let mut scene = Scene::new(HOUR).await;
    scene.hub.enter(scene.run_id);
    let mut follower = scene.follow();
    scene.advance(Change::Append).await;
    scene.ask();
    let mut gone = scene.hub.follow(RunId::new());
    scene.hub.ask(&Named::Any);
    soon(gone.next()).await.unwrap();
    assert_eq!(scene.store.looks(), Looks { marks: 1, tails: 0 });

    scene.hub.leave(scene.run_id);
    assert!(soon(follower.next_from(1)).await.unwrap().is_empty(), "it is to look itself");
    assert_eq!(seqs(&soon(follower.next_from(1)).await.unwrap()), [1]);
}

#[tokio::test]
async fn when_all_is_over_nobody_waits_for_ever() {
    let scene = Scene::new(HOUR).await;
    let mut follower = scene.follow();
    scene.hub.close();
    assert!(matches!(soon(follower.next()).await, Err(StoreError::Closed)));
    assert!(matches!(soon(scene.follow().next_from(0)).await, Err(StoreError::Closed)));
}
