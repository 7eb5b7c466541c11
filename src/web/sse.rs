//! Turns the events of a run into an event stream.
//!
//! A frame is made when the connection has room for it, so that a slow reader holds no memory but that of the connection.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::Error;
use crate::run::{RunEvent, RunId};
use crate::runtime::{EventStream, Runtime};
use crate::telemetry::EventReader;

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
    _counted: EventReader,
}

impl<E: Stream<Item = Result<RunEvent, Error>> + Unpin> Feed<E> {
    /// `first` comes before `events`.
    pub(super) fn new(events: E, first: Option<RunEvent>, keep_alive: Duration) -> Self {
        Self { events, first, keep_alive, cancel: None, opened: false, _counted: EventReader::begin() }
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
                    let again = Instant::now() + PAUSE;
                    sleep_until(again.min(silent_until)).await;
                    if again >= silent_until {
                        return Some(Bytes::from_static(COMMENT.as_bytes()));
                    }
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
            tracing::info!(run.id = %run_id, "the reader that the run was for has gone");
            runtime.cancel_deserted(run_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream::{self, BoxStream};
    use futures_util::{FutureExt, StreamExt};
    use tokio::time::Instant;

    use super::{COMMENT, Feed, OPENING};
    use crate::error::Error;
    use crate::run::{RunEvent, RunEventKind, RunId};
    use crate::runtime::StoreError;

    type Events = BoxStream<'static, Result<RunEvent, Error>>;

    const KEEP_ALIVE: Duration = Duration::from_secs(15);

    fn event(seq: u64) -> RunEvent {
        RunEvent::new(RunId::new(), seq, RunEventKind::RunStarted { attempt: 1 })
    }

    fn frame(event: &RunEvent) -> String {
        format!("id: {}\ndata: {}\n\n", event.seq, serde_json::to_string(event).unwrap())
    }

    async fn all(feed: Feed<Events>) -> Vec<String> {
        feed.frames().map(|frame| String::from_utf8(frame.unwrap().to_vec()).unwrap()).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_line_is_kept_open_by_a_comment_every_fifteen_seconds() {
        let begun = Instant::now();
        let (first, last) = (event(0), event(1));
        let later = {
            let last = last.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(40)).await;
                Ok(last)
            }
        };

        let frames = all(Feed::new(stream::once(later).boxed(), Some(first.clone()), KEEP_ALIVE)).await;

        assert_eq!(frames, [OPENING.to_owned(), frame(&first), COMMENT.to_owned(), COMMENT.to_owned(), frame(&last)]);
        assert_eq!(begun.elapsed(), Duration::from_secs(40));
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_away_interrupts_nothing_and_the_line_is_kept_open_meanwhile() {
        let last = event(7);
        let away = || Err(Error::Store(StoreError::Unavailable("gone".to_owned())));
        let told = stream::iter((0..20).map(move |_| away())).chain(stream::iter([Ok(last.clone())])).boxed();

        let frames = all(Feed::new(told, None, KEEP_ALIVE)).await;

        assert_eq!(frames, [OPENING.to_owned(), COMMENT.to_owned(), frame(&last)]);
    }

    #[tokio::test]
    async fn a_store_that_is_closed_ends_the_stream() {
        let told = stream::iter([Err(Error::Store(StoreError::Closed)), Ok(event(0))]).boxed();
        assert_eq!(all(Feed::new(told, None, KEEP_ALIVE)).await, [OPENING]);
    }

    #[tokio::test]
    async fn nothing_is_asked_for_before_the_connection_has_room_for_it() {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&asked);
        let events = stream::unfold(0, move |seq| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { Some((Ok(event(seq)), seq + 1)) }
        });
        let mut frames = Box::pin(Feed::<Events>::new(events.boxed(), None, KEEP_ALIVE).frames());

        for _ in 0..3 {
            frames.next().now_or_never().unwrap().unwrap().unwrap();
        }

        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2, "the opening and two events");
    }
}
