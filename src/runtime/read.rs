//! What can be read of runs: one, a page of them, the end of one, its events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::events::{EventStream, Tail};
use super::{Runtime, context};
use crate::error::Error;
use crate::run::{Run, RunId, RunOutput, SessionId};
use crate::store::{Page, RunQuery};

impl Runtime {
    /// The run with this id, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn get(&self, run_id: RunId) -> Result<Option<Run>, Error> {
        Ok(self.inner.store.get(run_id).await?.filter(|run| self.sees(&run.output)))
    }

    /// What has come of a run so far, if there is a run with this id in this session.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn get_run_output(
        &self,
        run_id: RunId,
        session_id: impl Into<SessionId>,
    ) -> Result<Option<RunOutput>, Error> {
        let session_id = session_id.into();
        Ok(self.get(run_id).await?.map(|run| run.output).filter(|output| output.session_id == session_id))
    }

    /// One page of the runs that `query` asks for, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the query asks for something impossible, [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn list(&self, query: RunQuery) -> Result<Page, Error> {
        let query = self.own_query(query)?;
        query.check()?;
        let size = query.page_size();
        Ok(Page::cut(self.inner.store.list(query).await?, size))
    }

    /// Waits until a run settles, at most for `timeout`, and returns what has come of it by then; its status says whether
    /// it has settled. One that is `PAUSED` is waited for as well.
    ///
    /// For a run that is live in this process, the wait is ended by the run itself. Others are looked at when their process
    /// hints that something has happened, and once in each [poll interval](crate::RuntimeBuilder::poll_interval): together, so that
    /// it costs the same however many wait.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such run, [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn wait(&self, run_id: RunId, timeout: Duration) -> Result<RunOutput, Error> {
        Ok(self.wait_for_run(run_id, timeout).await?.output)
    }

    /// As [`wait`](Self::wait), with all that is known of the run.
    pub(crate) async fn wait_for_run(&self, run_id: RunId, timeout: Duration) -> Result<Run, Error> {
        // Follow first, then look: what settles in between is told.
        let mut follower = self.inner.hub.follow(run_id);
        let look = async || self.get(run_id).await?.ok_or(Error::NotFound(run_id));
        let settled = async {
            // Where nobody else's runs are hidden, one that is live here is there, and has not settled.
            if self.user.is_none() && self.inner.hub.is_live(run_id) {
                follower.until_end().await?;
            }
            loop {
                let run = look().await?;
                if run.output.status.is_terminal() {
                    return Ok(run);
                }
                follower.until_end().await?;
            }
        };
        let settled = async { tokio::time::timeout(timeout, settled).await };
        match context::anywhere(&self.inner.timers, settled).await {
            Ok(run) => run,
            Err(_) => look().await,
        }
    }

    /// The events of a run: those after `after`, or all of them, then what happens from now on, each once and in order. The
    /// stream ends with the terminal event.
    ///
    /// An event is told when it is durable: at once when the run is live in this process, else when its process hints at it,
    /// and at the latest in the next [poll interval](crate::RuntimeBuilder::poll_interval). A reader that is slow reads from the
    /// store what it has missed and never slows the run down. After an error the stream can be polled on.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is no such run, [`Error::Store`] when the database cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future and the stream can be dropped at any time; subscribing again after the last seq that was seen goes on
    /// from there.
    pub async fn subscribe(&self, run_id: RunId, after: Option<u64>) -> Result<EventStream, Error> {
        let follower = self.inner.hub.follow(run_id);
        let settled = self.is_settled(run_id).await?;
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        Ok(EventStream::new(Tail {
            store: Arc::clone(&self.inner.store),
            follower,
            timers: self.inner.timers.clone(),
            run_id,
            next: from,
            ready: VecDeque::new(),
            behind: true,
            settled,
            ended: false,
        }))
    }
}
