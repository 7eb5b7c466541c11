//! How a handler gets at the runtime: only as the caller of its request may use it.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use super::door::Door;
use super::problem::{Kind, Problem};
use crate::runtime::Runtime;

/// The runtime, as the caller of a request may use it.
pub(super) struct Access {
    pub(super) runtime: Runtime,
    pub(super) door: Data<Door>,
}

impl FromRequest for Access {
    type Error = actix_web::Error;
    type Future = Ready<actix_web::Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(door(request).and_then(|door| Ok(Self { runtime: door.runtime_for(request)?, door })))
    }
}

/// The door of the scope that a request came to.
fn door(request: &HttpRequest) -> actix_web::Result<Data<Door>> {
    let missing = || Problem::new(Kind::Internal, "the scope has no door").into();
    request.app_data::<Data<Door>>().cloned().ok_or_else(missing)
}
