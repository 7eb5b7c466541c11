//! The events of a run, as they happen.

use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;

use super::access::Access;
use super::parameters::EventsParameters;
use super::problem::Problem;
use super::sse::{CancelOnDrop, Feed};
use super::{decode, header, site};

/// How often something is said when nothing happens: well below the minute after which proxies give up on a silent line.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn follow(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let run_id = decode::run_id(&request).await?;
    let parameters: EventsParameters = decode::query(&request)?;
    let cancels = parameters.cancel_on_disconnect.unwrap_or_default();
    if cancels && site::is_foreign(&request, access.door.origins()) {
        return Err(Problem::cross_site());
    }
    // An `EventSource` that comes back asks the same address again, and says by the header how far it has come.
    let after = header::last_event_id(&request)?.or(parameters.after);
    let mut events = access.runtime.subscribe(run_id, after).await?;
    let mut feed = if events.was_settled() {
        match events.next().await.transpose()? {
            Some(first) => Feed::new(events, Some(first), KEEP_ALIVE),
            None => return Ok(HttpResponse::NoContent().finish()),
        }
    } else {
        Feed::new(events, None, KEEP_ALIVE)
    };
    if cancels {
        feed = feed.cancel_on_drop(CancelOnDrop::new(access.runtime, run_id));
    }
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-cache, no-transform"))
        // Both keep what stands between from collecting events before it passes them on: nginx, and actix-web's `Compress`.
        .insert_header(("x-accel-buffering", "no"))
        .insert_header((CONTENT_ENCODING, "identity"))
        .streaming(feed.frames()))
}
