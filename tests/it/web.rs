//! The HTTP door, by real clients of a real server.

use std::net::{SocketAddr, TcpListener};
use std::sync::LazyLock;

use actix_web::dev::ServerHandle;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};
use greenroom::web::{Door, scope};
use greenroom::{NewRun, RunHandle, RunId, Runtime};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use self::document::Document;
use crate::support::{LONG, soon};

mod cancels;
mod document;
mod ends;
mod errors;
mod events;
mod example;
mod fuzz;
mod lists;
mod metrics;
mod mounts;
mod page;
mod processes;
mod readers;
mod storms;
mod submits;
mod webhooks;

/// A server on a port of its own, which ends with the test.
pub(crate) struct Service {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Service {
    /// Serves what `configure` says.
    pub(crate) fn start(configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = HttpServer::new(move || App::new().configure(configure.clone()))
            .workers(1)
            .h1_allow_half_closed(false)
            // A client may take as long as a busy machine needs.
            .client_request_timeout(LONG)
            .disable_signals()
            .listen(listener)
            .unwrap()
            .run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { address, handle }
    }

    /// Serves the routes over `runtime`, under `/api`.
    pub(crate) fn of(runtime: &Runtime) -> Self {
        let runtime = runtime.clone();
        Self::start(move |app| {
            app.service(scope("/api", runtime.clone()));
        })
    }

    /// Serves the routes of `door`, under `/api`.
    pub(crate) fn behind(door: Door) -> Self {
        Self::start(move |app| {
            app.service(door.scope("/api"));
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request to a path under `/api`.
    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        static CLIENT: LazyLock<Client> =
            LazyLock::new(|| Client::builder().pool_max_idle_per_host(0).build().unwrap());
        CLIENT.request(method, self.url(&format!("/api{path}")))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.ask(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.ask(Method::POST, path).json(body)).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The command is sent by the call; nobody waits for its answer.
        drop(self.handle.stop(false));
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The answer to a request, which has to be one that the document knows of.
    pub(crate) async fn to(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, url) = (request.method().clone(), request.url().clone());
        let answer = Self::read(soon(client.execute(request)).await.unwrap()).await;
        if let Some(path) = url.path().strip_prefix("/api") {
            let document = Document::at(url.join("/api").unwrap().as_str()).await;
            document.check(&method, path, answer.status.as_u16(), answer.header("content-type"), &answer.body);
        }
        answer
    }

    pub(crate) async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = soon(response.bytes()).await.unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn run_id(&self) -> RunId {
        self.body["run_id"].as_str().unwrap().parse().unwrap()
    }

    /// Checks that this is a problem of this kind, and nothing else of it than all problems have.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.body["type"], format!("urn:greenroom:problem:{kind}"), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert!(!self.body["title"].as_str().unwrap().is_empty() && !self.body["detail"].as_str().unwrap().is_empty());
        let retryable = matches!(status, 429 | 503);
        assert_eq!(self.headers.contains_key("retry-after"), retryable, "{self:?}");
    }
}

pub(crate) async fn submitted(runtime: &Runtime, run: NewRun) -> RunHandle {
    runtime.submit(run).await.unwrap()
}
