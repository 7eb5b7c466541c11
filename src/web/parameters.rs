//! What the queries of requests say.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::run::{RunId, RunStatus, SessionId, UserId};
use crate::runtime::Cursor;

/// The parameters of a run that is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(super) struct RunParameters {
    /// The run is found in this session only.
    pub(super) session_id: Option<SessionId>,
    /// How many seconds to wait for the run to settle.
    #[cfg_attr(feature = "openapi", param(format = "uint32", minimum = 0))]
    pub(super) wait: Option<u32>,
}

/// The parameters of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(super) struct ListParameters {
    /// Runs of this session only.
    pub(super) session_id: Option<SessionId>,
    /// Runs of this user only.
    pub(super) user_id: Option<UserId>,
    /// Runs of this agent only.
    #[cfg_attr(feature = "openapi", param(min_length = 1, max_length = 255))]
    pub(super) agent: Option<String>,
    /// Children of this run only.
    pub(super) parent_run_id: Option<RunId>,
    /// Runs with this status only.
    pub(super) status: Option<RunStatus>,
    /// Runs that were accepted at this time or later.
    pub(super) created_from: Option<DateTime<Utc>>,
    /// Runs that were accepted before this time.
    pub(super) created_until: Option<DateTime<Utc>>,
    /// The `next` of the page before.
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub(super) after: Option<Cursor>,
    /// The most runs on a page; 50 when left out.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 100))]
    pub(super) limit: Option<usize>,
    /// What the runs are to have although it may be large: `input`, `content`, or both with a comma.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>, pattern = "^(input|content)(,(input|content))*$"))]
    pub(super) include: Include,
}

/// The parameters of an event stream.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(super) struct EventsParameters {
    /// The seq after which to go on.
    #[cfg_attr(feature = "openapi", param(format = "uint64", minimum = 0))]
    pub(super) after: Option<u64>,
    /// Whether the run is cancelled when the reader goes before its end, and the service stays.
    pub(super) cancel_on_disconnect: Option<bool>,
}

/// What a list is to have although it may be large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Include {
    pub(super) input: bool,
    pub(super) content: bool,
}

impl TryFrom<String> for Include {
    type Error = &'static str;

    fn try_from(names: String) -> Result<Self, Self::Error> {
        let mut include = Self::default();
        for name in names.split(',') {
            match name {
                "input" => include.input = true,
                "content" => include.content = true,
                _ => return Err("must name `input`, `content`, or both with a comma between"),
            }
        }
        Ok(include)
    }
}
