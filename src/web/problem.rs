//! Refusals, as [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) has them. The one place that knows status codes.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use super::body::ProblemBody;
use crate::error::Error;
use crate::run::{InvalidRun, RunId};
use crate::runtime::StoreError;

/// The kinds of refusal; each has a type of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    MalformedJson,
    InvalidParameter,
    Unauthorized,
    CrossSite,
    NotFound,
    UnknownAgent,
    UnknownRun,
    MethodNotAllowed,
    Conflict,
    SessionBusy,
    NotPaused,
    NotFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidField,
    KeyReused,
    Full,
    Overloaded,
    TooManyIntents,
    Internal,
    Unavailable,
    ShuttingDown,
    NotReady,
}

impl Kind {
    /// The last part of the type, the title, and the status.
    pub(super) const fn row(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::MalformedJson => ("malformed-json", "The body is no JSON", StatusCode::BAD_REQUEST),
            Self::InvalidParameter => ("invalid-parameter", "A parameter cannot be read", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("unauthorized", "The caller is not known", StatusCode::UNAUTHORIZED),
            Self::CrossSite => ("cross-site", "Another site asks for a change", StatusCode::FORBIDDEN),
            Self::NotFound => ("not-found", "There is no such path", StatusCode::NOT_FOUND),
            Self::UnknownAgent => ("unknown-agent", "There is no such agent", StatusCode::NOT_FOUND),
            Self::UnknownRun => ("unknown-run", "There is no such run", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => {
                ("method-not-allowed", "The path does not have this method", StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::Conflict => ("conflict", "Another run has this id", StatusCode::CONFLICT),
            Self::SessionBusy => ("session-busy", "Another run of the session has not settled", StatusCode::CONFLICT),
            Self::NotPaused => ("not-paused", "The run does not wait for people", StatusCode::CONFLICT),
            Self::NotFailed => ("not-failed", "The run has not failed", StatusCode::CONFLICT),
            // As the draft of the header's standard wants it, section 2.7.
            Self::KeyReused => {
                ("idempotency-key-reused", "The key belongs to another request", StatusCode::UNPROCESSABLE_ENTITY)
            }
            Self::BodyTooLarge => ("body-too-large", "The body is too large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", "The body is not JSON", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::InvalidField => ("invalid-field", "A field is not as it should be", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Full => ("full", "There is no room for another run", StatusCode::TOO_MANY_REQUESTS),
            Self::Overloaded => ("overloaded", "There is no room for another call", StatusCode::TOO_MANY_REQUESTS),
            Self::TooManyIntents => {
                ("too-many-intents", "There is no room for another intent", StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Internal => ("internal", "Something is broken here", StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unavailable => ("unavailable", "The database does not answer", StatusCode::SERVICE_UNAVAILABLE),
            Self::ShuttingDown => ("shutting-down", "The service is shutting down", StatusCode::SERVICE_UNAVAILABLE),
            Self::NotReady => ("not-ready", "The service cannot do its work", StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// In how many seconds asking again may help.
    const fn retry_after(self) -> Option<u32> {
        match self {
            Self::Full | Self::Overloaded | Self::TooManyIntents | Self::Unavailable | Self::NotReady => Some(1),
            // Time for another process to take over from this one.
            Self::ShuttingDown => Some(5),
            Self::MalformedJson
            | Self::InvalidParameter
            | Self::Unauthorized
            | Self::CrossSite
            | Self::NotFound
            | Self::UnknownAgent
            | Self::UnknownRun
            | Self::MethodNotAllowed
            | Self::Conflict
            | Self::SessionBusy
            | Self::NotPaused
            | Self::NotFailed
            | Self::BodyTooLarge
            | Self::UnsupportedMediaType
            | Self::InvalidField
            | Self::KeyReused
            | Self::Internal => None,
        }
    }
}

/// Why a request was refused.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    body: Box<ProblemBody>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (name, title, status) = kind.row();
        let body = ProblemBody {
            r#type: format!("urn:greenroom:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            parameter: None,
            agent: None,
            run_id: None,
        };
        Self { kind, body: Box::new(body) }
    }

    /// A field of the body that is not as it should be.
    pub(super) fn field(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        let field = field.into();
        let mut refusal = Self::new(Kind::InvalidField, format!("`{field}` {problem}"));
        refusal.body.field = Some(field);
        refusal
    }

    /// A part of the path, a query parameter or a header that cannot be read.
    pub(super) fn parameter(parameter: impl Into<String>, problem: impl fmt::Display) -> Self {
        let parameter = parameter.into();
        let mut refusal = Self::new(Kind::InvalidParameter, format!("`{parameter}` {problem}"));
        refusal.body.parameter = Some(parameter);
        refusal
    }

    pub(super) fn cross_site() -> Self {
        Self::new(Kind::CrossSite, "a browser asks for a change on behalf of another site")
    }

    pub(super) fn unknown_agent(agent: String) -> Self {
        let mut refusal = Self::new(Kind::UnknownAgent, format!("agent `{agent}` does not exist"));
        refusal.body.agent = Some(agent);
        refusal
    }

    pub(super) fn unknown_run(run_id: RunId) -> Self {
        Self::new(Kind::UnknownRun, format!("run {run_id} does not exist")).about(run_id)
    }

    fn about(mut self, run_id: RunId) -> Self {
        self.body.run_id = Some(run_id);
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) => invalid.into(),
            Error::UnknownAgent(agent) => Self::unknown_agent(agent),
            Error::NotFound(run_id) => Self::unknown_run(run_id),
            Error::Conflict(run_id) => Self::new(Kind::Conflict, error.to_string()).about(run_id),
            Error::KeyConflict(run_id) => Self::new(Kind::KeyReused, error.to_string()).about(run_id),
            Error::SessionBusy(run_id) => Self::new(Kind::SessionBusy, error.to_string()).about(run_id),
            Error::NotPaused { run_id, .. } => Self::new(Kind::NotPaused, error.to_string()).about(run_id),
            Error::NotFailed { run_id, .. } => Self::new(Kind::NotFailed, error.to_string()).about(run_id),
            Error::Full(_) => Self::new(Kind::Full, error.to_string()),
            Error::Overloaded(_) => Self::new(Kind::Overloaded, error.to_string()),
            Error::TooManyIntents(run_id) => Self::new(Kind::TooManyIntents, error.to_string()).about(run_id),
            Error::ShuttingDown => Self::new(Kind::ShuttingDown, error.to_string()),
            Error::Unconfirmed { run_id, .. } => {
                let detail = format!("run {run_id} may not have been accepted, submit it again with this id");
                Self::new(Kind::Unavailable, detail).about(run_id)
            }
            Error::Store(error) => error.into(),
            Error::InvalidAgent(_)
            | Error::AgentTwice(_)
            | Error::Option { .. }
            | Error::NoStore
            | Error::Threads(_) => internal(&error),
        }
    }
}

impl From<InvalidRun> for Problem {
    fn from(invalid: InvalidRun) -> Self {
        Self::field(invalid.field(), invalid.problem())
    }
}

/// What the store says is for its operators, not for those who ask.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::new(Kind::Unavailable, "the database did not answer in time"),
            StoreError::Closed => Self::new(Kind::ShuttingDown, "runtime is shutting down"),
            StoreError::Data(_)
            | StoreError::InUse(_)
            | StoreError::Option { .. }
            | StoreError::Migration(_)
            | StoreError::Corrupt(_) => internal(&error),
        }
    }
}

fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a request could not be answered");
    Problem::new(Kind::Internal, "the request could not be answered; the service's log says why")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.row().2
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.kind.retry_after() {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if self.kind == Kind::Unauthorized {
            response.insert_header((WWW_AUTHENTICATE, r#"Bearer realm="greenroom""#));
        }
        response.insert_header(("content-type", "application/problem+json")).json(&self.body)
    }
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &actix_web::HttpRequest) -> HttpResponse {
        self.error_response()
    }
}
