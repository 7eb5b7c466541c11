//! The operations: what each route takes, and every answer that it can give.

use utoipa::openapi::link::Link;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, Required, ResponseBuilder, SchemaFormat};

use super::parts::{body, header, in_header, in_path, in_path_as, in_query, json, operation, refused, text};
use crate::run::{RunId, SessionId};
use crate::web::body::{
    AgentBody, AgentsBody, CancelBody, CancelledBody, CountsBody, HealthBody, PageBody, RunBody, SubmitBody,
};
use crate::web::parameters::{EventsParameters, ListParameters, RunParameters};
use crate::web::problem::Kind;
use crate::web::resume::{ContinueBody, ResumeBody};
use crate::web::sessions::{SessionBody, SessionParameters};

/// What any route may refuse that asks the runtime.
const ASKS: &[Kind] =
    &[Kind::InvalidParameter, Kind::Unauthorized, Kind::Internal, Kind::Unavailable, Kind::ShuttingDown];

/// What any route may refuse besides that takes a body.
const TAKES_BODY: &[Kind] =
    &[Kind::MalformedJson, Kind::CrossSite, Kind::BodyTooLarge, Kind::UnsupportedMediaType, Kind::InvalidField];

/// Every operation, with its path and method, where there are these agents.
pub(super) fn all(agents: &[String]) -> Vec<(&'static str, HttpMethod, Operation)> {
    vec![
        ("/agents", HttpMethod::Get, list_agents()),
        ("/agents/{agent}", HttpMethod::Get, get_agent(agents)),
        ("/agents/{agent}/runs", HttpMethod::Post, submit_run(agents)),
        ("/runs", HttpMethod::Get, list_runs()),
        ("/runs/counts", HttpMethod::Get, count_runs()),
        ("/runs/{run_id}", HttpMethod::Get, get_run()),
        ("/runs/{run_id}/cancel", HttpMethod::Post, cancel_run()),
        ("/runs/{run_id}/continue", HttpMethod::Post, continue_run()),
        ("/runs/{run_id}/resume", HttpMethod::Post, resume_run()),
        ("/runs/{run_id}/events", HttpMethod::Get, follow_run()),
        ("/sessions/{session_id}", HttpMethod::Get, get_session()),
        ("/sessions/{session_id}/runs", HttpMethod::Get, list_runs_of_session()),
        #[cfg(feature = "prometheus")]
        ("/metrics", HttpMethod::Get, metrics()),
        ("/healthz", HttpMethod::Get, healthz()),
        ("/readyz", HttpMethod::Get, readyz()),
        ("/openapi.json", HttpMethod::Get, document()),
    ]
}

fn list_agents() -> Operation {
    let agents = operation("list_agents", "The agents, by name").response("200", json::<AgentsBody>("The agents."));
    refused(agents, &[&[Kind::InvalidParameter, Kind::Unauthorized]])
}

fn get_agent(agents: &[String]) -> Operation {
    let agent = operation("get_agent", "One agent")
        .parameter(agent_of(agents))
        .response("200", json::<AgentBody>("The agent."));
    refused(agent, &[&[Kind::InvalidParameter, Kind::Unauthorized, Kind::UnknownAgent]])
}

fn submit_run(agents: &[String]) -> Operation {
    let location = || header("The path of the run.");
    let waited = || header("How long was waited at most: `wait=` and seconds.");
    let key = "Makes a submit that can be repeated: 1 to 255 characters, in double quotes or as a bare token.";
    let prefer = "`wait=` and the seconds to wait for the run to settle. Other preferences mean nothing here.";
    let trace = "The trace that the run is part of, by W3C Trace Context. What is none is not there.";
    let accepted = links(json::<RunBody>("The run is accepted, and durable."))
        .header("Location", location())
        .header("Preference-Applied", waited());
    let settled = links(json::<RunBody>("The run has settled while it was waited for."))
        .header("Location", location())
        .header("Content-Location", location())
        .header("Preference-Applied", waited());
    let submit = operation("submit_run", "Submits a run")
        .parameter(agent_of(agents))
        .parameter(in_header("Idempotency-Key", key, text().min_length(Some(1))))
        .parameter(in_header("Prefer", prefer, text()))
        .parameter(in_header("traceparent", trace, text()))
        .request_body(Some(body::<SubmitBody>(Required::True)))
        .response("200", settled)
        .response("202", accepted);
    let kinds = [
        Kind::UnknownAgent,
        Kind::UnknownRun,
        Kind::Conflict,
        Kind::SessionBusy,
        Kind::KeyReused,
        Kind::Full,
        Kind::Overloaded,
    ];
    refused(submit, &[ASKS, TAKES_BODY, &kinds])
}

