//! A thread that owns a connection, and the queue of jobs to it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use diesel::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};

use super::connection::roll_back;
use crate::store::{StoreError, StoreResult};

/// How many jobs may wait. Whoever comes later waits for its turn in its own future, which costs nobody else anything.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut SqliteConnection) + Send>;

enum Message {
    Run(Job),
    Stop,
}

/// The handle to a thread that owns a connection; the thread ends with its last handle.
#[derive(Clone)]
pub(super) struct Worker {
    messages: mpsc::Sender<Message>,
    pub(super) ended: watch::Receiver<()>,
}

impl Worker {
    /// Starts the thread `name`, which opens its connection by `open`; what comes with the connection lives as long.
    pub(super) async fn start<K: Clone + Send + 'static>(
        name: &str,
        open: impl FnOnce() -> StoreResult<(SqliteConnection, K)> + Send + 'static,
    ) -> StoreResult<(Self, K)> {
        let (messages, queue) = mpsc::channel(QUEUE);
        let (alive, ended) = watch::channel(());
        let (opened, answer) = oneshot::channel();
        let run = move || {
            work(open, opened, queue);
            drop(alive);
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|error| StoreError::Unavailable(format!("thread cannot be started: {error}")))?;
        let keep = answer.await.unwrap_or_else(|_| Err(panicked()))?;
        Ok((Self { messages, ended }, keep))
    }

    /// Runs `job` after those that were sent before it. Once it is sent, it runs even if nobody awaits it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut SqliteConnection) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |conn: &mut SqliteConnection| {
            let done = catch_unwind(AssertUnwindSafe(|| job(conn))).unwrap_or_else(|_| {
                roll_back(conn);
                Err(panicked())
            });
            if reply.send(done).is_err() {
                tracing::trace!("nobody waits for the answer of the database any more");
            }
        });
        self.messages.send(Message::Run(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Lets the thread finish what was sent before, and waits until its connection is closed.
    pub(super) async fn stop(&self) {
        // Either fails only because the thread has ended, which is what is wanted.
        if self.messages.send(Message::Stop).await.is_ok() {
            tracing::trace!("told the thread of the database to end");
        }
        if self.ended.clone().changed().await.is_err() {
            tracing::trace!("the thread of the database has ended");
        }
    }
}

fn work<K: Clone>(
    open: impl FnOnce() -> StoreResult<(SqliteConnection, K)>,
    opened: oneshot::Sender<StoreResult<K>>,
    mut queue: mpsc::Receiver<Message>,
) {
    let opening = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(panicked()));
    // Declared before the connection, so that the lock that it may be is freed after the connection is closed.
    let keep;
    let mut conn;
    match opening {
        Ok(open) => (conn, keep) = open,
        Err(error) => {
            if opened.send(Err(error)).is_err() {
                tracing::trace!("nobody waits for the database to open any more");
            }
            return;
        }
    }
    if opened.send(Ok(keep.clone())).is_err() {
        return;
    }
    while let Some(Message::Run(job)) = queue.blocking_recv() {
        job(&mut conn);
    }
    // Callers that still wait for a place in the queue hear at once that there is none.
    drop(queue);
    drop(conn);
    drop(keep);
}

/// As an error of the data, so that a batch is tried write by write and one bad write does not hold up all others.
fn panicked() -> StoreError {
    StoreError::Data("a job on the database panicked: a defect of greenroom".to_owned())
}
