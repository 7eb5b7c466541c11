//! Pauses: what a run that waits for people leaves behind, and what becomes of it when they have decided.

use std::time::Duration;

use uuid::Uuid;

use super::RowFacts;
use crate::run::{
    Content, Decision, InvalidDecisions, Metrics, OpenRequirement, RunId, RunStatus, StepRecord, ToolExecution, UserId,
    decide,
};

/// What a run that waits for people leaves behind.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    /// What they have to decide.
    pub(crate) requirements: Vec<OpenRequirement>,
    /// How long they may take.
    pub(crate) timeout: Option<Duration>,
    /// What it has said and done so far, and at which cost.
    pub(crate) content: Option<Content>,
    pub(crate) metrics: Metrics,
    pub(crate) tools: Vec<ToolExecution>,
}

/// The decisions that let a run go on.
#[derive(Clone, Debug)]
pub(crate) struct Continue {
    /// Tells this very write from any other, so that its repetition is known.
    pub(crate) id: Uuid,
    pub(crate) run_id: RunId,
    /// Whose run it may be; anybody's when it is on nobody's behalf.
    pub(crate) user_id: Option<UserId>,
    pub(crate) decisions: Vec<Decision>,
}

impl Continue {
    /// Whether the run of `owner` is there for whoever decides.
    fn hits(&self, owner: Option<&UserId>) -> bool {
        self.user_id.is_none() || self.user_id.as_ref() == owner
    }
}

/// What a continue meets.
#[derive(Clone, Debug)]
pub(crate) struct PausedRow {
    pub(crate) facts: RowFacts,
    pub(crate) owner: Option<UserId>,
    /// The latest continue of the run.
    pub(crate) continued_by: Option<Uuid>,
    /// What the run waits for.
    pub(crate) requirements: Vec<OpenRequirement>,
}

/// Why a continue was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContinueRefusal {
    /// There is no such run.
    Missing,
    /// The run does not wait for people.
    NotPaused(RunStatus),
    /// The decisions do not fit what the run waits for.
    Invalid(InvalidDecisions),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ContinueVerdict {
    /// The run waits again, for anybody to take it up, and has finished these steps.
    Apply(Vec<StepRecord>),
    /// This very continue is already there.
    Applied,
    /// Nobody has decided in time: the run settles as `ERROR`, and the continue is refused.
    Expire,
    Refuse(ContinueRefusal),
}

/// Decides what a continue does to a run of which the store knows `row`.
pub(crate) fn judge_continue(asked: &Continue, row: Option<&PausedRow>) -> ContinueVerdict {
    let Some(row) = row.filter(|row| asked.hits(row.owner.as_ref())) else {
        return ContinueVerdict::Refuse(ContinueRefusal::Missing);
    };
    if row.continued_by == Some(asked.id) {
        return ContinueVerdict::Applied;
    }
    if row.facts.status != RunStatus::Paused {
        return ContinueVerdict::Refuse(ContinueRefusal::NotPaused(row.facts.status));
    }
    if row.facts.late {
        return ContinueVerdict::Expire;
    }
    match decide(&row.requirements, &asked.decisions) {
        Ok(steps) => ContinueVerdict::Apply(steps),
        Err(invalid) => ContinueVerdict::Refuse(ContinueRefusal::Invalid(invalid)),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Continue, ContinueRefusal, ContinueVerdict, PausedRow, judge_continue};
    use crate::run::{Decision, RunStatus, StepKey};
    use crate::store::conformance::samples::needed;
    use crate::store::protocol::RowFacts;

    fn row() -> PausedRow {
        let facts = RowFacts {
            status: RunStatus::Paused,
            attempt: 2,
            node: None,
            next_seq: 5,
            starts: 0,
            max_attempts: 3,
            cancel_wanted: false,
            late: false,
        };
        PausedRow { facts, owner: Some("ann".into()), continued_by: None, requirements: vec![needed(3, 2)] }
    }

    fn asked(row: &PausedRow) -> Continue {
        let decisions = vec![Decision::confirm(row.requirements[0].requirement.requirement_id)];
        Continue { id: Uuid::now_v7(), run_id: crate::run::RunId::new(), user_id: None, decisions }
    }

    #[test]
    fn only_a_paused_run_is_continued_and_by_one_continue() {
        let row = row();
        let (one, other) = (asked(&row), asked(&row));
        let ContinueVerdict::Apply(steps) = judge_continue(&one, Some(&row)) else { panic!("it is paused") };
        assert_eq!((steps[0].position, steps[0].first_attempt), (3, 2));
        for status in RunStatus::ALL.into_iter().filter(|status| *status != RunStatus::Paused) {
            let facts = RowFacts { status, ..row.facts };
            let continued = PausedRow { facts, continued_by: Some(one.id), ..row.clone() };
            assert_eq!(judge_continue(&one, Some(&continued)), ContinueVerdict::Applied, "{status}");
            let refusal = ContinueVerdict::Refuse(ContinueRefusal::NotPaused(status));
            assert_eq!(judge_continue(&other, Some(&continued)), refusal);
        }
    }

    #[test]
    fn who_may_not_touch_the_run_learns_nothing_of_it() {
        let row = row();
        let missing = ContinueVerdict::Refuse(ContinueRefusal::Missing);
        assert_eq!(judge_continue(&asked(&row), None), missing);
        for (user_id, is_missing) in [("ann", false), ("bob", true)] {
            let asked = Continue { user_id: Some(user_id.into()), ..asked(&row) };
            assert_eq!(judge_continue(&asked, Some(&row)) == missing, is_missing, "{user_id}");
        }
    }

    #[test]
    fn a_continue_that_comes_too_late_or_does_not_fit_lets_nothing_go_on() {
        let row = row();
        let late = PausedRow { facts: RowFacts { late: true, ..row.facts }, ..row.clone() };
        assert_eq!(judge_continue(&asked(&row), Some(&late)), ContinueVerdict::Expire);
        let stranger = StepKey::new(crate::run::RunId::new(), "a", 1);
        for decisions in [vec![], vec![Decision::confirm(stranger)]] {
            let verdict = judge_continue(&Continue { decisions, ..asked(&row) }, Some(&row));
            assert!(matches!(verdict, ContinueVerdict::Refuse(ContinueRefusal::Invalid(_))), "{verdict:?}");
        }
    }
}
