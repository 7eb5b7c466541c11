//! Sessions: what their runs keep together.

use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::decode;
use super::decode::PathParts;
use super::problem::Problem;
use crate::run::{Content, SessionId, SessionState, UserId};

/// The parameters of a session that is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(super) struct SessionParameters {
    /// Whose session it is; that of runs that belong to nobody when left out and the caller is nobody in particular.
    user_id: Option<UserId>,
}

/// What the runs of a session keep together.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Session))]
pub(super) struct SessionBody {
    session_id: SessionId,
    /// Left out while no run has ever changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    state: Option<Content>,
    /// How many times it was changed.
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    updated_at: Option<DateTime<Utc>>,
}

impl SessionBody {
    fn new(session_id: SessionId, state: Option<SessionState>) -> Self {
        let (version, updated_at) = state.as_ref().map(|state| (state.version, state.updated_at)).unzip();
        let state = state.map(|state| Content::from(state.state));
        Self { session_id, state, version: version.unwrap_or_default(), updated_at }
    }
}

pub(super) async fn get(access: Access, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let session_id: SessionId = PathParts::of(&request).await?.session_id.into();
    let SessionParameters { user_id } = decode::query(&request)?;
    let state = access.runtime.session_state_of(session_id.clone(), user_id).await?;
    Ok(HttpResponse::Ok().json(SessionBody::new(session_id, state)))
}
