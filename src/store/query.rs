//! Which runs to list, and how their pages hang together.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};

use crate::run::{InvalidRun, Run, RunId, RunStatus, SessionId, UserId};

/// The most runs on one page.
pub(crate) const MAX_PAGE: usize = 1000;

/// Which runs to list: all conditions together, newest first.
///
/// ```
/// use greenroom::{RunQuery, RunStatus};
///
/// let query = RunQuery::new().session_id("trip").status(RunStatus::Completed).limit(20);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RunQuery {
    pub(crate) session_id: Option<SessionId>,
    pub(crate) user_id: Option<UserId>,
    pub(crate) agent: Option<String>,
    pub(crate) parent_run_id: Option<RunId>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) created_from: Option<DateTime<Utc>>,
    pub(crate) created_until: Option<DateTime<Utc>>,
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: Option<usize>,
}

impl RunQuery {
    /// All runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only runs of this session.
    pub fn session_id(mut self, session_id: impl Into<SessionId>) -> Self {
        self.session_id = Some(session_id.into());
        self
    }

    /// Only runs of this user.
    pub fn user_id(mut self, user_id: impl Into<UserId>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// Only runs of this agent.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Only children of this run.
    pub const fn parent_run_id(mut self, parent: RunId) -> Self {
        self.parent_run_id = Some(parent);
        self
    }

    /// Only runs with this status.
    pub const fn status(mut self, status: RunStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Only runs created at this time or later, between the years 1 and 9999.
    pub const fn created_from(mut self, from: DateTime<Utc>) -> Self {
        self.created_from = Some(from);
        self
    }

    /// Only runs created before this time, between the years 1 and 9999.
    pub const fn created_until(mut self, until: DateTime<Utc>) -> Self {
        self.created_until = Some(until);
        self
    }

    /// Only what comes after this place; [`Page::next`] of the page before.
    pub const fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// How many runs a page holds, 1 to 1,000; 50 when left out.
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The number of runs on a page.
    pub(crate) fn page_size(&self) -> usize {
        self.limit.unwrap_or(50)
    }

    pub(crate) fn check(&self) -> Result<(), InvalidRun> {
        use crate::run::check_name;
        if let Some(session_id) = &self.session_id {
            check_name("session_id", session_id.as_str())?;
        }
        if let Some(user_id) = &self.user_id {
            check_name("user_id", user_id.as_str())?;
        }
        if let Some(agent) = &self.agent {
            check_name("agent", agent)?;
        }
        check_time("created_from", self.created_from)?;
        check_time("created_until", self.created_until)?;
        if !(1..=MAX_PAGE).contains(&self.page_size()) {
            let problem = format!("must be between 1 and {MAX_PAGE}, found {}", self.page_size());
            return Err(InvalidRun { field: "limit", problem });
        }
        Ok(())
    }
}

/// Whether a time is one that both databases know, and that RFC 3339 can say.
fn is_plausible(time: DateTime<Utc>) -> bool {
    (1..=9999).contains(&time.year())
}

fn check_time(field: &'static str, time: Option<DateTime<Utc>>) -> Result<(), InvalidRun> {
    if time.is_none_or(is_plausible) {
        return Ok(());
    }
    Err(InvalidRun { field, problem: "must be between the years 1 and 9999".to_owned() })
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Page {
    /// The runs, newest first.
    pub runs: Vec<Run>,
    /// Where the next page starts; `None` when this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

impl Page {
    /// Makes a page of `size` of `runs`, which were asked for with one more than that.
    pub(crate) fn cut(mut runs: Vec<Run>, size: usize) -> Self {
        let more = runs.len() > size;
        runs.truncate(size);
        let next = if more { runs.last().map(Cursor::at) } else { None };
        Self { runs, next }
    }
}

/// A place in a list. On the wire it is a text that callers hand back as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) run_id: RunId,
}

impl Cursor {
    fn at(run: &Run) -> Self {
        Self { created_at: run.output.created_at, run_id: run.output.run_id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at.timestamp_micros(), self.run_id)
    }
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cursor is none that a page has returned as `next`")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (micros, run_id) = text.split_once('.').ok_or(InvalidCursor)?;
        let micros = micros.parse().map_err(|_| InvalidCursor)?;
        let created_at = DateTime::from_timestamp_micros(micros).filter(|at| is_plausible(*at)).ok_or(InvalidCursor)?;
        let run_id = run_id.parse().map_err(|_| InvalidCursor)?;
        Ok(Self { created_at, run_id })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeZone, Utc};

    use super::{Cursor, InvalidCursor, RunQuery};
    use crate::run::RunId;

    #[test]
    fn a_cursor_survives_its_text_and_anything_else_is_refused() {
        let created_at = DateTime::from_timestamp_micros(1_795_338_068_123_456).unwrap();
        let cursor = Cursor { created_at, run_id: RunId::new() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            "",
            ".",
            "1",
            "x.y",
            "1.2",
            "99999999999999999999.0",
            "9223372036854775807.00000000-0000-0000-0000-000000000000",
            "-300000000000000000.00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }

    fn at(year: i32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(year, 7, 1, 0, 0, 0).unwrap()
    }

    #[test]
    fn impossible_queries_are_refused_by_their_field() {
        let cases = [
            ("limit", RunQuery::new().limit(0)),
            ("limit", RunQuery::new().limit(1001)),
            ("session_id", RunQuery::new().session_id("a\0")),
            ("user_id", RunQuery::new().user_id("")),
            ("agent", RunQuery::new().agent("\n")),
            ("created_from", RunQuery::new().created_from(at(0))),
            ("created_from", RunQuery::new().created_from(DateTime::<Utc>::MIN_UTC)),
            ("created_until", RunQuery::new().created_until(at(10_000))),
        ];
        for (field, query) in cases {
            assert_eq!(query.check().unwrap_err().field(), field, "{query:?}");
        }
    }
}
