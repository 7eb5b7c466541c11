//! Through the actor's address, on SQLite in memory.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::cancel::{CancelAnswer, CancelReply, CancelRun};
use super::drain::{Drain, Drained};
use super::submit::{Room, SubmitRefusal, SubmitRun};
use super::{Admission, ManagerLimits, Reply, RunManager};
use crate::actors::crew::{ActorOptions, Crew, CrewOptions, Retry, UserCode};
use crate::actors::hub::Hub;
use crate::actors::lease::LeaseHandle;
use crate::actors::run_actor::Die;
use crate::actors::testing::{Gated, Tally, agents, run_of, soon};
use crate::run::{Run, RunId, RunStatus, UserId};
use crate::store::conformance::samples;
use crate::store::protocol::{Advance, Change, InsertRun};
use crate::store::{Claim, RunStore, StoreResult, TakenRun};

mod cancels;
mod claims;
mod deaths;
mod drains;
mod floods;
mod hints;
mod leases;

/// How many runs are live here.
#[derive(Message)]
#[rtype(result = "usize")]
struct CountLive;

impl Handler<CountLive> for RunManager {
    type Result = usize;

    fn handle(&mut self, _: CountLive, _: &mut Self::Context) -> usize {
        self.live.len()
    }
}

/// Whether a claim is under way.
#[derive(Message)]
#[rtype(result = "bool")]
struct IsClaiming;

impl Handler<IsClaiming> for RunManager {
    type Result = bool;

    fn handle(&mut self, _: IsClaiming, _: &mut Self::Context) -> bool {
        self.claiming > 0
    }
}

/// How many runs wait, as far as the manager knows.
#[derive(Message)]
#[rtype(result = "usize")]
struct CountWaiting;

impl Handler<CountWaiting> for RunManager {
    type Result = usize;

    fn handle(&mut self, _: CountWaiting, _: &mut Self::Context) -> usize {
        self.waiting
    }
}

/// Brings a run that was taken up.
#[derive(Message)]
#[rtype(result = "()")]
struct Bring(TakenRun);

impl Handler<Bring> for RunManager {
    type Result = ();

    fn handle(&mut self, Bring(taken): Bring, ctx: &mut Self::Context) {
        self.enliven(taken, ctx);
    }
}

/// Kills the actor of a run.
#[derive(Message)]
#[rtype(result = "()")]
struct Kill(RunId);

impl Handler<Kill> for RunManager {
    type Result = ();

    fn handle(&mut self, Kill(run_id): Kill, _: &mut Self::Context) {
        self.live[&run_id].actor.as_ref().unwrap().do_send(Die);
    }
}

/// A manager at work, with all that belongs to it.
struct Scene {
    store: Arc<Gated>,
    hub: Arc<Hub>,
    tally: Arc<Tally>,
    crew: Crew,
    admissions: Arc<Semaphore>,
    call_timeout: Duration,
}

type Submitted = oneshot::Receiver<Result<Arc<Run>, SubmitRefusal>>;
type Answered = oneshot::Receiver<StoreResult<CancelAnswer>>;

const LIMITS: ManagerLimits = ManagerLimits {
    max_running: 10,
    max_waiting: 1000,
    // Longer than a look at the store takes on a slow machine: else there are more and more of them under way.
    poll_interval: Duration::from_millis(100),
    call_timeout: Duration::from_secs(30),
    max_input: 1024,
    #[cfg(feature = "webhooks")]
    tells_webhooks: false,
};

const LIMITS_WITHOUT_POLLS: ManagerLimits = ManagerLimits { poll_interval: Duration::from_secs(3600), ..LIMITS };

impl Scene {
    async fn new() -> Self {
        Self::with(LIMITS).await
    }

    /// Nothing happens here that nobody has asked for.
    async fn without_polls() -> Self {
        Self::with(LIMITS_WITHOUT_POLLS).await
    }

    async fn with_room_for(max_running: usize) -> Self {
        Self::with(ManagerLimits { max_running, ..LIMITS }).await
    }

    async fn with(limits: ManagerLimits) -> Self {
        Self::made(limits, |_| {}).await
    }

    async fn made(limits: ManagerLimits, change: impl FnOnce(&mut ActorOptions)) -> Self {
        let store = Gated::open().await;
        let hub = Arc::new(Hub::default());
        let tally: Arc<Tally> = Arc::default();
        let lease = LeaseHandle::begin(store.clone(), Duration::from_secs(3600)).await.unwrap().unwrap();
        let mut actors = ActorOptions {
            agents: Arc::new(
                agents(&tally).into_iter().map(|agent| (Arc::clone(&agent.name), Arc::new(agent))).collect(),
            ),
            store: store.clone(),
            hub: Arc::clone(&hub),
            retry: Retry { limit: Duration::from_secs(60) },
            manager: limits,
            cancel_grace: Duration::from_secs(60),
            max_output: 1024,
            retention: None,
            #[cfg(feature = "webhooks")]
            post: None,
            #[cfg(feature = "webhooks")]
            recall: Default::default(),
            arbiters: 2,
            user_code: UserCode::Threads(2),
        };
        change(&mut actors);
        let crew = Crew::start(CrewOptions { lease, actors }).await.unwrap();
        let scene = Self {
            store,
            hub,
            tally,
            crew,
            admissions: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            call_timeout: limits.call_timeout,
        };
        // Until its first claim is answered, a manager takes up nothing directly.
        scene.store.claims_have_come(1).await;
        while soon(scene.crew.manager.send(IsClaiming)).await.unwrap() {
            tokio::task::yield_now().await;
        }
        scene
    }

