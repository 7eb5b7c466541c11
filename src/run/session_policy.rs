//! Whether runs of one session may run beside each other.

/// What happens to a run of a session, of one agent and user, while another one has not settled.
///
/// With [`InOrder`](Self::InOrder) and [`Refuse`](Self::Refuse) at most one run of a session is at work at any time, whichever
/// processes they were submitted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionPolicy {
    /// Both run.
    #[default]
    Concurrent,
    /// The later one waits as `PENDING`: runs of a session run one after the other, by the time from which they may run and
    /// then by age, whatever their priorities.
    ///
    /// Once a run was taken up, it has its session to itself until it settles, also while it waits for another attempt or is `PAUSED`. A run
    /// for later is in nobody's way before its time.
    InOrder,
    /// The later one is refused with [`Error::SessionBusy`](crate::Error::SessionBusy). A run for later keeps its session from
    /// its submit on.
    Refuse,
}

/// The turn of a run that must be alone in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for its turn.
    Waits,
    /// It has the session to itself until it settles.
    Holds,
}

impl SessionPolicy {
    /// How a new run begins; `None` when it may run beside others.
    pub(crate) const fn turn(self) -> Option<Turn> {
        match self {
            Self::Concurrent => None,
            Self::InOrder => Some(Turn::Waits),
            Self::Refuse => Some(Turn::Holds),
        }
    }
}

impl Turn {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Holds => "holds",
        }
    }
}
