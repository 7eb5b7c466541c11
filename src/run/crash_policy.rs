//! What becomes of a run whose process died.

/// What happens to a started run whose process died, or was shut down before the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CrashPolicy {
    /// The run is started again from its input, as long as it has attempts left.
    ///
    /// Right for agents whose work may be done twice; the default of model agents.
    Restart,
    /// The run settles as `ERROR`, and the kind says that its process died; nothing is done twice.
    ///
    /// The default of agents made of the user's own code.
    Fail,
}

impl CrashPolicy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Fail => "fail",
        }
    }

    /// The policy that `word` names; what a later version wrote and this one does not know is the careful choice.
    pub(crate) fn from_word(word: &str) -> Self {
        if word == Self::Restart.as_str() { Self::Restart } else { Self::Fail }
    }
}
