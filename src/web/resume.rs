//! What lets runs go on: what people decide about a paused one, and the resumption of a failed one.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer};

use super::access::Access;
use super::body::RunBody;
use super::problem::Problem;
use super::{decode, header, runs};
use crate::run::{Content, Decision, RunId, StepKey};

/// What becomes of the requirements of a paused run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Continue))]
pub(super) struct ContinueBody {
    /// One decision for each requirement.
    decisions: Vec<DecisionBody>,
}

/// What becomes of a requirement: `confirmed` says so of a confirmation, and `value` answers any other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Decision))]
struct DecisionBody {
    /// The requirement.
    requirement_id: StepKey,
    /// Whether what is to be confirmed is confirmed; else it is rejected.
    confirmed: Option<bool>,
    /// What there is to say about that.
    note: Option<String>,
    /// The answer to a question, or the result of what was executed elsewhere.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Content>))]
    value: Option<Content>,
}

/// `null` is a value as well.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Content>, D::Error> {
    Content::deserialize(from).map(Some)
}

impl std::fmt::Debug for DecisionBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecisionBody").field("requirement_id", &self.requirement_id).finish_non_exhaustive()
    }
}

impl DecisionBody {
    /// The decision at this place among the others.
    fn read(self, place: usize) -> Result<Decision, Problem> {
        let field = |name: &str| format!("decisions[{place}].{name}");
        match (self.confirmed, self.note, self.value) {
            (Some(confirmed), note, None) => Ok(Decision::confirmation(self.requirement_id, confirmed, note)),
            (None, None, Some(value)) => Ok(Decision::answer(self.requirement_id, value.into_json())),
            (None, Some(_), _) => Err(Problem::field(field("note"), "belongs to a confirmation")),
            (Some(_), _, Some(_)) => Err(Problem::field(field("value"), "does not belong to a confirmation")),
            (None, None, None) => Err(Problem::field(field("confirmed"), "is missing, and so is `value`")),
        }
    }
}

pub(super) async fn resume(access: Access, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    decode::no_query(&request)?;
    let run_id: RunId = decode::run_id(&request).await?;
    let body: ContinueBody = decode::json(&request, payload, &access.door).await?;
    let decisions = body.decisions.into_iter().enumerate().map(|(place, one)| one.read(place));
    let decisions: Vec<Decision> = decisions.collect::<Result<_, _>>()?;
    access.runtime.continue_run(run_id, decisions).await?;
    let mut run = access.runtime.get(run_id).await?.ok_or_else(|| Problem::unknown_run(run_id))?;
    let mut response = HttpResponse::Accepted();
    if let Some(seconds) = header::preferred_wait(request.headers()) {
        runs::wait_as_preferred(&access, &mut run, seconds, &mut response).await;
    }
    Ok(response.json(RunBody::from(run)))
}

/// Nothing can be said about a resumption.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Resume))]
pub(super) struct ResumeBody {}

pub(super) async fn resume_failed(
    access: Access,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    decode::no_query(&request)?;
    let run_id: RunId = decode::run_id(&request).await?;
    let ResumeBody {} = decode::json_or_nothing(&request, payload, &access.door).await?;
    let run = access.runtime.accept_again(run_id).await?;
    runs::accepted(&access, &request, run).await
}