fn list_runs() -> Operation {
    page(operation("list_runs", "A page of runs, newest first").parameters(Some(in_query::<ListParameters>())))
}

fn list_runs_of_session() -> Operation {
    let of_list = in_query::<ListParameters>().into_iter().filter(|parameter| parameter.name != "session_id");
    let list = operation("list_runs_of_session", "A page of the runs of one session, newest first")
        .parameter(in_path::<SessionId>("session_id", "The session."))
        .parameters(Some(of_list));
    page(list)
}

fn get_session() -> Operation {
    let get = operation("get_session", "What the runs of a session keep together")
        .parameter(in_path::<SessionId>("session_id", "The session."))
        .parameters(Some(in_query::<SessionParameters>()))
        .response("200", json::<SessionBody>("The session, also one that nobody knows."));
    refused(get, &[ASKS, &[Kind::InvalidField]])
}

fn page(list: OperationBuilder) -> Operation {
    refused(list.response("200", json::<PageBody>("The page.")), &[ASKS, &[Kind::InvalidField]])
}

fn count_runs() -> Operation {
    let bounds = "All unsettled runs up to 10,000, and the settled ones among the newest 10,000.";
    let count =
        operation("count_runs", "How many runs there are of each status").response("200", json::<CountsBody>(bounds));
    refused(count, &[ASKS])
}

fn get_run() -> Operation {
    let get = operation("get_run", "A run")
        .parameter(in_path::<RunId>("run_id", "The run."))
        .parameters(Some(in_query::<RunParameters>()))
        .response("200", json::<RunBody>("The run."));
    refused(get, &[ASKS, &[Kind::UnknownRun]])
}

fn cancel_run() -> Operation {
    let cancel = operation("cancel_run", "Cancels a run")
        .parameter(in_path::<RunId>("run_id", "The run."))
        .request_body(Some(body::<CancelBody>(Required::False)))
        .response("200", json::<CancelledBody>("The run is cancelled, or has settled before."))
        .response(
            "202",
            json::<CancelledBody>("The run will be cancelled: by the process that has it, or when it comes."),
        );
    refused(cancel, &[ASKS, TAKES_BODY, &[Kind::Overloaded, Kind::TooManyIntents]])
}

fn continue_run() -> Operation {
    let prefer = "`wait=` and the seconds to wait for the run to settle. Other preferences mean nothing here.";
    let waited = || header("How long was waited at most: `wait=` and seconds.");
    let settled =
        json::<RunBody>("The run has settled while it was waited for.").header("Preference-Applied", waited());
    let goes_on = json::<RunBody>("The run goes on.").header("Preference-Applied", waited());
    let resume = operation("continue_run", "Decides what a paused run waits for")
        .parameter(in_path::<RunId>("run_id", "The run."))
        .parameter(in_header("Prefer", prefer, text()))
        .request_body(Some(body::<ContinueBody>(Required::True)))
        .response("200", settled)
        .response("202", goes_on);
    refused(resume, &[ASKS, TAKES_BODY, &[Kind::UnknownRun, Kind::NotPaused, Kind::Overloaded]])
}

