//! All workers, and the Postgres that they share.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::book::Book;
use crate::postgres::Server;
use crate::process::Worker;
use crate::proxy::Proxy;
use crate::wire::{Answer, Ask};

pub(crate) struct Crew {
    pub(crate) workers: Vec<Worker>,
    pub(crate) server: Server,
    pub(crate) book: Arc<Book>,
}

impl Crew {
    /// None where there is no Postgres to stop and to start. The last of several workers only polls.
    pub(crate) async fn start(workers: usize, max_running: usize, lease: Duration, directory: &Path) -> Option<Self> {
        let server = Server::start().await?;
        let book = Arc::new(Book::default());
        let mut crew = Vec::new();
        for index in 0..workers {
            let proxy = Proxy::start(address_of(server.url())).await;
            let poll_only = workers > 1 && index == workers - 1;
            let worker = Worker::new(index, proxy, Arc::clone(&book), directory, lease, max_running, poll_only);
            worker.start().await;
            crew.push(worker);
        }
        Some(Self { workers: crew, server, book })
    }

    pub(crate) fn any(&self, rng: &mut Rng) -> &Worker {
        &self.workers[rng.usize(..self.workers.len())]
    }

    /// Asks one worker after the other, until one has an answer that is no refusal.
    pub(crate) async fn insist(&self, ask: &Ask) -> Answer {
        for worker in self.workers.iter().cycle() {
            match worker.ask(ask.clone()).await {
                None | Some(Answer::Refused { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                Some(answer) => return answer,
            }
        }
        unreachable!("a cycle has no end");
    }

    /// Ends all workers in good order.
    pub(crate) async fn end(&self) {
        futures_util::future::join_all(self.workers.iter().map(Worker::terminate_for_good)).await;
    }
}

fn address_of(url: &str) -> SocketAddr {
    let place = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).unwrap_or_default();
    place.parse().expect("the test server has an address")
}
