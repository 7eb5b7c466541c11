//! The agents that can be asked.

use actix_web::{HttpRequest, HttpResponse};

use super::access::Access;
use super::body::{AgentBody, AgentsBody};
use super::decode::{self, PathParts};
use super::problem::Problem;

pub(super) async fn list(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    decode::no_query(&request)?;
    let mut agents: Vec<AgentBody> = bodies(&access).collect();
    agents.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(HttpResponse::Ok().json(AgentsBody { agents }))
}

pub(super) async fn get(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    decode::no_query(&request)?;
    let name = PathParts::of(&request).await?.agent;
    let agent = bodies(&access).find(|agent| agent.name == name);
    Ok(HttpResponse::Ok().json(agent.ok_or_else(|| Problem::unknown_agent(name))?))
}

fn bodies(access: &Access) -> impl Iterator<Item = AgentBody> {
    let body = |name: &str, description: Option<&str>| AgentBody {
        name: name.to_owned(),
        description: description.map(ToOwned::to_owned),
    };
    access.runtime.agents().map(move |agent| body(agent.name(), agent.description()))
}
