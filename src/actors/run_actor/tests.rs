//! Through the actor's address, on SQLite in memory.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::ending::Ending;
use super::life::{Life, Surroundings};
use super::{Die, RunActor, RunEnded, Stop, StopSignal};
use crate::actors::hub::Hub;
use crate::actors::persister::{Persister, Retry, Writer};
use crate::actors::testing::{Gated, Tally, agents, only, run_of, soon};
use crate::agent::{Agent, AgentError, Childless, RunContext};
use crate::run::{Run, RunEventKind, RunId, RunStatus};
use crate::store::conformance::samples::{self, step};
use crate::store::protocol::{Change, InsertRun, Inserted, Write};
use crate::store::{Claim, NodeId, TakenRun};

mod children;
mod steps;

/// Threads of its own, as in a runtime: on the test's thread, code that is stopped at once would never begin.
static USER_CODE: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Stands in for the manager.
struct Listener(mpsc::UnboundedSender<RunEnded>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<RunEnded> for Listener {
    type Result = ();

    fn handle(&mut self, ended: RunEnded, _: &mut Self::Context) {
        self.0.send(ended).unwrap();
    }
}

/// A run that this node has just taken up, and whatever its actor needs.
struct Scene {
    store: Arc<Gated>,
    tally: Arc<Tally>,
    around: Arc<Surroundings>,
    run: Arc<Run>,
    actor: Option<Addr<RunActor>>,
    ended: mpsc::UnboundedReceiver<RunEnded>,
    listener: Addr<Listener>,
}

impl Scene {
    async fn of(agent: &str) -> Self {
        let store = Gated::open().await;
        let writer = Writer::new(Persister::new(store.clone(), Retry { limit: Duration::from_secs(60) }).start());
        let insert = InsertRun { node: Some(NodeId::new()), ..run_of(agent) };
        let far = tokio::time::Instant::now() + Duration::from_secs(3600);
        let Ok(Inserted::New { run, .. }) = writer.insert(insert, far).await else { panic!("the run is new") };
        let (sender, ended) = mpsc::unbounded_channel();
        let around = Surroundings {
            writer,
            store: store.clone(),
            hub: Arc::new(Hub::default()),
            user_code: USER_CODE.handle().clone(),
            cancel_grace: Duration::from_secs(60),
            max_output: 1024,
            retry: Retry { limit: Duration::from_secs(60) },
            cut_off: Arc::default(),
        };
        let listener = Listener(sender).start();
        Self { store, tally: Arc::default(), around: Arc::new(around), run, actor: None, ended, listener }
    }

    /// Gives the run its actor; what is already known to stop it comes first.
    fn play(&mut self, first: Option<Stop>) {
        let agent = agents(&self.tally).into_iter().find(|agent| agent.name() == self.run.output.agent).unwrap();
        self.play_as(agent, self.taken(), first);
    }

    /// The run as it was taken up with its submit.
    fn taken(&self) -> TakenRun {
        TakenRun { run: self.run.clone(), next_seq: 0, was_continued: false }
    }

    fn play_as(&mut self, agent: Agent, taken: TakenRun, first: Option<Stop>) {
        let stop = StopSignal::new(first);
        let life = Life::new(taken, Arc::new(agent), self.around.clone(), Arc::new(Childless), stop.clone());
        self.actor = Some(RunActor::new(life, stop, Arc::new(self.listener.clone().recipient())).start());
    }

    async fn of_playing(agent: &str, held: &'static str) -> Self {
        let mut scene = Self::of(agent).await;
        scene.store.hold(only(held));
        scene.play(None);
        scene.store.has_come(scene.id(), held).await;
        scene
    }

    fn id(&self) -> RunId {
        self.run.output.run_id
    }

    async fn tell(&self, stop: Stop) {
        // Answered after it was handled.
        self.actor.as_ref().unwrap().send(stop).await.unwrap();
    }

    async fn ending(&mut self) -> Option<Ending> {
        let ended = soon(self.ended.recv()).await.unwrap();
        assert_eq!(ended.run_id, self.id());
        ended.ending
    }

    async fn settles(&mut self, status: RunStatus) {
        let ending = self.ending().await;
        assert!(matches!(ending, Some(Ending::Settled(settled)) if settled == status), "{ending:?}");
    }

    async fn stored(&self) -> Run {
        samples::get(self.store.inner(), self.id()).await
    }

    /// The log without gaps, each event by its name.
    async fn log(&self) -> Vec<&'static str> {
        let events = samples::events(self.store.inner(), self.id()).await;
        assert!(events.iter().enumerate().all(|(place, event)| event.seq == place as u64), "{events:?}");
        let name = |kind: &RunEventKind| match kind {
            RunEventKind::RunStarted { .. } => "started",
            RunEventKind::RunRetrying { .. } => "retrying",
            RunEventKind::RunContent { .. } => "content",
            RunEventKind::RunCompleted { .. } => "completed",
            RunEventKind::RunCancelled { .. } => "cancelled",
            RunEventKind::RunError { .. } => "error",
            RunEventKind::RunPaused { .. } => "paused",
            RunEventKind::RunContinued {}
            | RunEventKind::ModelRequestStarted { .. }
            | RunEventKind::ModelRequestCompleted { .. }
            | RunEventKind::ToolCallStarted { .. }
            | RunEventKind::ToolCallCompleted { .. }
            | RunEventKind::ToolCallError { .. }
            | RunEventKind::ReasoningContentDelta { .. }
            | RunEventKind::CustomEvent { .. } => "unexpected",
        };
        events.iter().map(|event| name(&event.kind)).collect()
    }
}

