//! Reads what a request brings, and says what is wrong with it by its name.

use std::fmt;
use std::str::FromStr;

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{BytesMut, Path, Payload};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use tokio::sync::OwnedSemaphorePermit;

use super::door::Door;
use super::problem::{Kind, Problem};
use crate::run::RunId;

/// The longest part of a request that is repeated in a refusal, in bytes.
const LONGEST_ECHO: usize = 200;

/// What the path names; empty where it has no such part. The path around the scope may have parts of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PathParts {
    pub(super) agent: String,
    pub(super) session_id: String,
    #[cfg(feature = "dashboard")]
    pub(super) file: String,
    run_id: String,
}

impl PathParts {
    pub(super) async fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let unreadable = |_| Problem::new(Kind::InvalidParameter, "the path cannot be read");
        Path::<Self>::extract(request).await.map(Path::into_inner).map_err(unreadable)
    }
}

/// The run that the path names.
pub(super) async fn run_id(request: &HttpRequest) -> Result<RunId, Problem> {
    let text = PathParts::of(request).await?.run_id;
    RunId::from_str(&text).map_err(|_| Problem::parameter("run_id", "must be a UUID"))
}

/// The parameters of the query.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(request.query_string().as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let (name, problem) = name_and_problem(&error, error.inner());
        Problem::parameter(name, problem)
    })
}

/// Refuses a query where there is nothing to choose.
pub(super) fn no_query(request: &HttpRequest) -> Result<(), Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    query(request).map(|Nothing {}| ())
}

/// The body as JSON.
pub(super) async fn json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    door: &Door,
) -> Result<T, Problem> {
    let body = Body::read(request, payload, door).await?;
    body.check_type(request)?;
    body.parse()
}

/// The body as JSON, `{}` when there is none.
pub(super) async fn json_or_nothing<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    door: &Door,
) -> Result<T, Problem> {
    let mut body = Body::read(request, payload, door).await?;
    if body.bytes.is_empty() {
        body.bytes.extend_from_slice(b"{}");
    } else {
        body.check_type(request)?;
    }
    body.parse()
}

/// A body, and its place among those that are being read.
struct Body {
    bytes: BytesMut,
    room: Vec<OwnedSemaphorePermit>,
}

impl Body {
    async fn read(request: &HttpRequest, mut payload: Payload, door: &Door) -> Result<Self, Problem> {
        let limit = door.body_limit();
        let too_large = || Problem::new(Kind::BodyTooLarge, format!("the body must be at most {limit} bytes"));
        let said = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if said.is_some_and(|length: usize| length > limit) {
            return Err(too_large());
        }
        let mut body = Self { bytes: BytesMut::new(), room: Vec::new() };
        while let Some(chunk) = payload.next().await {
            let cut_off = |_| Problem::new(Kind::MalformedJson, "the body ended before its end");
            let chunk = chunk.map_err(cut_off)?;
            if body.bytes.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.make_room(chunk.len(), door)?;
            body.bytes.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn make_room(&mut self, bytes: usize, door: &Door) -> Result<(), Problem> {
        let full = |_| Problem::new(Kind::Overloaded, "too many bodies are being read at the same time");
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = std::sync::Arc::clone(door.body_room()).try_acquire_many_owned(bytes).map_err(full)?;
        match self.room.first_mut() {
            Some(room) => room.merge(permit),
            None => self.room.push(permit),
        }
        Ok(())
    }

    /// A body of which nothing is said is taken for JSON: whether it is one, its reading tells.
    fn check_type(&self, request: &HttpRequest) -> Result<(), Problem> {
        let Some(said) = request.headers().get(CONTENT_TYPE) else { return Ok(()) };
        let media_type = said.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        if media_type == "application/json" || media_type.starts_with("application/") && media_type.ends_with("+json") {
            return Ok(());
        }
        Err(Problem::new(Kind::UnsupportedMediaType, "the content type must be application/json"))
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let malformed = |error: serde_json::Error| Problem::new(Kind::MalformedJson, error.to_string());
        if !self.bytes.trim_ascii_start().starts_with(b"{") {
            serde_json::from_slice::<IgnoredAny>(&self.bytes).map_err(malformed)?;
            return Err(Problem::new(Kind::InvalidField, "the body must be a JSON object"));
        }
        let mut from = serde_json::Deserializer::from_slice(&self.bytes);
        let value = serde_path_to_error::deserialize(&mut from).map_err(|error| match error.inner().classify() {
            Category::Data => {
                let (name, problem) = name_and_problem(&error, error.inner());
                Problem::field(name, problem)
            }
            Category::Io | Category::Syntax | Category::Eof => malformed(error.into_inner()),
        })?;
        from.end().map_err(malformed)?;
        Ok(value)
    }
}

/// Which field an error of serde is about, and what it has to be. What was found there is not repeated: it may be anything.
fn name_and_problem<E>(error: &serde_path_to_error::Error<E>, inner: &dyn fmt::Display) -> (String, String) {
    let said = inner.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    let path = error.path().to_string();
    let quoted = || within(&path, said.split('`').nth(1).unwrap_or_default());
    let (name, problem) = if said.starts_with("missing field") {
        (quoted(), "is missing".to_owned())
    } else if said.starts_with("unknown field") {
        (quoted(), "is not known".to_owned())
    } else if said.starts_with("duplicate field") {
        (quoted(), "is there twice".to_owned())
    } else {
        let problem = match said.rsplit_once(", expected ") {
            Some((_, expected)) => format!("must be {}", in_words(expected)),
            None if said.starts_with("must ") => said.to_owned(),
            None => format!("cannot be read: {said}"),
        };
        (path, problem)
    };
    (cut(name), cut(problem))
}

/// A field of what is at `path`, which may name that field already.
fn within(path: &str, field: &str) -> String {
    match path.rsplit_once('.') {
        Some((_, last)) if last == field => path.to_owned(),
        _ if path == "." || path == field => field.to_owned(),
        _ => format!("{path}.{field}"),
    }
}

/// What serde calls by Rust's names.
fn in_words(expected: &str) -> &str {
    match expected {
        "a map" => "an object",
        "i16" => "a whole number from -32768 to 32767",
        "f64" => "a number",
        other => other,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST_ECHO {
        let end = (0..=LONGEST_ECHO).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}
