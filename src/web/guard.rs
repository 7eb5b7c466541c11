//! What a request has to pass before anything looks at it.

use std::fmt;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpRequest, ResponseError};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::door::Door;
use super::problem::{Kind, Problem};
use super::site;

/// Lets a request in, or refuses it.
pub(super) async fn admit<B: MessageBody>(
    door: Data<Door>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<EitherBody<B>>> {
    let mut response = match refusal(&door, request.request()) {
        Some(problem) => request.into_response(problem.error_response()).map_into_right_body(),
        None => next.call(request).await?.map_into_left_body(),
    };
    let headers = response.headers_mut();
    // A poll that is answered from a cache tells yesterday's status.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn refusal(door: &Door, request: &HttpRequest) -> Option<Problem> {
    if !door.tokens().admit(request) {
        return Some(Problem::new(Kind::Unauthorized, "a bearer token is needed, and has to be right"));
    }
    if !request.method().is_safe() && site::is_foreign(request, door.origins()) {
        return Some(Problem::cross_site());
    }
    None
}

/// The digests of the tokens that open a door; without any, it is open.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    digests: Vec<[u8; 32]>,
    /// There is a token, though it may be an empty one, which opens nothing.
    asked: bool,
}

impl Tokens {
    pub(super) fn add(&mut self, token: &SecretString) {
        self.asked = true;
        if !token.expose_secret().is_empty() {
            self.digests.push(Sha256::digest(token.expose_secret()).into());
        }
    }

    /// Whether a token is asked for.
    #[cfg(feature = "openapi")]
    pub(super) const fn are_asked(&self) -> bool {
        self.asked
    }

    pub(super) fn admit(&self, request: &HttpRequest) -> bool {
        !self.asked || token_of(request).is_some_and(|token| self.know(token))
    }

    /// Digests have one length, and all of them are compared as a whole: the time tells nothing of a token.
    fn know(&self, token: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.digests.iter().fold(Choice::from(0), |known, one| known | one.ct_eq(&digest)).into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.digests.len())
    }
}

/// The token of `Authorization: Bearer`.
fn token_of(request: &HttpRequest) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}
