//! Runs: submitted, read, listed, cancelled.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CONTENT_LOCATION, LOCATION};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::access::Access;
use super::body::{CancelBody, CancelledBody, CountsBody, PageBody, RunBody, SubmitBody};
use super::decode::PathParts;
use super::parameters::{ListParameters, RunParameters};
use super::problem::Problem;
use super::{decode, header};
use crate::error::Error;
use crate::run::{NewRun, Run, RunId, SessionId};
use crate::runtime::{CancelOutcome, RunQuery, Runtime};

/// The most runs on a page: they may have their inputs and contents with them.
const LONGEST_PAGE: usize = 100;

pub(super) async fn submit(access: Access, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    decode::no_query(&request)?;
    let agent = PathParts::of(&request).await?.agent;
    let body: SubmitBody = decode::json(&request, payload, &access.door).await?;
    let mut new = new_run(agent, body)?;
    if let Some(key) = header::idempotency_key(request.headers())? {
        new = new.idempotency_key(key);
    }
    if let Some(parent) = header::traceparent(request.headers()) {
        new = new.traceparent(parent);
    }
    let run = access.runtime.accept(new).await?;
    accepted(&access, &request, run).await
}

/// The answer that tells of a run that was accepted just now, or before.
pub(super) async fn accepted(access: &Access, request: &HttpRequest, run: Arc<Run>) -> Result<HttpResponse, Problem> {
    let mut run = Arc::unwrap_or_clone(run);
    let location = format!("{}/runs/{}", prefix(request), run.output.run_id);
    let mut response = HttpResponse::Accepted();
    if let Some(seconds) = header::preferred_wait(request.headers()) {
        wait_as_preferred(access, &mut run, seconds, &mut response).await;
        if run.output.status.is_terminal() {
            response.insert_header((CONTENT_LOCATION, location.as_str()));
        }
    }
    Ok(response.insert_header((LOCATION, location)).json(RunBody::from(run)))
}

/// Makes `run`, which is accepted, what it is when it has settled, which `response` is told, or after so many seconds.
pub(super) async fn wait_as_preferred(
    access: &Access,
    run: &mut Run,
    seconds: u32,
    response: &mut HttpResponseBuilder,
) {
    let wait = access.door.wait(seconds);
    if let Err(error) = wait_for(&access.runtime, run, wait).await {
        // A refusal would say that it was not accepted, and have it submitted again.
        tracing::warn!(run.id = %run.output.run_id, %error, "an accepted run cannot be waited for");
        return;
    }
    response.insert_header(("preference-applied", format!("wait={}", wait.as_secs())));
    if run.output.status.is_terminal() {
        response.status(actix_web::http::StatusCode::OK);
    }
}

fn new_run(agent: String, body: SubmitBody) -> Result<NewRun, Problem> {
    let mut run = NewRun::new(agent, body.input.into_json()).metadata(body.metadata.unwrap_or_default());
    if let Some(session_id) = body.session_id {
        run = run.session_id(session_id);
    }
    if let Some(run_id) = body.run_id {
        run = run.run_id(run_id);
    }
    if let Some(user_id) = body.user_id {
        run = run.user_id(user_id);
    }
    if let Some(priority) = body.priority {
        run = run.priority(priority);
    }
    if let Some(run_at) = body.run_at {
        run = run.run_at(run_at);
    }
    if let Some(seconds) = body.timeout {
        let impossible = |_| Problem::field("timeout", "must be between 1 ms and 366 days, in seconds");
        run = run.timeout(Duration::try_from_secs_f64(seconds).map_err(impossible)?);
    }
    #[cfg(feature = "webhooks")]
    if let Some(url) = body.webhook {
        run = run.webhook(url);
    }
    Ok(run)
}

/// The path under which the scope is mounted, with what is around it: what comes before `/agents/{agent}/runs` or
/// `/runs/{run_id}/resume`.
fn prefix(request: &HttpRequest) -> &str {
    request.path().rsplitn(4, '/').nth(3).unwrap_or_default()
}

/// Makes `run` what it is when it has settled, or after `wait`.
async fn wait_for(runtime: &Runtime, run: &mut Run, wait: Duration) -> Result<(), Error> {
    if !run.output.status.is_terminal() && !wait.is_zero() {
        *run = runtime.wait_for_run(run.output.run_id, wait).await?;
    }
    Ok(())
}

pub(super) async fn get(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let run_id = decode::run_id(&request).await?;
    let parameters: RunParameters = decode::query(&request)?;
    let in_session = |run: &Run| parameters.session_id.as_ref().is_none_or(|asked| *asked == run.output.session_id);
    let mut run = access.runtime.get(run_id).await?.filter(in_session).ok_or_else(|| Problem::unknown_run(run_id))?;
    wait_for(&access.runtime, &mut run, access.door.wait(parameters.wait.unwrap_or_default())).await?;
    Ok(HttpResponse::Ok().json(RunBody::from(run)))
}

pub(super) async fn list(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let parameters = decode::query(&request)?;
    page(&access.runtime, parameters).await
}

pub(super) async fn list_of_session(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let session_id: SessionId = PathParts::of(&request).await?.session_id.into();
    let mut parameters: ListParameters = decode::query(&request)?;
    if parameters.session_id.replace(session_id).is_some() {
        return Err(Problem::parameter("session_id", "is in the path already"));
    }
    page(&access.runtime, parameters).await
}

pub(super) async fn counts(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    decode::no_query(&request)?;
    Ok(HttpResponse::Ok().json(CountsBody::from(access.runtime.counts().await?)))
}

async fn page(runtime: &Runtime, parameters: ListParameters) -> Result<HttpResponse, Problem> {
    let include = parameters.include;
    let page = runtime.list(query(parameters)?).await?;
    Ok(HttpResponse::Ok().json(PageBody::new(page, include)))
}

fn query(parameters: ListParameters) -> Result<RunQuery, Problem> {
    let mut query = RunQuery::new();
    if let Some(session_id) = parameters.session_id {
        query = query.session_id(session_id);
    }
    if let Some(user_id) = parameters.user_id {
        query = query.user_id(user_id);
    }
    if let Some(agent) = parameters.agent {
        query = query.agent(agent);
    }
    if let Some(parent) = parameters.parent_run_id {
        query = query.parent_run_id(parent);
    }
    if let Some(status) = parameters.status {
        query = query.status(status);
    }
    if let Some(from) = parameters.created_from {
        query = query.created_from(from);
    }
    if let Some(until) = parameters.created_until {
        query = query.created_until(until);
    }
    if let Some(cursor) = parameters.after {
        query = query.after(cursor);
    }
    match parameters.limit {
        Some(limit) if limit > LONGEST_PAGE => Err(Problem::field("limit", "must be between 1 and 100")),
        Some(limit) => Ok(query.limit(limit)),
        None => Ok(query),
    }
}

pub(super) async fn cancel(access: Access, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    decode::no_query(&request)?;
    let run_id: RunId = decode::run_id(&request).await?;
    let CancelBody {} = decode::json_or_nothing(&request, payload, &access.door).await?;
    let outcome = access.runtime.cancel(run_id).await?;
    let mut response = match outcome {
        CancelOutcome::Cancelled | CancelOutcome::AlreadySettled(_) => HttpResponse::Ok(),
        CancelOutcome::Requested | CancelOutcome::IntentStored => HttpResponse::Accepted(),
    };
    Ok(response.json(CancelledBody::new(run_id, outcome)))
}
