//! What a scope is made of: the runtime, who may use it, and the limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, Scope};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::guard::Tokens;
use super::problem::{Kind, Problem};
use super::routes;
use crate::run::UserId;
use crate::runtime::Runtime;
#[cfg(feature = "prometheus")]
use crate::telemetry::Prometheus;

/// How many bytes of bodies may be read at the same time, all requests together.
const BODY_ROOM: usize = 256 * 1024 * 1024;

type UserOf = dyn Fn(&HttpRequest) -> Result<Option<UserId>, actix_web::Error> + Send + Sync;

/// The HTTP door to a runtime: who may use it, and how. Make it once and call [`scope`](Self::scope) in the app's factory.
///
/// ```
/// use actix_web::{App, HttpMessage, error::ErrorUnauthorized};
/// use greenroom::{Runtime, UserId, web::Door};
///
/// /// Put there by the service's own authentication.
/// #[derive(Clone)]
/// struct Account(String);
///
/// fn app(runtime: Runtime) {
///     let door = Door::new(runtime).user(|request| {
///         let account = request.extensions().get::<Account>().cloned();
///         Ok::<_, actix_web::Error>(account.map(|account| UserId::from(account.0)))
///     });
///     App::new().service(door.scope("/greenroom"));
/// }
/// ```
#[derive(Clone)]
#[must_use = "a door is of use where its scope is mounted"]
pub struct Door {
    runtime: Runtime,
    user: Option<Arc<UserOf>>,
    tokens: Tokens,
    origins: Vec<String>,
    max_body: usize,
    max_wait: Duration,
    #[cfg(feature = "prometheus")]
    metrics: Option<Prometheus>,
    body_room: Arc<Semaphore>,
}

impl Door {
    /// A door that is open to everybody who can connect.
    pub fn new(runtime: Runtime) -> Self {
        let max_body = runtime.max_input().saturating_mul(4);
        Self {
            runtime,
            user: None,
            tokens: Tokens::default(),
            origins: Vec::new(),
            max_body,
            max_wait: Duration::from_secs(60),
            #[cfg(feature = "prometheus")]
            metrics: None,
            body_room: Arc::new(Semaphore::new(BODY_ROOM)),
        }
    }

    /// Whose request it is. Each caller then sees and touches their own runs only, by every route: a run of anybody else is
    /// answered as one that does not exist, and runs are submitted as the caller's own.
    ///
    /// `None` is a caller who is nobody, and is refused with 401; an error is answered as it is. There is no user who sees
    /// everything: for operators, mount another scope behind a guard of theirs. The hook runs on the thread that serves
    /// requests and must not block it: authentication that takes time belongs into a middleware, which leaves in the
    /// request's extensions what the hook picks up.
    pub fn user<F, E>(mut self, user: F) -> Self
    where
        F: Fn(&HttpRequest) -> Result<Option<UserId>, E> + Send + Sync + 'static,
        E: Into<actix_web::Error>,
    {
        self.user = Some(Arc::new(move |request| user(request).map_err(Into::into)));
        self
    }

    /// Asks for `Authorization: Bearer` with this token, at every route but `/healthz`, `/readyz`, `/openapi.json`, and those of
    /// the page of the feature `dashboard`, the root of the scope and `/page/{file}`, which hold no run. Called several times, any
    /// of the tokens will do, so that one can be replaced by another. Only a digest of it is kept, and the comparison takes the
    /// same time wherever two tokens differ. An empty token admits nobody.
    ///
    /// Whoever has the token sees everything, unless there is a [user hook](Self::user) as well.
    pub fn bearer_token(mut self, token: impl Into<SecretString>) -> Self {
        self.tokens.add(&token.into());
        self
    }

    /// Lets pages of this origin, such as `https://app.example`, ask for changes, though it is another site. A browser also
    /// wants to be told so by headers, which are the business of a CORS middleware.
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// The largest body of a request, in bytes; four times the runtime's [`max_input`](crate::RuntimeBuilder::max_input)
    /// when left out: an input and metadata, each twice as long in JSON. All bodies that are being read may have 256 MiB
    /// together; past that, requests are refused with 429.
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The longest that a request waits for a run to settle; 60 s when left out. Who asks for more gets this.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Tells what the process has recorded at `/metrics`, to whoever has the [token](Self::bearer_token), or to everybody where
    /// there is none; when left out, that is a 404.
    ///
    /// The numbers are those of all users together, so a door with a [user hook](Self::user) tells nobody: for operators, mount
    /// another scope behind a guard of theirs. [The metrics](https://docs.rs/crate/greenroom/latest/source/docs/metrics.md) are
    /// those of this crate, and whatever else speaks to the recorder of the process.
    #[cfg(feature = "prometheus")]
    pub fn metrics(mut self, metrics: Prometheus) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The routes, under `path`, to be given to [`App::service`](actix_web::App::service). What comes under `path` and is no
    /// route is answered by 404, so give other services to the app first when `path` is empty.
    ///
    /// # Panics
    ///
    /// When actix-web cannot parse `path` as a pattern.
    #[must_use = "a scope is of use in an app"]
    pub fn scope(&self, path: &str) -> Scope {
        routes::mount(actix_web::web::scope(path).app_data(Data::new(self.clone())))
    }

    /// The runtime, as the caller of this request may use it.
    pub(super) fn runtime_for(&self, request: &HttpRequest) -> actix_web::Result<Runtime> {
        let Some(user) = &self.user else { return Ok(self.runtime.clone()) };
        let nobody = || Problem::new(Kind::Unauthorized, "the caller is not known");
        Ok(self.runtime.scoped(user(request)?.ok_or_else(nobody)?))
    }

    /// The runtime, of which only its own condition may be told.
    pub(super) const fn runtime_for_anybody(&self) -> &Runtime {
        &self.runtime
    }

    /// What is told at `/metrics`, if anything is.
    #[cfg(feature = "prometheus")]
    pub(super) fn told_metrics(&self) -> Option<&Prometheus> {
        self.metrics.as_ref().filter(|_| self.user.is_none())
    }

    pub(super) const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(super) fn origins(&self) -> &[String] {
        &self.origins
    }

    pub(super) const fn body_limit(&self) -> usize {
        self.max_body
    }

    pub(super) const fn body_room(&self) -> &Arc<Semaphore> {
        &self.body_room
    }

    /// How long to wait when a caller asks for `seconds`.
    pub(super) fn wait(&self, seconds: u32) -> Duration {
        self.max_wait.min(Duration::from_secs(seconds.into()))
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("runtime", &self.runtime)
            .field("user", &self.user.is_some())
            .field("tokens", &self.tokens)
            .field("origins", &self.origins)
            .field("max_body", &self.max_body)
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}