fn resume_run() -> Operation {
    let prefer = "`wait=` and the seconds to wait for the new run to settle. Other preferences mean nothing here.";
    let answer = |said| {
        let waited = header("How long was waited at most: `wait=` and seconds.");
        let location = header("The path of the new run.");
        links(json::<RunBody>(said)).header("Location", location).header("Preference-Applied", waited)
    };
    let settled = answer("The new run has settled while it was waited for.")
        .header("Content-Location", header("The path of the new run."));
    let resume = operation("resume_run", "Resumes a failed run, by a new run that goes on from its steps")
        .parameter(in_path::<RunId>("run_id", "The failed run."))
        .parameter(in_header("Prefer", prefer, text()))
        .request_body(Some(body::<ResumeBody>(Required::False)))
        .response("200", settled)
        .response("202", answer("The new run is accepted, or was before."));
    let kinds = [
        Kind::UnknownAgent,
        Kind::UnknownRun,
        Kind::NotFailed,
        Kind::Conflict,
        Kind::SessionBusy,
        Kind::Full,
        Kind::Overloaded,
    ];
    refused(resume, &[ASKS, TAKES_BODY, &kinds])
}

fn follow_run() -> Operation {
    let last = "The seq after which to go on, as an `EventSource` says it; it comes before `after`.";
    let seq = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Integer))
        .format(Some(SchemaFormat::Custom("uint64".to_owned())))
        .minimum(Some(0));
    let stream = "An event stream: `id` is the event's seq, `data` a `RunEvent` as one line of JSON. A comment comes every \
        15 s, and the stream closes after the last event of the run.";
    // Without a type: some take it for the whole stream, and some for each of its events.
    let frames =
        ObjectBuilder::new().schema_type(SchemaType::AnyValue).content_media_type("text/event-stream".to_owned());
    let follow = operation("follow_run", "The events of a run, as they happen")
        .parameter(in_path::<RunId>("run_id", "The run."))
        .parameter(in_header("Last-Event-ID", last, seq))
        .parameters(Some(in_query::<EventsParameters>()))
        .response(
            "200",
            ResponseBuilder::new().description(stream).content("text/event-stream", Content::new(Some(frames))),
        )
        .response("204", ResponseBuilder::new().description("There is nothing after that seq, and never will be."));
    refused(follow, &[ASKS, &[Kind::UnknownRun, Kind::CrossSite]])
}

#[cfg(feature = "prometheus")]
fn metrics() -> Operation {
    let told = "What the process has recorded, in the text format of Prometheus. 404 where the door tells no metrics.";
    let metrics = operation("metrics", "The metrics of the process").response(
        "200",
        ResponseBuilder::new().description(told).content(crate::web::metrics::TEXT, Content::new(Some(text()))),
    );
    refused(metrics, &[&[Kind::Unauthorized, Kind::NotFound]])
}

fn healthz() -> Operation {
    let health = operation("healthz", "Whether the process is alive").response("200", json::<HealthBody>("It is."));
    refused(open(health), &[])
}

fn readyz() -> Operation {
    let ready = operation("readyz", "Whether the runtime accepts and takes up runs")
        .response("200", json::<HealthBody>("It does."));
    refused(open(ready), &[&[Kind::NotReady]])
}

fn document() -> Operation {
    let object = ObjectBuilder::new().schema_type(SchemaType::new(Type::Object));
    let response =
        ResponseBuilder::new().description("The document.").content("application/json", Content::new(Some(object)));
    refused(open(operation("openapi", "This document").response("200", response)), &[])
}

/// The agent in the path: one of these, where they may be told.
fn agent_of(agents: &[String]) -> Parameter {
    let name = if agents.is_empty() { text() } else { text().enum_values(Some(agents.iter().cloned())) };
    in_path_as("agent", "The name of the agent.", name)
}

/// What can be done next with the run in this answer.
fn links(answer: ResponseBuilder) -> ResponseBuilder {
    ["get_run", "cancel_run", "follow_run"].into_iter().fold(answer, |answer, operation| {
        let link = Link::builder().operation_id(operation).parameter("run_id", "$response.body#/run_id");
        answer.link(operation, link.build())
    })
}

/// Everybody may ask for it, whatever the others want.
fn open(operation: OperationBuilder) -> OperationBuilder {
    operation.securities(Some([] as [SecurityRequirement; 0]))
}
