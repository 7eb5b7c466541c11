//! Turns the events of a run into an event stream.
//!
//! A frame is made when the connection has room for it, so that a slow reader holds no memory but that of the connection.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::web::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::Error;
use crate::run::{RunEvent, RunId};
use crate::runtime::{EventStream, Runtime};

/// The first thing that is said: it opens the line at once, and tells a reader that is cut off when to come back.
const OPENING: &str = "retry: 1000\n\n";

const COMMENT: &str = ": nothing new\n\n";

/// How long to wait before the store is asked again that could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// The events of a run on their way to one reader.
pub(super) struct Feed<E = EventStream> {
    events: E,
    first: Option<RunEvent>,
    keep_alive: Duration,
    cancel: Option<CancelOnDrop>,
    opened: bool,
}

impl<E: Stream<Item = Result<RunEvent, Error>> + Unpin> Feed<E> {
    /// `first` comes before `events`.
    pub(super) const fn new(events: E, first: Option<RunEvent>, keep_alive: Duration) -> Self {
        Self { events, first, keep_alive, cancel: None, opened: false }
    }

    pub(super) fn cancel_on_drop(self, cancel: CancelOnDrop) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    pub(super) fn frames(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut feed| async move {
            let frame = feed.next().await?;
            Some((Ok(frame), feed))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if !self.opened {
            self.opened = true;
            return Some(Bytes::from_static(OPENING.as_bytes()));
        }
        if let Some(first) = self.first.take() {
            return self.frame(&first);
        }
        let silent_until = Instant::now() + self.keep_alive;
        loop {
            match timeout_at(silent_until, self.events.next()).await {
                Ok(Some(Ok(event))) => return self.frame(&event),
                Ok(Some(Err(error))) if error.is_retryable() => {
                    tracing::debug!(%error, "events cannot be read just now");
                    sleep_until(silent_until.min(Instant::now() + PAUSE)).await;
                }
                // The reader comes back, to another process when this one is shutting down.
                Ok(Some(Err(error))) => {
                    tracing::warn!(%error, "an event stream was cut off");
                    return self.end();
                }
                Ok(None) => return self.end(),
                Err(_) => return Some(Bytes::from_static(COMMENT.as_bytes())),
            }
        }
    }

    fn frame(&mut self, event: &RunEvent) -> Option<Bytes> {
        match serde_json::to_string(event) {
            Ok(json) => Some(Bytes::from(format!("id: {}\ndata: {json}\n\n", event.seq))),
            Err(error) => {
                tracing::error!(%error, "an event cannot be written as JSON");
                self.end()
            }
        }
    }

    /// The stream ends of itself: that is not the reader's going.
    fn end(&mut self) -> Option<Bytes> {
        if let Some(cancel) = self.cancel.take() {
            cancel.disarm();
        }
        None
    }
}

/// Cancels a run when its reader goes.
pub(super) struct CancelOnDrop(Option<(Runtime, RunId)>);

impl CancelOnDrop {
    pub(super) const fn new(runtime: Runtime, run_id: RunId) -> Self {
        Self(Some((runtime, run_id)))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some((runtime, run_id)) = self.0.take() {
            tracing::info!(run.id = %run_id, "the reader has gone, the run is cancelled");
            // The first poll is what sends the cancel on its way. Nobody is left to be told its answer.
            drop(runtime.cancel(run_id).now_or_never());
        }
    }
}
