//! What the door speaks, as an [OpenAPI 3.1](https://spec.openapis.org/oas/v3.1.0) document.
//!
//! It is open to everybody, but names the agents only to those who may ask for them. Schemas come from the types that go over the wire, operations from [`operations`]; tests hold both against what is served.

use actix_web::http::header::{CACHE_CONTROL, VARY};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::schema::Components;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Paths, RefOr, Schema, Server};
use utoipa::{PartialSchema, ToSchema};

use super::body::{
    AgentBody, AgentsBody, CancelBody, CancelledBody, CountsBody, HealthBody, PageBody, ProblemBody, RunBody,
    SubmitBody,
};
use super::door::Door;
use super::resume::{ContinueBody, ResumeBody};
use super::sessions::SessionBody;
use crate::run::RunEvent;
use crate::runtime::Runtime;

mod operations;
mod parts;

/// The name of the bearer token among the ways to be let in.
const TOKEN: &str = "bearer_token";

const DESCRIPTION: &str = "Durable background runs of agents. Durations are seconds, times RFC 3339. Fields and \
    parameters that are not known are refused by their name. What answers GET answers HEAD as well, but for the events.";

/// The document of this scope: its servers entry is where the scope is mounted.
pub(super) async fn serve(door: Data<Door>, request: HttpRequest) -> HttpResponse {
    let mounted_at = request.path().strip_suffix("/openapi.json").unwrap_or_default();
    let mut document = document(&known_agents(&door, &request));
    if !mounted_at.is_empty() {
        document.servers = Some(vec![Server::new(mounted_at)]);
    }
    if door.tokens().are_asked() {
        document.security = Some(vec![SecurityRequirement::new(TOKEN, [""; 0])]);
    }
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-cache")).insert_header((VARY, "authorization")).json(document)
}

/// The agents that there are, as far as whoever asks may ask for them; by name.
fn known_agents(door: &Door, request: &HttpRequest) -> Vec<String> {
    let runtime = door.runtime_for(request).ok().filter(|_| door.tokens().admit(request));
    let mut agents: Vec<String> =
        runtime.iter().flat_map(Runtime::agents).map(|agent| agent.name().to_owned()).collect();
    agents.sort_unstable();
    agents
}

fn document(agents: &[String]) -> OpenApi {
    let mut paths = Paths::new();
    for (path, method, operation) in operations::all(agents) {
        paths.add_path_operation(path, vec![method], operation);
    }
    let info =
        InfoBuilder::new().title("Greenroom").version(env!("CARGO_PKG_VERSION")).description(Some(DESCRIPTION)).build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components())).build()
}

fn components() -> Components {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Asked for where the service has been given tokens."))
        .build();
    let mut components = Components::new();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(token));
    let mut schemas = Vec::new();
    add::<AgentBody>(&mut schemas);
    add::<AgentsBody>(&mut schemas);
    add::<CancelBody>(&mut schemas);
    add::<CancelledBody>(&mut schemas);
    add::<ContinueBody>(&mut schemas);
    add::<ResumeBody>(&mut schemas);
    add::<CountsBody>(&mut schemas);
    add::<HealthBody>(&mut schemas);
    add::<PageBody>(&mut schemas);
    add::<SessionBody>(&mut schemas);
    add::<ProblemBody>(&mut schemas);
    add::<RunBody>(&mut schemas);
    add::<RunEvent>(&mut schemas);
    add::<SubmitBody>(&mut schemas);
    components.schemas.extend(schemas);
    components
}

/// Adds the schema of `T` and those that it refers to.
fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), <T as PartialSchema>::schema()));
}
