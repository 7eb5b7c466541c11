//! What becomes of a run whose process died.

/// What happens to a started run whose process died, or was shut down before the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CrashPolicy {
    /// The run goes on after its last finished [step](crate::RunContext::step), as long as it has attempts left: user code
    /// is started again, and steps that were finished give their remembered results instead of running.
    ///
    /// Right for agents whose effects are in steps; the default of model agents, whose turns and tool calls are steps.
    Resume,
    /// The run is started again from its input, as long as it has attempts left; no step is remembered, but by a run that people
    /// have [continued](crate::Runtime::continue_run) or that [resumes](crate::Runtime::resume_failed) a failed one.
    ///
    /// Right for agents whose work may be done twice.
    Restart,
    /// The run settles as `ERROR`, and the kind says that its process died, or was shut down before the run had ended; so
    /// neither makes anything be done twice.
    ///
    /// The default of agents made of the user's own code. [Retries](crate::AgentBuilder::retry) and pauses are followed by
    /// another attempt all the same, which remembers the finished steps and runs the code outside of them again.
    Fail,
}

impl CrashPolicy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Restart => "restart",
            Self::Fail => "fail",
        }
    }

    /// The policy that `word` names; what a later version wrote and this one does not know is the careful choice.
    pub(crate) fn from_word(word: &str) -> Self {
        let known = [Self::Resume, Self::Restart].into_iter().find(|policy| policy.as_str() == word);
        known.unwrap_or(Self::Fail)
    }

    /// Whether user code that was started may be started again.
    pub(crate) const fn starts_again(self) -> bool {
        matches!(self, Self::Resume | Self::Restart)
    }
}

#[cfg(test)]
mod tests {
    use super::CrashPolicy;

    #[test]
    fn each_policy_is_read_back_from_its_word_and_an_unknown_one_is_careful() {
        for policy in [CrashPolicy::Resume, CrashPolicy::Restart, CrashPolicy::Fail] {
            assert_eq!(CrashPolicy::from_word(policy.as_str()), policy);
        }
        assert_eq!(CrashPolicy::from_word("fork"), CrashPolicy::Fail);
    }
}
