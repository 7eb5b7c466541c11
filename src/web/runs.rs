//! Runs: submitted, read, listed, cancelled.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CONTENT_LOCATION, LOCATION};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::access::Access;
use super::body::{
    CancelBody, CancelledBody, CountsBody, CountsParameters, ListParameters, PageBody, RunBody, RunParameters,
    SubmitBody,
};
use super::decode::PathParts;
use super::problem::Problem;
use super::{decode, header};
use crate::run::{NewRun, Run, RunId, SessionId};
use crate::runtime::{CancelOutcome, RunQuery, Runtime};

/// The most runs on a page: they may have their inputs and contents with them.
const LONGEST_PAGE: usize = 100;

pub(super) async fn submit(access: Access, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
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
        run = wait_as_preferred(access, run, seconds, &mut response).await?;
        if run.output.status.is_terminal() {
            response.insert_header((CONTENT_LOCATION, location.as_str()));
        }
    }
    Ok(response.insert_header((LOCATION, location)).json(RunBody::from(run)))
}

/// The run when it has settled, which `response` is told, or as it is after so many seconds.
pub(super) async fn wait_as_preferred(
    access: &Access,
    run: Run,
    seconds: u32,
    response: &mut HttpResponseBuilder,
) -> Result<Run, Problem> {
    let wait = access.door.wait(seconds);
    let run = settled(&access.runtime, run, wait).await?;
    response.insert_header(("preference-applied", format!("wait={}", wait.as_secs())));
    if run.output.status.is_terminal() {
        response.status(actix_web::http::StatusCode::OK);
    }
    Ok(run)
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

/// The run when it has settled, or as it is after `wait`.
async fn settled(runtime: &Runtime, run: Run, wait: Duration) -> Result<Run, Problem> {
    if run.output.status.is_terminal() || wait.is_zero() {
        return Ok(run);
    }
    let output = runtime.wait(run.output.run_id, wait).await?;
    // Everything but the output is as it was, except how often the run was taken up.
    let again = if output.status == run.output.status { None } else { runtime.get(output.run_id).await? };
    Ok(again.unwrap_or(run))
}

pub(super) async fn get(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let run_id = decode::run_id(&request).await?;
    let parameters: RunParameters = decode::query(&request)?;
    let in_session = |run: &Run| parameters.session_id.as_ref().is_none_or(|asked| *asked == run.output.session_id);
    let run = access.runtime.get(run_id).await?.filter(in_session).ok_or_else(|| Problem::unknown_run(run_id))?;
    let wait = access.door.wait(parameters.wait.unwrap_or_default());
    let run = settled(&access.runtime, run, wait).await?;
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
    let CountsParameters {} = decode::query(&request)?;
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
    let run_id: RunId = decode::run_id(&request).await?;
    let CancelBody {} = decode::json_or_nothing(&request, payload, &access.door).await?;
    let outcome = access.runtime.cancel(run_id).await?;
    let mut response = match outcome {
        CancelOutcome::Cancelled | CancelOutcome::AlreadySettled(_) => HttpResponse::Ok(),
        CancelOutcome::Requested | CancelOutcome::IntentStored => HttpResponse::Accepted(),
    };
    Ok(response.json(CancelledBody::new(run_id, outcome)))
}
