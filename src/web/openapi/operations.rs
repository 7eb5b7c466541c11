//! The operations: what each route takes, and every answer that it can give.

use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, KnownFormat, Required, ResponseBuilder, SchemaFormat};

use super::parts::{body, header, in_header, in_path, in_query, json, operation, refused, text};
use crate::run::{RunId, SessionId};
use crate::web::body::{
    AgentBody, AgentsBody, CancelBody, CancelledBody, CountsBody, EventsParameters, HealthBody, ListParameters,
    PageBody, RunBody, RunParameters, SubmitBody,
};
use crate::web::problem::Kind;
use crate::web::resume::ContinueBody;

/// Every operation, with its path and method.
pub(super) fn all() -> [(&'static str, HttpMethod, Operation); 13] {
    [
        ("/agents", HttpMethod::Get, list_agents()),
        ("/agents/{agent}", HttpMethod::Get, get_agent()),
        ("/agents/{agent}/runs", HttpMethod::Post, submit_run()),
        ("/runs", HttpMethod::Get, list_runs()),
        ("/runs/counts", HttpMethod::Get, count_runs()),
        ("/runs/{run_id}", HttpMethod::Get, get_run()),
        ("/runs/{run_id}/cancel", HttpMethod::Post, cancel_run()),
        ("/runs/{run_id}/continue", HttpMethod::Post, continue_run()),
        ("/runs/{run_id}/events", HttpMethod::Get, follow_run()),
        ("/sessions/{session_id}/runs", HttpMethod::Get, list_runs_of_session()),
        ("/healthz", HttpMethod::Get, healthz()),
        ("/readyz", HttpMethod::Get, readyz()),
        ("/openapi.json", HttpMethod::Get, document()),
    ]
}

fn list_agents() -> Operation {
    let agents = operation("list_agents", "The agents, by name").response("200", json::<AgentsBody>("The agents."));
    refused(agents, &[Kind::Unauthorized])
}

fn get_agent() -> Operation {
    let agent = operation("get_agent", "One agent")
        .parameter(in_path::<String>("agent", "The name of the agent."))
        .response("200", json::<AgentBody>("The agent."));
    refused(agent, &[Kind::Unauthorized, Kind::UnknownAgent])
}

fn submit_run() -> Operation {
    let location = || header("The path of the run.");
    let waited = || header("How long was waited at most: `wait=` and seconds.");
    let key = "Makes a submit that can be repeated: 1 to 255 characters, in double quotes or as a bare token.";
    let prefer = "`wait=` and the seconds to wait for the run to settle. Other preferences mean nothing here.";
    let accepted = json::<RunBody>("The run is accepted, and durable.")
        .header("Location", location())
        .header("Preference-Applied", waited());
    let settled = json::<RunBody>("The run has settled while it was waited for.")
        .header("Location", location())
        .header("Content-Location", location())
        .header("Preference-Applied", waited());
    let submit = operation("submit_run", "Submits a run")
        .parameter(in_path::<String>("agent", "The name of the agent."))
        .parameter(in_header("Idempotency-Key", key, text().min_length(Some(1))))
        .parameter(in_header("Prefer", prefer, text()))
        .request_body(Some(body::<SubmitBody>(Required::True)))
        .response("200", settled)
        .response("202", accepted);
    refused(
        submit,
        &[
            Kind::MalformedJson,
            Kind::InvalidParameter,
            Kind::Unauthorized,
            Kind::CrossSite,
            Kind::UnknownAgent,
            Kind::UnknownRun,
            Kind::Conflict,
            Kind::SessionBusy,
            Kind::BodyTooLarge,
            Kind::UnsupportedMediaType,
            Kind::InvalidField,
            Kind::KeyReused,
            Kind::Full,
            Kind::Overloaded,
            Kind::Internal,
            Kind::Unavailable,
            Kind::ShuttingDown,
        ],
    )
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

fn page(list: OperationBuilder) -> Operation {
    refused(
        list.response("200", json::<PageBody>("The page.")),
        &[
            Kind::InvalidParameter,
            Kind::Unauthorized,
            Kind::InvalidField,
            Kind::Internal,
            Kind::Unavailable,
            Kind::ShuttingDown,
        ],
    )
}

fn count_runs() -> Operation {
    let bounds = "All unsettled runs up to 10,000, and the settled ones among the newest 10,000.";
    let count =
        operation("count_runs", "How many runs there are of each status").response("200", json::<CountsBody>(bounds));
    refused(count, &[Kind::InvalidParameter, Kind::Unauthorized, Kind::Internal, Kind::Unavailable, Kind::ShuttingDown])
}

fn get_run() -> Operation {
    let get = operation("get_run", "A run")
        .parameter(in_path::<RunId>("run_id", "The run."))
        .parameters(Some(in_query::<RunParameters>()))
        .response("200", json::<RunBody>("The run."));
    refused(
        get,
        &[
            Kind::InvalidParameter,
            Kind::Unauthorized,
            Kind::UnknownRun,
            Kind::Internal,
            Kind::Unavailable,
            Kind::ShuttingDown,
        ],
    )
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
    refused(
        cancel,
        &[
            Kind::MalformedJson,
            Kind::InvalidParameter,
            Kind::Unauthorized,
            Kind::CrossSite,
            Kind::BodyTooLarge,
            Kind::UnsupportedMediaType,
            Kind::InvalidField,
            Kind::Overloaded,
            Kind::TooManyIntents,
            Kind::Internal,
            Kind::Unavailable,
            Kind::ShuttingDown,
        ],
    )
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
    refused(
        resume,
        &[
            Kind::MalformedJson,
            Kind::InvalidParameter,
            Kind::Unauthorized,
            Kind::CrossSite,
            Kind::UnknownRun,
            Kind::NotPaused,
            Kind::BodyTooLarge,
            Kind::UnsupportedMediaType,
            Kind::InvalidField,
            Kind::Overloaded,
            Kind::Internal,
            Kind::Unavailable,
            Kind::ShuttingDown,
        ],
    )
}

fn follow_run() -> Operation {
    let last = "The seq after which to go on, as an `EventSource` says it; it comes before `after`.";
    let seq = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Integer))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0));
    let stream = "An event stream: `id` is the event's seq, `data` a `RunEvent` as one line of JSON. A comment comes every \
        15 s, and the stream closes after the last event of the run.";
    let follow = operation("follow_run", "The events of a run, as they happen")
        .parameter(in_path::<RunId>("run_id", "The run."))
        .parameter(in_header("Last-Event-ID", last, seq))
        .parameters(Some(in_query::<EventsParameters>()))
        .response(
            "200",
            ResponseBuilder::new().description(stream).content("text/event-stream", Content::new(Some(text()))),
        )
        .response("204", ResponseBuilder::new().description("There is nothing after that seq, and never will be."));
    refused(
        follow,
        &[
            Kind::InvalidParameter,
            Kind::Unauthorized,
            Kind::UnknownRun,
            Kind::Internal,
            Kind::Unavailable,
            Kind::ShuttingDown,
        ],
    )
}

fn healthz() -> Operation {
    let health = operation("healthz", "Whether the process is alive").response("200", json::<HealthBody>("It is."));
    refused(open(health), &[])
}

fn readyz() -> Operation {
    let ready = operation("readyz", "Whether the runtime accepts and takes up runs")
        .response("200", json::<HealthBody>("It does."));
    refused(open(ready), &[Kind::NotReady])
}

fn document() -> Operation {
    let object = ObjectBuilder::new().schema_type(SchemaType::new(Type::Object));
    let response =
        ResponseBuilder::new().description("The document.").content("application/json", Content::new(Some(object)));
    refused(open(operation("openapi", "This document").response("200", response)), &[])
}

/// Everybody may ask for it, whatever the others want.
fn open(operation: OperationBuilder) -> OperationBuilder {
    operation.securities(Some([] as [SecurityRequirement; 0]))
}
