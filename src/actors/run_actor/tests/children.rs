//! Runs that wait for a child.

use futures_util::FutureExt;

use super::*;
use crate::actors::children::{Children, ToManager, Waits};
use crate::actors::manager::ManagerLimits;
use crate::actors::manager::submit::SubmitRun;
use crate::agent::Offspring;
use crate::store::conformance::samples::id;

/// Stands in for the manager of a parent.
struct Counter(mpsc::UnboundedSender<bool>);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Waits> for Counter {
    type Result = ();

    fn handle(&mut self, waits: Waits, _: &mut Self::Context) {
        self.0.send(waits.begins).unwrap();
    }
}

impl Handler<SubmitRun> for Counter {
    type Result = ();

    fn handle(&mut self, _: SubmitRun, _: &mut Self::Context) {}
}

const LIMITS: ManagerLimits = ManagerLimits {
    max_running: 1,
    max_waiting: 1,
    poll_interval: Duration::from_secs(1),
    call_timeout: Duration::from_secs(1),
    max_input: 1024,
    #[cfg(feature = "webhooks")]
    tells_webhooks: false,
};

#[actix::test]
async fn a_parent_that_waits_when_the_runtime_ends_is_told_nothing() {
    let scene = Scene::of("endless").await;
    let mut child = run_of("endless");
    child.run.output.parent_run_id = Some(scene.id());
    scene.store.inner().write(0, [Write::Insert(Box::new(child.clone()))].into()).await.unwrap();
    let (sender, mut waits) = mpsc::unbounded_channel();
    let manager = Counter(sender).start();
    let manager = ToManager { submits: manager.clone().recipient(), waits: manager.recipient() };
    let around = scene.around.clone();
    let parent = Children::new(scene.run.clone(), Arc::default(), around, LIMITS, Arc::new(manager));
    let mut settled = Arc::new(parent).settled(id(&child));
    tokio::select! {
        answer = &mut settled => panic!("the child has not settled: {answer:?}"),
        begins = soon(waits.recv()) => assert_eq!(begins, Some(true)),
    }

    scene.around.hub.close();

    assert!((&mut settled).now_or_never().is_none());
}
