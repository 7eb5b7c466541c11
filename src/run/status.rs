//! The status of a run, and the one table of legal transitions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a run is in its life. The words on the wire are those of the Python framework [agno](https://docs.agno.com).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RunStatus {
    /// Accepted and durable; no user code has been started by the present attempt.
    Pending,
    /// Started: user code may be running.
    Running,
    /// Waits for people to decide; no process has it, and it holds no actor and no memory.
    Paused,
    /// Settled: the agent returned its content.
    Completed,
    /// Settled: somebody cancelled the run before it settled otherwise.
    Cancelled,
    /// Settled: the run failed; its error says how.
    Error,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Paused, Self::Completed, Self::Cancelled, Self::Error];

    /// Whether a run may go from this status to `next`.
    ///
    /// `RUNNING → PENDING` is a run that is handed back, taken over, or to be tried again, `PAUSED → PENDING` one that is
    /// continued; nothing leaves a terminal status.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Running | Self::Cancelled | Self::Error),
            Self::Running => {
                matches!(next, Self::Pending | Self::Paused | Self::Completed | Self::Cancelled | Self::Error)
            }
            Self::Paused => matches!(next, Self::Pending | Self::Cancelled | Self::Error),
            Self::Completed | Self::Cancelled | Self::Error => false,
        }
    }

    /// The statuses from which a run may come to this one, in the order of [`RunStatus::ALL`].
    pub fn predecessors(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |from| from.can_become(self))
    }

    /// Whether a run with this status has settled: it will never change again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Error)
    }

    /// The word for this status in SQL, JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no run status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown run status `{0}`, expected one of PENDING, RUNNING, PAUSED, COMPLETED, CANCELLED, ERROR")]
pub struct UnknownStatus(String);

impl FromStr for RunStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| UnknownStatus(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::RunStatus;

    #[test]
    fn every_pair_of_statuses_is_decided() {
        let legal: Vec<String> = RunStatus::ALL
            .into_iter()
            .flat_map(|to| to.predecessors().map(move |from| format!("{from}>{to}")))
            .collect();
        assert_eq!(
            legal,
            [
                "RUNNING>PENDING",
                "PAUSED>PENDING",
                "PENDING>RUNNING",
                "RUNNING>PAUSED",
                "RUNNING>COMPLETED",
                "PENDING>CANCELLED",
                "RUNNING>CANCELLED",
                "PAUSED>CANCELLED",
                "PENDING>ERROR",
                "RUNNING>ERROR",
                "PAUSED>ERROR",
            ]
        );
    }

    #[test]
    fn a_terminal_status_has_no_successor() {
        for from in RunStatus::ALL.into_iter().filter(|status| status.is_terminal()) {
            assert!(RunStatus::ALL.into_iter().all(|to| !from.can_become(to)), "{from} has a successor");
        }
    }

    #[test]
    fn words_survive_a_round_trip_and_others_are_refused_by_name() {
        for status in RunStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        let error = "pending".parse::<RunStatus>().unwrap_err().to_string();
        assert!(error.contains("`pending`") && error.contains("PENDING"), "{error}");
    }
}
