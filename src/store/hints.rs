//! Hints: what processes tell each other to save time.
//!
//! Truth is only in the tables. A hint says that looking there now, and not only at the next tick, brings something: one
//! that is lost costs time, one that is doubled or forged costs a look, and nothing else follows from it.

use std::collections::BTreeSet;

use super::NodeId;
use crate::run::RunId;

/// So many ids are named one by one. Past it a look at everything is as good, and a message stays below the 8,000 bytes
/// that Postgres takes.
const MOST_NAMED: usize = 100;

/// One thing to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Runs wait that this process cannot take up at once.
    Work,
    /// This node has a run that somebody wants cancelled.
    Cancel(NodeId),
    /// There are events of this run that were not there before, or it has settled.
    News(RunId),
}

/// Some ids, or too many to name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named<T> {
    These(BTreeSet<T>),
    Any,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl<T: Copy + Ord> Named<T> {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::These(these) if these.is_empty())
    }

    pub(crate) fn includes(&self, id: T) -> bool {
        match self {
            Self::These(these) => these.contains(&id),
            Self::Any => true,
        }
    }

    pub(crate) fn add(&mut self, id: T) {
        if let Self::These(these) = self {
            these.insert(id);
            if these.len() > MOST_NAMED {
                *self = Self::Any;
            }
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        match other {
            Self::These(these) => these.into_iter().for_each(|id| self.add(id)),
            Self::Any => *self = Self::Any,
        }
    }
}

/// Hints that go together. What was hinted twice is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Runs wait that some process could not take up.
    pub(crate) work: bool,
    /// The nodes that have runs which somebody wants cancelled.
    pub(crate) cancels: Named<NodeId>,
    /// The runs of which there is news.
    pub(crate) news: Named<RunId>,
}

/// Where there is nobody to tell, nothing is put together.
#[cfg(any(test, feature = "postgres"))]
impl Hints {
    /// Anything may have happened.
    pub(crate) const fn everything() -> Self {
        Self { work: true, cancels: Named::Any, news: Named::Any }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.work && self.cancels.is_empty() && self.news.is_empty()
    }

    pub(crate) fn add(&mut self, hint: Hint) {
        match hint {
            Hint::Work => self.work = true,
            Hint::Cancel(node) => self.cancels.add(node),
            Hint::News(run_id) => self.news.add(run_id),
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.work |= other.work;
        self.cancels.merge(other.cancels);
        self.news.merge(other.news);
    }
}

#[cfg(test)]
mod tests {
    use super::{Hint, Hints, MOST_NAMED, Named};
    use crate::run::RunId;
    use crate::store::NodeId;

    #[test]
    fn what_is_hinted_twice_is_there_once() {
        let (node, run_id) = (NodeId::new(), RunId::new());
        let mut hints = Hints::default();
        assert!(hints.is_empty());
        for hint in [Hint::Work, Hint::Cancel(node), Hint::News(run_id)].repeat(2) {
            hints.add(hint);
        }
        assert!(hints.work && !hints.is_empty());
        assert_eq!(hints.cancels, Named::These([node].into()));
        assert_eq!(hints.news, Named::These([run_id].into()));
    }

    #[test]
    fn too_many_to_name_are_any() {
        let mut hints = Hints::default();
        let run_ids: Vec<RunId> = (0..=MOST_NAMED).map(|_| RunId::new()).collect();
        run_ids.iter().take(MOST_NAMED).for_each(|&run_id| hints.add(Hint::News(run_id)));
        assert!(hints.news.includes(run_ids[0]) && !hints.news.includes(run_ids[MOST_NAMED]));
        let mut other = Hints::default();
        other.add(Hint::News(run_ids[MOST_NAMED]));
        hints.merge(other);
        assert_eq!(hints.news, Named::Any);
        hints.add(Hint::News(run_ids[0]));
        assert_eq!(hints.news, Named::Any);
        assert!(hints.cancels.is_empty() && !hints.work);
    }
}
