//! What the process has recorded, for Prometheus.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Data;

use super::door::Door;
use super::problem::{Kind, Problem};

/// The text format of Prometheus.
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn serve(door: Data<Door>) -> Result<HttpResponse, Problem> {
    let none = || Problem::new(Kind::NotFound, "this door tells no metrics");
    let metrics = door.told_metrics().ok_or_else(none)?;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, TEXT)).body(metrics.render()))
}
