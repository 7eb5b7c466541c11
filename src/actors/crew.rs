//! The threads of a runtime: a system thread, arbiters for the actors, and others for user code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use actix::ArbiterHandle;
use actix::prelude::*;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::arbiters::Arbiters;
#[cfg(feature = "webhooks")]
use super::courier::{Courier, Recall, post::Post};
use super::housekeeper::Housekeeper;
use super::hub::Hub;
use super::lease::LeaseHandle;
use super::manager::{Agents, ManagerLimits, RunManager, hints};
#[cfg(feature = "metrics")]
use super::meter::Meter;
use super::persister::{Persister, Writer};
use super::run_actor::life::Surroundings;
use super::watch::Watch;
use crate::store::{NodeId, RunStore};

pub(crate) use super::persister::Retry;

/// What a crew is made of.
pub(crate) struct CrewOptions {
    /// The lease under which the manager begins; it is kept as soon as there is a manager.
    pub(crate) lease: LeaseHandle,
    pub(crate) actors: ActorOptions,
}

/// What a runtime's actors are made of.
pub(crate) struct ActorOptions {
    pub(crate) agents: Arc<Agents>,
    pub(crate) store: Arc<dyn RunStore>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) retry: Retry,
    pub(crate) manager: ManagerLimits,
    pub(crate) cancel_grace: std::time::Duration,
    pub(crate) max_output: usize,
    /// How long settled runs are kept; `None` for ever.
    pub(crate) retention: Option<std::time::Duration>,
    /// What tells receivers of webhooks; `None` where nobody is told.
    #[cfg(feature = "webhooks")]
    pub(crate) post: Option<Arc<Post>>,
    #[cfg(feature = "webhooks")]
    pub(crate) recall: Recall,
    /// How many arbiters run actors are spread over.
    pub(crate) arbiters: usize,
    pub(crate) user_code: UserCode,
}

/// What drives user code.
pub(crate) enum UserCode {
    /// So many threads of its own.
    Threads(usize),
    /// A tokio runtime of the caller's.
    On(Handle),
}

/// A runtime's actors at work.
pub(crate) struct Crew {
    pub(crate) manager: Addr<RunManager>,
    hub: Arc<Hub>,
    system: System,
    cut_off: Arc<AtomicBool>,
    #[cfg(feature = "webhooks")]
    courier: Recall,
    lease: Option<LeaseHandle>,
    /// Answers, with an error, when the system thread has ended; `None` when it has answered.
    ended: Option<oneshot::Receiver<std::convert::Infallible>>,
}

impl Crew {
    /// Starts the threads and the actors.
    pub(crate) async fn start(options: CrewOptions) -> std::io::Result<Self> {
        let CrewOptions { mut lease, actors: options } = options;
        let node = lease.node;
        let hub = Arc::clone(&options.hub);
        let user_code = match &options.user_code {
            UserCode::Threads(threads) => Driver::Own(
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(*threads)
                    .thread_name("greenroom-agent")
                    .enable_all()
                    .build()?,
            ),
            UserCode::On(handle) => Driver::Other(handle.clone()),
        };
        let cut_off = Arc::new(AtomicBool::new(false));
        #[cfg(feature = "webhooks")]
        let courier = options.recall.clone();
        let (started, starting) = oneshot::channel();
        let (alive, ended) = oneshot::channel();
        let noticed = Arc::clone(&cut_off);
        thread::Builder::new().name("greenroom-system".to_owned()).spawn(move || {
            run_system(options, node, user_code, noticed, started);
            drop::<oneshot::Sender<std::convert::Infallible>>(alive);
        })?;
        let (manager, system) =
            starting.await.map_err(|_| std::io::Error::other("the system thread ended before it had started"))?;
        lease.keep(manager.clone().recipient());
        Ok(Self {
            manager,
            hub,
            system,
            cut_off,
            #[cfg(feature = "webhooks")]
            courier,
            lease: Some(lease),
            ended: Some(ended),
        })
    }

    /// Stops every actor where it is, waits for the threads, and ends the lease: until then it is kept.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped and called again at any time.
    pub(crate) async fn stop(&mut self) {
        #[cfg(feature = "webhooks")]
        self.courier.recall().await;
        self.cut_off();
        if let Some(ended) = &mut self.ended {
            // The other half is never used to send, only dropped.
            ended.await.ok();
            self.ended = None;
        }
        if let Some(lease) = &mut self.lease {
            lease.end().await;
            self.lease = None;
        }
    }

    fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Release);
        self.system.stop();
    }
}

/// Without a shutdown the actors end where they are, as they would if the process died.
impl Drop for Crew {
    fn drop(&mut self) {
        // First: user code that fails because it is told nothing any more has been cut off.
        self.cut_off();
        self.hub.close();
    }
}

/// The tokio runtime that drives user code.
enum Driver {
    Own(tokio::runtime::Runtime),
    Other(Handle),
}

impl Driver {
    fn handle(&self) -> &Handle {
        match self {
            Self::Own(runtime) => runtime.handle(),
            Self::Other(handle) => handle,
        }
    }
}

/// The system thread's whole life.
fn run_system(
    options: ActorOptions,
    node: NodeId,
    user_code: Driver,
    cut_off: Arc<AtomicBool>,
    started: oneshot::Sender<(Addr<RunManager>, System)>,
) {
    let runner = System::new();
    // The manager and the persister have most to say to each other, and little to do: on threads of their own, much of their time
    // would go to waking each other.
    let main_arbiter = Arbiter::new();
    let run_arbiters: Vec<Arbiter> = (0..options.arbiters).map(|_| Arbiter::new()).collect();
    let arbiters = Arbiters::new(run_arbiters.iter().map(Arbiter::handle));
    let threads = Threads { user_code: user_code.handle().clone(), cut_off, arbiters };
    let (store, hub) = (Arc::clone(&options.store), Arc::clone(&options.hub));
    let watch = Watch::new(Arc::clone(&hub), Arc::clone(&store), options.manager.poll_interval);
    #[cfg(feature = "metrics")]
    let meter = Meter::new(Arc::clone(&store), &options.agents, options.manager.poll_interval);
    #[cfg(feature = "webhooks")]
    start_courier(&options);
    let manager = start_actors(options, node, threads, &main_arbiter.handle());
    // This thread has nothing else to do.
    let here = System::current().arbiter().clone();
    here.spawn(watch.live());
    #[cfg(feature = "metrics")]
    here.spawn(meter.live());
    here.spawn(hints::hear(store, hub, manager.clone()));
    // Without a receiver the start was given up, and dropping the system's handle there does not stop it.
    if started.send((manager, System::current())).is_err() {
        System::current().stop();
    }
    if let Err(error) = runner.run() {
        tracing::error!(%error, "the system thread failed");
    }
    for arbiter in run_arbiters.into_iter().chain([main_arbiter]) {
        arbiter.stop();
        arbiter.join().ok();
    }
    if let Driver::Own(runtime) = user_code {
        // User code that blocks its thread is not waited for.
        runtime.shutdown_background();
    }
}

/// Starts the courier where there is one, on a thread of its own: connections are made there, to whomever.
///
/// The thread ends with the system, and is not waited for: a name look-up that hangs would hold it. The courier itself is, by
/// [`Crew::stop`].
#[cfg(feature = "webhooks")]
fn start_courier(options: &ActorOptions) {
    let Some(post) = options.post.clone() else { return };
    let (store, hub) = (Arc::clone(&options.store), Arc::clone(&options.hub));
    let courier = Courier::new(store, hub, options.manager.poll_interval, post);
    Arbiter::new().spawn(options.recall.heeded_by(courier));
}

/// Where runs are driven.
struct Threads {
    user_code: Handle,
    cut_off: Arc<AtomicBool>,
    arbiters: Arbiters,
}

fn start_actors(options: ActorOptions, node: NodeId, threads: Threads, arbiter: &ArbiterHandle) -> Addr<RunManager> {
    let ActorOptions { agents, store, hub, retry, manager: limits, cancel_grace, max_output, retention, .. } = options;
    let housekeeper = Housekeeper { store: Arc::clone(&store), retention };
    Housekeeper::start_in_arbiter(arbiter, |_| housekeeper);
    let Threads { user_code, cut_off, arbiters } = threads;
    let persister = {
        let store = Arc::clone(&store);
        Persister::start_in_arbiter(arbiter, move |_| Persister::new(store, retry))
    };
    let around = Arc::new(Surroundings {
        writer: Writer::new(persister),
        store,
        hub,
        user_code,
        cancel_grace,
        max_output,
        retry,
        cut_off,
    });
    RunManager::start_in_arbiter(arbiter, move |_| RunManager::new(node, agents, around, arbiters, limits))
}