#[actix::test]
async fn a_run_lives_from_start_to_end() {
    let mut scene = Scene::of("instant").await;

    scene.play(None);

    scene.settles(RunStatus::Completed).await;
    assert_eq!(scene.log().await, ["started", "completed"]);
    assert_eq!(scene.stored().await.output.content.unwrap().as_text(), Some("done"));
}

#[actix::test]
async fn a_cancel_while_the_start_is_written_starts_no_code() {
    let mut scene = Scene::of_playing("endless", "start").await;

    scene.tell(Stop::Cancel).await;
    scene.store.let_go();

    scene.settles(RunStatus::Cancelled).await;
    assert_eq!(scene.tally.starts(), 0);
    assert_eq!(scene.log().await, ["started", "cancelled"]);
}

#[actix::test]
async fn a_hand_back_while_the_start_is_written_starts_no_code_and_costs_no_start() {
    let mut scene = Scene::of_playing("careful", "start").await;

    scene.tell(Stop::HandBack).await;
    scene.store.let_go();

    assert!(matches!(scene.ending().await, Some(Ending::HandedBack)));
    assert_eq!(scene.tally.starts(), 0);
    let facts = samples::facts(scene.store.inner(), scene.id()).await;
    assert_eq!((facts.status, facts.starts, facts.node), (RunStatus::Pending, 0, None));
}

#[actix::test]
async fn a_cancel_while_an_event_is_written_keeps_what_was_said() {
    let mut scene = Scene::of_playing("endless", "append").await;

    scene.tell(Stop::Cancel).await;
    scene.store.let_go();

    scene.settles(RunStatus::Cancelled).await;
    assert_eq!(scene.log().await, ["started", "content", "cancelled"]);
    assert_eq!(scene.stored().await.output.content.unwrap().as_text(), Some("so far"));
}

#[actix::test]
async fn a_cancel_while_the_end_is_written_comes_too_late() {
    let mut scene = Scene::of_playing("instant", "settle").await;

    scene.tell(Stop::Cancel).await;
    scene.store.let_go();

    scene.settles(RunStatus::Completed).await;
    assert_eq!(scene.log().await, ["started", "completed"]);
}

#[actix::test]
async fn a_cancel_outranks_a_hand_back_whichever_comes_first() {
    for stops in [[Stop::Cancel, Stop::HandBack], [Stop::HandBack, Stop::Cancel]] {
        let mut scene = Scene::of_playing("endless", "start").await;

        for stop in stops {
            scene.tell(stop).await;
        }
        scene.store.let_go();

        scene.settles(RunStatus::Cancelled).await;
    }
}

#[actix::test]
async fn a_run_that_is_cancelled_before_it_starts_writes_nothing_but_its_end() {
    let mut scene = Scene::of("endless").await;

    scene.play(Some(Stop::Cancel));

    scene.settles(RunStatus::Cancelled).await;
    assert_eq!((scene.log().await, scene.tally.starts()), (vec!["cancelled"], 0));
}

#[actix::test]
async fn each_answer_that_is_lost_after_its_commit_changes_nothing() {
    let mut scene = Scene::of("instant").await;

    scene.store.hold(only("settle"));
    scene.store.lose_answers(1);
    scene.play(None);
    scene.store.has_come(scene.id(), "settle").await;
    scene.store.lose_answers(1);
    scene.store.let_go();

    scene.settles(RunStatus::Completed).await;
    assert_eq!((scene.log().await, scene.tally.starts()), (vec!["started", "completed"], 1));
}

#[actix::test]
async fn a_run_that_another_attempt_has_stops_its_code_and_writes_nothing() {
    let mut scene = Scene::of_playing("endless", "append").await;
    let store = scene.store.inner();
    let away = step(scene.id(), 1, 1, Change::HandBack);
    store.write(0, [Write::Advance(Box::new(away))].into()).await.unwrap();
    let claim = Claim { node: NodeId::new(), agents: vec!["endless".to_owned()], limited: Vec::new(), limit: 1 };
    assert_eq!(store.claim(claim).await.unwrap().len(), 1);

    scene.store.let_go();

    let ending = scene.ending().await;
    assert!(matches!(ending, Some(Ending::Fenced)), "{ending:?}");
    let facts = samples::facts(scene.store.inner(), scene.id()).await;
    assert_eq!((facts.status, facts.attempt, facts.next_seq), (RunStatus::Pending, 2, 2));
    // Its code is gone.
    scene.tally.present(0).await;
}

#[actix::test]
async fn code_that_fails_when_everything_is_cut_off_has_not_failed() {
    for panics in [false, true] {
        let mut scene = Scene::of("failing").await;
        scene.around.cut_off.store(true, Ordering::Release);
        let agent = Agent::builder("failing").code(move |_: RunContext| async move {
            assert!(!panics, "told nothing any more");
            Err::<(), _>(AgentError::new("told nothing any more"))
        });

        scene.play_as(agent.build().unwrap(), scene.taken(), None);

        let ending = scene.ending().await;
        assert!(matches!(ending, Some(Ending::Fenced)), "{ending:?}");
        assert_eq!((scene.stored().await.output.status, scene.log().await), (RunStatus::Running, vec!["started"]));
    }
}

#[actix::test]
async fn an_actor_that_dies_tells_so() {
    let mut scene = Scene::of_playing("endless", "append").await;

    scene.actor.as_ref().unwrap().do_send(Die);

    assert!(scene.ending().await.is_none());
}
