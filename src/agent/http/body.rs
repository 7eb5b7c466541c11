//! How an answer's bytes are read: as server-sent events or as one piece, neither of them too slow nor too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Response;
use sse_stream::{Sse, SseByteStream};
use tokio_util::bytes::Bytes;

use super::failure::{cut, protocol, silent};
use crate::agent::{ModelError, ModelErrorKind};

/// The largest answer, and the largest single event, in bytes.
pub(in crate::agent) const LARGEST: usize = 16 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("silent")]
    Silent,
    #[error("too large")]
    TooLarge,
    #[error("lost")]
    Lost(#[source] reqwest::Error),
}

impl BodyError {
    fn into_model_error(self, idle: Duration) -> ModelError {
        match self {
            Self::Silent => silent(idle, "the provider sent nothing more"),
            Self::TooLarge => too_large(),
            Self::Lost(error) => lost(error),
        }
    }
}

pub(in crate::agent) fn too_large() -> ModelError {
    protocol(format!("the answer is larger than {LARGEST} bytes"))
}

/// The connection failed in the middle of an answer.
pub(super) fn lost(error: reqwest::Error) -> ModelError {
    if error.is_timeout() {
        return ModelError::new(ModelErrorKind::Timeout, "the HTTP client's own timeout is over");
    }
    cut(Some(error))
}

async fn next_chunk(
    body: &mut (impl Stream<Item = reqwest::Result<Bytes>> + Unpin),
    idle: Duration,
) -> Result<Option<Bytes>, BodyError> {
    match tokio::time::timeout(idle, body.try_next()).await {
        Ok(chunk) => chunk.map_err(BodyError::Lost),
        Err(_) => Err(BodyError::Silent),
    }
}

/// Reads an answer that comes as one piece.
pub(super) async fn read_whole(response: Response, idle: Duration) -> Result<Vec<u8>, ModelError> {
    let (mut body, mut whole) = (response.bytes_stream(), Vec::new());
    while let Some(chunk) = next_chunk(&mut body, idle).await.map_err(|error| error.into_model_error(idle))? {
        if whole.len() + chunk.len() > LARGEST {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// The events of a streamed answer.
pub(super) struct Events {
    parser: SseByteStream<BoxStream<'static, Result<Bytes, BodyError>>>,
    // The parser keeps what it has read of an event for as long as the event goes on, so its input has to be counted.
    unfinished: Arc<AtomicUsize>,
    idle: Duration,
}

impl Events {
    /// The events of `response`, of which `first` has already been read.
    pub(super) fn new(response: Response, first: Bytes, idle: Duration) -> Self {
        let unfinished = Arc::new(AtomicUsize::new(first.len()));
        // Only the body: the head would keep the buffer into which it was read.
        let body = response.bytes_stream();
        let rest = stream::try_unfold((body, Arc::clone(&unfinished)), move |(mut body, unfinished)| async move {
            let Some(chunk) = next_chunk(&mut body, idle).await? else { return Ok(None) };
            if unfinished.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len() > LARGEST {
                return Err(BodyError::TooLarge);
            }
            Ok(Some((chunk, (body, unfinished))))
        });
        let chunks = stream::iter([Ok(first)]).chain(rest).boxed();
        Self { parser: SseByteStream::new(chunks), unfinished, idle }
    }

    /// The next event; none when the body has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Sse>, ModelError> {
        let Some(event) = self.parser.next().await else { return Ok(None) };
        self.unfinished.store(0, Ordering::Relaxed);
        event.map(Some).map_err(|error| {
            let sse_stream::Error::Body(error) = error else {
                return protocol("the answer is not a stream of server-sent events in UTF-8");
            };
            match error.downcast::<BodyError>() {
                Ok(error) => error.into_model_error(self.idle),
                Err(_) => cut(None),
            }
        })
    }
}
