//! How many runs there are of each status, told at a cost that does not grow with the table.

use crate::run::{RunStatus, UserId};

/// How many of the newest runs are looked at for those that have settled, and how many unsettled runs are counted at most.
pub(crate) const COUNTED: usize = 10_000;

/// Which runs to count.
#[derive(Clone, Debug)]
pub(crate) struct CountQuery {
    /// Only runs of this user.
    pub(crate) user_id: Option<UserId>,
    /// [`COUNTED`], but for tests.
    pub(crate) limit: usize,
}

/// How many runs there are of each status; [`Runtime::counts`](crate::Runtime::counts) says which are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts([usize; RunStatus::ALL.len()]);

impl RunCounts {
    /// How many runs have this status.
    #[must_use]
    pub fn of(&self, status: RunStatus) -> usize {
        RunStatus::ALL.into_iter().zip(self.0).find(|(known, _)| *known == status).map_or(0, |(_, count)| count)
    }
}

impl FromIterator<(RunStatus, usize)> for RunCounts {
    fn from_iter<T: IntoIterator<Item = (RunStatus, usize)>>(counted: T) -> Self {
        let mut counts = Self::default();
        for (status, count) in counted {
            let place = RunStatus::ALL.into_iter().zip(&mut counts.0).find(|(known, _)| *known == status);
            if let Some((_, sum)) = place {
                *sum += count;
            }
        }
        counts
    }
}