    fn reply<T>(&self) -> (Reply<T>, oneshot::Receiver<T>) {
        let (to, answer) = oneshot::channel();
        let permit = || Arc::clone(&self.admissions).try_acquire_owned().unwrap();
        let admission = Some(Admission { _call: permit(), _input: permit() });
        (Reply { to, admission }, answer)
    }

    fn submit(&self, insert: &InsertRun) -> Submitted {
        self.submit_within(insert, self.call_timeout)
    }

    fn submit_within(&self, insert: &InsertRun, timeout: Duration) -> Submitted {
        self.submit_to(Room::Needed, insert, timeout)
    }

    fn submit_to(&self, room: Room, insert: &InsertRun, timeout: Duration) -> Submitted {
        let (reply, answer) = self.reply();
        let deadline = Instant::now() + timeout;
        self.crew.manager.do_send(SubmitRun { insert: insert.clone(), room, deadline, reply });
        answer
    }

    /// Submits a run of this agent, which is accepted.
    async fn run(&self, agent: &str) -> RunId {
        let run = soon(self.submit(&run_of(agent))).await.unwrap().unwrap();
        assert_eq!(run.output.status, RunStatus::Pending);
        run.output.run_id
    }

    /// The same; returns when its code is at work, the `n`th in all.
    async fn running(&self, agent: &str, n: usize) -> RunId {
        let run_id = self.run(agent).await;
        self.tally.present(n).await;
        run_id
    }

    fn cancel(&self, run_id: RunId) -> Answered {
        self.cancel_for(None, run_id)
    }

    /// Cancels on behalf of a user, or of nobody.
    fn cancel_for(&self, user_id: Option<&str>, run_id: RunId) -> Answered {
        let user_id = user_id.map(UserId::from);
        let (reply, answer) = self.reply();
        self.crew.manager.do_send(CancelRun { run_id, reply: CancelReply { user_id, reply } });
        answer
    }

    /// The reader of a run goes that has said that the run is for it alone.
    #[cfg(feature = "web")]
    fn desert(&self, run_id: RunId) {
        let (reply, _) = self.reply();
        let cancel = CancelRun { run_id, reply: CancelReply { user_id: None, reply } };
        self.crew.manager.do_send(super::cancel::CancelDeserted(cancel));
    }

    fn drain(&self, deadline: Duration) -> oneshot::Receiver<Drained> {
        self.drain_within(deadline, Duration::from_secs(60))
    }

    fn drain_within(&self, deadline: Duration, patience: Duration) -> oneshot::Receiver<Drained> {
        let (reply, drained) = oneshot::channel();
        self.crew.manager.do_send(Drain { deadline, patience, reply });
        drained
    }

    /// Returns when the manager has handled all that was sent to it before.
    async fn all_taken_in(&self) -> usize {
        soon(self.crew.manager.send(CountLive)).await.unwrap()
    }

    async fn waiting(&self) -> usize {
        soon(self.crew.manager.send(CountWaiting)).await.unwrap()
    }

    /// A run that waits for people, and is not live any more.
    async fn paused(&self) -> RunId {
        let run_id = self.run("asking").await;
        soon(async {
            while self.status(run_id).await != RunStatus::Paused || self.all_taken_in().await > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        run_id
    }

    /// Takes up a run that is at work and has said nothing, past the manager, as if it had been given up before.
    async fn taken_up_again(&self, run_id: RunId) -> TakenRun {
        let row = samples::facts(self.store.inner(), run_id).await;
        let given_up = Advance {
            run_id,
            attempt: row.attempt,
            first_seq: row.next_seq,
            events: Vec::new(),
            steps: Vec::new(),
            change: Change::HandBack,
        };
        samples::advance(self.store.inner(), &given_up).await.unwrap();
        let agent = samples::get(self.store.inner(), run_id).await.output.agent;
        let claim = Claim { node: row.node.unwrap(), agents: vec![agent], limited: Vec::new(), limit: 1 };
        self.store.inner().claim(claim).await.unwrap().remove(0)
    }

    /// Waits for the run to settle.
    async fn settled(&self, run_id: RunId) -> Run {
        let mut follower = self.hub.follow(run_id);
        soon(async {
            loop {
                match self.store.get(run_id).await.unwrap() {
                    Some(run) if run.output.status.is_terminal() => return run,
                    _ => drop(follower.next().await),
                }
            }
        })
        .await
    }

    async fn status(&self, run_id: RunId) -> RunStatus {
        samples::get(self.store.inner(), run_id).await.output.status
    }
}

async fn answer<T>(answer: oneshot::Receiver<T>) -> T {
    soon(answer).await.expect("an answer")
}
