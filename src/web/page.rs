//! The page to look at: a few files, embedded, in which there is no run and no name of anything.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EntityTag, Header, IfNoneMatch, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};

use super::decode::PathParts;
use super::problem::{Kind, Problem};

/// Nothing but the page's own files and routes, and no page of anybody else around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// What there is beside the page itself: under `page/`, the name, the type, and the text.
const FILES: [(&str, &str, &str); 13] = [
    ("icon.svg", IMAGE, include_str!("page/icon.svg")),
    ("page.css", CSS, include_str!("page/page.css")),
    ("page.js", SCRIPT, include_str!("page/page.js")),
    ("api.js", SCRIPT, include_str!("page/api.js")),
    ("dom.js", SCRIPT, include_str!("page/dom.js")),
    ("facts.js", SCRIPT, include_str!("page/facts.js")),
    ("follow.js", SCRIPT, include_str!("page/follow.js")),
    ("form.js", SCRIPT, include_str!("page/form.js")),
    ("log.js", SCRIPT, include_str!("page/log.js")),
    ("needs.js", SCRIPT, include_str!("page/needs.js")),
    ("new.js", SCRIPT, include_str!("page/new.js")),
    ("run.js", SCRIPT, include_str!("page/run.js")),
    ("runs.js", SCRIPT, include_str!("page/runs.js")),
];

const INDEX: &str = include_str!("page/index.html");

/// Of all files together, as they belong together.
static TAG: LazyLock<EntityTag> = LazyLock::new(|| {
    let texts = FILES.iter().map(|(_, _, text)| *text).chain([INDEX]);
    let digest = texts.fold(Sha256::new(), |digest, text| digest.chain_update(text)).finalize();
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    EntityTag::new_strong(digits)
});

pub(super) async fn index(request: HttpRequest) -> HttpResponse {
    answer(&request, HTML, INDEX)
}

pub(super) async fn asset(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked = PathParts::of(&request).await?.file;
    let found = FILES.iter().find(|(name, _, _)| *name == asked);
    let (_, kind, text) = found.ok_or_else(|| Problem::new(Kind::NotFound, "the page has no such file"))?;
    Ok(answer(&request, kind, text))
}

/// The addresses in the page are relative, so it has to be at one that ends with a slash. So is this one: what stands
/// between may have taken something off the path.
pub(super) async fn redirect(request: HttpRequest) -> HttpResponse {
    let last = request.path().rsplit('/').next().unwrap_or_default();
    HttpResponse::TemporaryRedirect().insert_header((LOCATION, format!("./{last}/"))).finish()
}

fn answer(request: &HttpRequest, kind: &'static str, text: &'static str) -> HttpResponse {
    let known = IfNoneMatch::parse(request).is_ok_and(|known| match known {
        IfNoneMatch::Any => true,
        IfNoneMatch::Items(tags) => tags.iter().any(|tag| tag.weak_eq(&TAG)),
    });
    let mut response = HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    response
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-resource-policy", "same-origin"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((ETAG, TAG.to_string()));
    if known { response.finish() } else { response.body(text) }
}
