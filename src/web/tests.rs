//! Who gets through the door, at every route that there is.

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpRequest};
use serde_json::{Value, json};

use super::Door;
use super::routes::{Endpoint, GUARDED, OPEN};
use crate::agent::{Agent, RunContext};
use crate::run::{NewRun, Run, RunId, RunStatus, UserId};
use crate::runtime::Runtime;
use crate::store::Store;

#[cfg(feature = "openapi")]
mod documents;
mod sites;
mod users;

async fn runtime() -> Runtime {
    let endless = Agent::builder("endless").code(|_: RunContext| std::future::pending::<Result<(), _>>());
    let builder = Runtime::builder().store(Store::sqlite_in_memory()).agent(endless);
    builder.start().await.unwrap()
}

/// The user that a header names, as a service's own authentication would.
fn user_of(request: &HttpRequest) -> Result<Option<UserId>, actix_web::Error> {
    let named = request.headers().get("x-user").map(|value| value.to_str().unwrap());
    match named {
        Some("broken") => Err(actix_web::error::ErrorBadGateway("who knows")),
        named => Ok(named.map(UserId::from)),
    }
}

/// What was answered, as far as it was read: a stream is not.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Value,
}

impl Answer {
    async fn to(door: &Door, request: TestRequest) -> Self {
        let app = init_service(App::new().service(door.scope("/api"))).await;
        read(call_service(&app, request.to_request()).await).await
    }

    fn kind(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:greenroom:problem:")).unwrap_or_default()
    }
}

async fn read<B: MessageBody>(response: ServiceResponse<B>) -> Answer {
    let status = response.status().as_u16();
    let names = |headers: &HeaderMap| headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    let mut headers = names(response.headers());
    headers.sort();
    let streams = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let body = if streams {
        json!("a stream")
    } else {
        let bytes = actix_web::body::to_bytes(response.into_body()).await.ok().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    };
    Answer { status, headers, body }
}

/// Every route with each of its methods.
fn each(endpoints: &'static [Endpoint]) -> impl Iterator<Item = (Method, &'static str)> {
    endpoints.iter().flat_map(|endpoint| endpoint.methods.iter().map(|method| (method.clone(), endpoint.path)))
}

/// A request to the route, about this run and the session of the same name.
fn request(method: &Method, path: &str, run_id: RunId) -> TestRequest {
    let id = run_id.to_string();
    let path = path.replace("{agent}", "endless").replace("{run_id}", &id).replace("{session_id}", &id);
    let request = TestRequest::default().method(method.clone()).uri(&format!("/api{path}"));
    if path.ends_with("/runs") && *method == Method::POST {
        request.set_json(json!({"input": "a secret", "run_id": run_id, "session_id": id}))
    } else if path.ends_with("/continue") {
        request.set_json(json!({"decisions": []}))
    } else {
        request
    }
}

#[tokio::test]
async fn a_token_opens_every_route_and_nothing_else_does() {
    let open = Door::new(runtime().await);
    let door = open.clone().bearer_token("old secret".to_owned()).bearer_token("new secret".to_owned());
    for (method, path) in each(GUARDED) {
        let ask = |authorization: Option<&str>| {
            let request = request(&method, path, RunId::new());
            match authorization {
                Some(value) => request.insert_header((AUTHORIZATION, value)),
                None => request,
            }
        };
        for wrong in
            [None, Some("Bearer"), Some("Bearer "), Some("Bearer old"), Some("Basic old secret"), Some("old secret")]
        {
            let answer = Answer::to(&door, ask(wrong)).await;
            assert_eq!((answer.status, answer.kind()), (401, "unauthorized"), "{method} {path}: {wrong:?}");
            assert!(answer.headers.contains(&WWW_AUTHENTICATE.to_string()));
        }
        for right in ["Bearer old secret", "bearer new secret", "BEARER  new secret "] {
            let answer = Answer::to(&door, ask(Some(right))).await;
            assert_ne!(answer.status, 401, "{method} {path}");
            assert_ne!(Answer::to(&open, ask(None)).await.status, 401, "{method} {path}");
        }
    }
    for path in ["/api/nothing", "/api/runs/nothing/more"] {
        assert_eq!(Answer::to(&door, TestRequest::get().uri(path)).await.status, 401, "what is not there is not told");
    }
    for (method, path) in each(OPEN) {
        assert_eq!(Answer::to(&door, request(&method, path, RunId::new())).await.status, 200, "{method} {path}");
    }
    assert!(!format!("{door:?}").contains("secret"));
}

#[tokio::test]
async fn an_empty_token_opens_nothing() {
    let door = Door::new(runtime().await).bearer_token(String::new());
    for value in ["Bearer", "Bearer ", "Bearer  ", "Bearer x"] {
        let request = TestRequest::get().uri("/api/agents").insert_header((AUTHORIZATION, value));
        assert_eq!(Answer::to(&door, request).await.status, 401, "{value:?}");
    }
    assert_eq!(Answer::to(&door, TestRequest::get().uri("/api/agents")).await.status, 401);
}
