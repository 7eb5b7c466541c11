//! The table of routes.

use actix_web::http::Method;
use actix_web::http::header::Allow;
use actix_web::middleware::from_fn;
use actix_web::web::{ServiceConfig, resource, scope, to};
use actix_web::{HttpRequest, HttpResponse, Resource, Route, Scope};

#[cfg(feature = "dashboard")]
use super::page;
use super::problem::{Kind, Problem};
use super::{agents, events, guard, health, resume, runs, sessions};

/// What is served at one path by some methods.
pub(super) struct Endpoint {
    pub(super) methods: &'static [Method],
    pub(super) path: &'static str,
    handler: fn() -> Route,
}

const fn get(path: &'static str, handler: fn() -> Route) -> Endpoint {
    Endpoint { methods: &[Method::GET, Method::HEAD], path, handler }
}

/// A stream has no end that would answer `HEAD`.
const fn stream(path: &'static str, handler: fn() -> Route) -> Endpoint {
    Endpoint { methods: &[Method::GET], path, handler }
}

const fn post(path: &'static str, handler: fn() -> Route) -> Endpoint {
    Endpoint { methods: &[Method::POST], path, handler }
}

/// The routes behind the guard.
pub(super) const GUARDED: &[Endpoint] = &[
    get("/agents", || to(agents::list)),
    get("/agents/{agent}", || to(agents::get)),
    post("/agents/{agent}/runs", || to(runs::submit)),
    get("/runs", || to(runs::list)),
    get("/runs/counts", || to(runs::counts)),
    get("/runs/{run_id}", || to(runs::get)),
    post("/runs/{run_id}/cancel", || to(runs::cancel)),
    post("/runs/{run_id}/continue", || to(resume::resume)),
    post("/runs/{run_id}/resume", || to(resume::resume_failed)),
    stream("/runs/{run_id}/events", || to(events::follow)),
    get("/sessions/{session_id}", || to(sessions::get)),
    get("/sessions/{session_id}/runs", || to(runs::list_of_session)),
    #[cfg(feature = "prometheus")]
    get("/metrics", || to(super::metrics::serve)),
];

/// The routes that everybody may ask.
pub(super) const OPEN: &[Endpoint] = &[
    get("/healthz", || to(health::healthz)),
    get("/readyz", || to(health::readyz)),
    #[cfg(feature = "openapi")]
    get("/openapi.json", || to(super::openapi::serve)),
];

/// The page to look at: everybody may have it, as there is nothing in it before it has asked the routes behind the guard.
pub(super) const PAGE: &[Endpoint] = &[
    #[cfg(feature = "dashboard")]
    get("", || to(page::redirect)),
    #[cfg(feature = "dashboard")]
    get("/", || to(page::index)),
    #[cfg(feature = "dashboard")]
    get("/page/{file}", || to(page::asset)),
];

/// Adds all routes to `outer`, whose data has the door.
pub(super) fn mount(outer: Scope) -> Scope {
    let guarded = scope("").configure(|config| register(GUARDED, config)).default_service(to(unknown_path));
    outer
        .configure(|config| register(OPEN, config))
        .configure(|config| register(PAGE, config))
        .service(guarded.wrap(from_fn(guard::admit)))
}

fn register(endpoints: &'static [Endpoint], config: &mut ServiceConfig) {
    let mut paths: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.path).collect();
    paths.dedup();
    for path in paths {
        config.service(resource_of(path, endpoints.iter().filter(|endpoint| endpoint.path == path)));
    }
}

fn resource_of(path: &str, endpoints: impl Iterator<Item = &'static Endpoint>) -> Resource {
    let mut methods = Vec::new();
    let mut at_path = resource(path);
    for endpoint in endpoints {
        for method in endpoint.methods {
            at_path = at_path.route((endpoint.handler)().method(method.clone()));
            methods.push(method.clone());
        }
    }
    at_path.default_service(to(move |request: HttpRequest| {
        let refusal = method_not_allowed(&request, methods.clone());
        async move { refusal }
    }))
}

fn method_not_allowed(request: &HttpRequest, allowed: Vec<Method>) -> HttpResponse {
    let problem = Problem::new(Kind::MethodNotAllowed, format!("{} is not allowed here", request.method()));
    let mut response = actix_web::ResponseError::error_response(&problem);
    if let Ok((name, value)) = actix_web::http::header::TryIntoHeaderPair::try_into_pair(Allow(allowed)) {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn unknown_path(request: HttpRequest) -> Problem {
    Problem::new(Kind::NotFound, format!("there is nothing at {}", request.path()))
}
