//! Whether the process is alive, and whether it can do its work.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;

use super::body::HealthBody;
use super::door::Door;
use super::problem::{Kind, Problem};

pub(super) async fn healthz() -> HttpResponse {
    fine()
}

pub(super) async fn readyz(door: Data<Door>) -> Result<HttpResponse, Problem> {
    let ready = door.runtime_for_anybody().readiness().await;
    if ready.is_ready() {
        return Ok(fine());
    }
    let reasons = [
        (!ready.store, "the database does not answer"),
        (!ready.lease, "this process has no lease"),
        (ready.draining, "the runtime is shutting down"),
    ];
    let reasons: Vec<&str> = reasons.iter().filter(|(holds, _)| *holds).map(|(_, reason)| *reason).collect();
    Err(Problem::new(Kind::NotReady, reasons.join("; ")))
}

fn fine() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(HealthBody { status: "ok" })
}
