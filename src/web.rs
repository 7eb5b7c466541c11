//! The HTTP door: an [actix-web](https://docs.rs/actix-web/4) scope over a [`Runtime`].
//!
//! ```no_run
//! use actix_web::{App, HttpServer};
//! use greenroom::{Agent, Runtime, ScriptedModel, Store, web};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder("echo").model(ScriptedModel::echo());
//! let runtime = Runtime::builder().store(Store::sqlite_in_memory()).agent(agent).start().await?;
//! HttpServer::new(move || App::new().service(web::scope("/greenroom", runtime.clone())))
//!     .bind("127.0.0.1:8080")?
//!     .run()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! The scope stands beside the service's own routes and under its own middleware, and several can stand in one app. Who may
//! do what, and which limits hold, is said by a [`Door`]; [`scope`] is one with nothing but its defaults, which **asks
//! nobody who they are**: bind it to loopback, put it behind your own authentication, or give the door a
//! [token](Door::bearer_token) or a [user hook](Door::user).
//!
//! # Routes
//!
//! Relative to the path of the scope. Bodies are JSON in UTF-8, times RFC 3339, durations seconds. Fields and parameters
//! that are not known are refused by their name.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /agents` | the agents |
//! | `GET /agents/{agent}` | one agent |
//! | `POST /agents/{agent}/runs` | submits a run: 202, `Location`, and the run |
//! | `GET /runs` | a page of runs, newest first |
//! | `GET /runs/counts` | how many runs there are of each status |
//! | `GET /sessions/{session_id}` | what the runs of a session keep together |
//! | `GET /sessions/{session_id}/runs` | a page of its runs |
//! | `GET /runs/{run_id}` | a run |
//! | `GET /runs/{run_id}/events` | its events, as they happen |
//! | `POST /runs/{run_id}/cancel` | cancels it |
//! | `POST /runs/{run_id}/continue` | decides what a paused run waits for: 202, and the run |
//! | `POST /runs/{run_id}/resume` | resumes a failed run by a new one: 202, `Location`, and the new run |
//! | `GET /metrics` | what the process has recorded, for Prometheus, where the door has [metrics](Door::metrics) (feature `prometheus`) |
//! | `GET /`, `GET /page/{file}` | a [page to look at](#a-page-to-look-at), with the feature `dashboard`; open to everybody |
//! | `GET /healthz` | 200 while the process is alive; open to everybody |
//! | `GET /readyz` | 200 while the runtime accepts and takes up runs, else 503; open to everybody |
//! | `GET /openapi.json` | all of this as an OpenAPI 3.1 document (feature `openapi`); open to everybody, but it names the agents only to those who may ask for them |
//!
//! **Submit.** The body has `input` (a text or any JSON) and, if wanted, `session_id`, `run_id`, `user_id`, `metadata`,
//! `priority`, `run_at`, `timeout` and `webhook`, as [`NewRun`](crate::NewRun) has them. The answer comes when the run is durable.
//! With `Prefer: wait=N` it comes when the run has settled, and is 200 then, but after `N` seconds at the latest; a run that was accepted and
//! cannot be waited for is answered at once.
//! `Idempotency-Key` makes a submit that can be repeated, and so does a `run_id` of the caller's own.
//!
//! **Get.** `?wait=N` waits up to `N` seconds for the run to settle. `?session_id=` finds the run only in that session.
//!
//! **Lists.** `?session_id=`, `user_id`, `agent`, `parent_run_id`, `status`, `created_from` and `created_until` choose, all
//! together; `limit` is 50 unless told otherwise, and at most 100. A page that is not the last has `next`: `?after=` that is the
//! next page.
//! Inputs and contents are left out of lists, unless `?include=` names `input`, `content`, or both with a comma.
//!
//! **Sessions.** `state` is left out, and `version` 0, while no run has ever changed it. `?user_id=` says whose session it is,
//! where the door has no user hook that does.
//!
//! **Counts.** `counts` has a number for each status: of all runs that have not settled, up to 10,000, and of those that have
//! settled among the newest 10,000. It costs the same however many runs are kept.
//!
//! **Cancel.** The body is empty or `{}`. `outcome` is `cancelled`; `requested` when another process has the run;
//! `already_settled`; or `intent_stored` when there is no such run, and one that comes with this id will not start. What has
//! yet to happen is answered by 202.
//!
//! **Continue.** A `PAUSED` run has `requirements`, and the body of a continue has `decisions`, one for each of them: its
//! `requirement_id`, and either `confirmed` (`true` or `false`) with a `note` if wanted, or the `value` that answers it.
//! `Prefer: wait=N` is as for a submit. Of two people who decide at the same time one is answered `not-paused`.
//!
//! **Resume.** The body is empty or `{}`. The run stays as it is, and the new one begins with its steps. However often it is asked
//! for, it is one new run. `Prefer: wait=N` is as for a submit.
//!
//! **Events** are an [event stream](https://html.spec.whatwg.org/multipage/server-sent-events.html): `id` is the event's
//! seq, and `data` the [event](crate::RunEvent) as one line of JSON. `Last-Event-ID`, or `?after=`, is the seq after which to
//! go on. The stream closes after the last event of the run; 204 says that there is nothing after that seq and never will
//! be, on which an `EventSource` gives up. A comment comes every 15 s, so that nobody between takes the line for dead. A
//! reader that is slow, or gone, slows nobody down. With `?cancel_on_disconnect=true` the run is cancelled a second
//! after the reader has gone before its end, unless the runtime is being shut down by then: it was the server that went. As
//! long as nothing is said, actix-web notices at the second comment that a reader has gone, or at once with
//! [`h1_allow_half_closed(false)`](actix_web::HttpServer::h1_allow_half_closed).
//!
//! # A page to look at
//!
//! With the feature `dashboard`, each scope has a page under its path: how many runs there are, lists of them, a run with its
//! output as it grows, a button that cancels it, and a form for a new one. It is made of a few files within the crate, loads
//! nothing from elsewhere, and comes with a content security policy that allows nothing else. There is no run in these files,
//! so they are open to everybody; what the page shows it asks of the routes above, which answer it as they answer anybody: by
//! the [user hook](Door::user), and where there is a [token](Door::bearer_token), the page asks for it and keeps it in memory,
//! until the tab is closed or loaded anew.
//!
//! # Errors
//!
//! Every refusal is a [problem](https://www.rfc-editor.org/rfc/rfc9457) of type `urn:greenroom:problem:…`, with `detail` for
//! people, and beside it the `field`, `parameter`, `agent` or `run_id` that is meant.
//!
//! | type | status | |
//! |---|---|---|
//! | `malformed-json` | 400 | the body is no JSON |
//! | `invalid-parameter` | 400 | a part of the path, a query parameter or a header cannot be read, or is not known |
//! | `unauthorized` | 401 | the token is missing or wrong, or the user hook knows nobody |
//! | `cross-site` | 403 | a browser asks on behalf of another site |
//! | `not-found`, `unknown-agent`, `unknown-run` | 404 | |
//! | `method-not-allowed` | 405 | `Allow` says which are |
//! | `conflict` | 409 | another run has this id |
//! | `session-busy` | 409 | the agent refuses a second run of the session while `run_id` has not settled |
//! | `not-paused` | 409 | the run does not wait for people, or not any more |
//! | `not-failed` | 409 | the run has not failed, so there is nothing to resume |
//! | `body-too-large` | 413 | |
//! | `unsupported-media-type` | 415 | the body is not said to be JSON |
//! | `invalid-field` | 422 | a field is missing, unknown, of another type, or impossible |
//! | `idempotency-key-reused` | 422 | the key belongs to `run_id`, which was asked for something else or has another id |
//! | `full`, `overloaded`, `too-many-intents` | 429 | no room just now; `Retry-After` |
//! | `internal` | 500 | |
//! | `unavailable` | 503 | the database does not answer; `Retry-After`. With a `run_id`: submit the same again with it |
//! | `shutting-down` | 503 | another process may take it; `Retry-After` |
//! | `not-ready` | 503 | only at `/readyz`; `Retry-After` |
//!
//! # Other sites
//!
//! A request that changes something, at once or when its reader goes, is refused when a browser sends it on behalf of another
//! site: by `Sec-Fetch-Site` where the browser sends it, else when `Origin` names another host than `Host`
//! ([the reasons](https://words.filippo.io/csrf/)). What is not a browser sends neither and is not concerned.

use actix_web::Scope;

use crate::runtime::Runtime;

pub use self::door::Door;

mod access;
mod agents;
mod body;
mod decode;
mod door;
mod events;
mod guard;
mod header;
mod health;
#[cfg(feature = "prometheus")]
mod metrics;
#[cfg(feature = "openapi")]
mod openapi;
#[cfg(feature = "dashboard")]
mod page;
mod parameters;
mod problem;
mod resume;
mod routes;
mod runs;
mod sessions;
mod site;
mod sse;
#[cfg(test)]
mod tests;

/// The routes over `runtime`, under `path`, as a [`Door`] with nothing but its defaults has them: open to everybody who can
/// connect.
///
/// # Panics
///
/// As [`Door::scope`].
#[must_use = "a scope is of use in an app"]
pub fn scope(path: &str, runtime: Runtime) -> Scope {
    Door::new(runtime).scope(path)
}
