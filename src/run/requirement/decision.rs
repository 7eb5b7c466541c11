//! Decisions: what people say to requirements.

use serde::{Deserialize, Serialize};

use super::question::misfit;
use super::{OpenRequirement, RequirementKind};
use crate::run::text::nesting_problem;
use crate::run::{Content, StepKey, StepRecord};

/// What somebody says to one [`Requirement`](super::Requirement).
///
/// `Debug` shows neither notes nor values.
#[derive(Clone, PartialEq)]
pub struct Decision {
    requirement_id: StepKey,
    said: Said,
}

#[derive(Clone, PartialEq)]
enum Said {
    Confirmation(Confirmation),
    Answer(Content),
}

impl Decision {
    /// Confirms what is to be confirmed.
    #[must_use]
    pub const fn confirm(requirement_id: StepKey) -> Self {
        Self { requirement_id, said: Said::Confirmation(Confirmation { confirmed: true, note: None }) }
    }

    /// Rejects what is to be confirmed, and tells the code why.
    #[must_use]
    pub fn reject(requirement_id: StepKey, note: impl Into<String>) -> Self {
        let note = Some(note.into());
        Self { requirement_id, said: Said::Confirmation(Confirmation { confirmed: false, note }) }
    }

    /// Confirms or rejects, with a note or without.
    #[cfg(feature = "web")]
    pub(crate) const fn confirmation(requirement_id: StepKey, confirmed: bool, note: Option<String>) -> Self {
        Self { requirement_id, said: Said::Confirmation(Confirmation { confirmed, note }) }
    }

    /// Answers a question, or brings the result of what was executed elsewhere.
    #[must_use]
    pub fn answer(requirement_id: StepKey, value: impl Into<Content>) -> Self {
        Self { requirement_id, said: Said::Answer(value.into()) }
    }

    /// The requirement that is decided.
    #[must_use]
    pub const fn requirement_id(&self) -> StepKey {
        self.requirement_id
    }

    /// About how many bytes it brings along.
    pub(crate) fn weight(&self) -> usize {
        match &self.said {
            Said::Confirmation(Confirmation { note, .. }) => note.as_ref().map_or(0, String::len),
            Said::Answer(value) => value.size(),
        }
    }

    /// The result of the requirement's step, as JSON.
    fn result(&self, open: &OpenRequirement) -> Result<String, InvalidDecisions> {
        let unfit = |problem: String| InvalidDecisions::Unfit { name: open.requirement.name.clone(), problem };
        let json = match (&self.said, open.requirement.kind) {
            (Said::Confirmation(confirmation), RequirementKind::Confirmation) => serde_json::to_string(confirmation),
            (Said::Answer(value), RequirementKind::UserInput | RequirementKind::ExternalExecution) => {
                let problem = nesting_problem(value.as_json());
                if let Some(problem) = problem.or_else(|| misfit(&open.requirement.fields, value.as_json())) {
                    return Err(unfit(problem));
                }
                serde_json::to_string(value)
            }
            (Said::Confirmation(_), RequirementKind::UserInput | RequirementKind::ExternalExecution) => {
                return Err(unfit("must be a value, found a confirmation".to_owned()));
            }
            (Said::Answer(_), RequirementKind::Confirmation) => {
                return Err(unfit("must confirm or reject, found a value".to_owned()));
            }
        };
        json.map_err(|error| unfit(error.to_string()))
    }
}

impl std::fmt::Debug for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decision").field("requirement_id", &self.requirement_id).finish_non_exhaustive()
    }
}

/// What somebody said to a confirmation, as the code gets to see it.
///
/// `Debug` does not show the note.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Confirmation {
    /// Whether it was confirmed; else it was rejected.
    pub confirmed: bool,
    /// What they have to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmation").field("confirmed", &self.confirmed).finish_non_exhaustive()
    }
}

/// Why decisions do not fit a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidDecisions {
    #[error("must not decide requirement {0}, which the run does not have")]
    Unknown(StepKey),
    #[error("must decide requirement {0} once, found it twice")]
    Twice(StepKey),
    #[error("must decide requirement {requirement_id} (`{name}`) as well")]
    Open { requirement_id: StepKey, name: String },
    #[error("must fit: the one for `{name}` {problem}")]
    Unfit { name: String, problem: String },
}

/// The finished steps that `decisions` make of the requirements that are open, each of which is decided once.
pub(crate) fn decide(open: &[OpenRequirement], decisions: &[Decision]) -> Result<Vec<StepRecord>, InvalidDecisions> {
    for (place, decision) in decisions.iter().enumerate() {
        let id = decision.requirement_id;
        if !open.iter().any(|open| open.requirement.requirement_id == id) {
            return Err(InvalidDecisions::Unknown(id));
        }
        if decisions[..place].iter().any(|earlier| earlier.requirement_id == id) {
            return Err(InvalidDecisions::Twice(id));
        }
    }
    let finished = |open: &OpenRequirement| {
        let requirement = &open.requirement;
        let decided = decisions.iter().find(|decision| decision.requirement_id == requirement.requirement_id);
        let undecided =
            || InvalidDecisions::Open { requirement_id: requirement.requirement_id, name: requirement.name.clone() };
        Ok(open.finished(decided.ok_or_else(undecided)?.result(open)?))
    };
    open.iter().map(finished).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Decision, InvalidDecisions, decide};
    use crate::run::requirement::{InputKind, OpenRequirement, Question, Requirement, RequirementKind};
    use crate::run::{RunId, StepKey};

    fn open(run_id: RunId, position: u32, kind: RequirementKind) -> OpenRequirement {
        let name = format!("requirement {position}");
        let question = Question::new("?").field("street", InputKind::Text).optional("number", InputKind::Integer);
        let requirement = Requirement {
            requirement_id: StepKey::new(run_id, &name, 1),
            name,
            kind,
            details: "details".into(),
            fields: if kind == RequirementKind::UserInput { question.fields } else { Vec::new() },
        };
        OpenRequirement { position, first_attempt: 2, requirement }
    }

    fn all() -> [OpenRequirement; 3] {
        use RequirementKind::{Confirmation, ExternalExecution, UserInput};
        let run_id = RunId::new();
        [open(run_id, 0, Confirmation), open(run_id, 4, UserInput), open(run_id, 5, ExternalExecution)]
    }

    #[test]
    fn decisions_become_the_results_of_the_steps_whatever_their_order() {
        let open = all();
        let [confirmation, input, execution] = open.each_ref().map(|open| open.requirement.requirement_id);
        let decisions = [
            Decision::answer(execution, json!([1, "a"])),
            Decision::reject(confirmation, "too dear"),
            Decision::answer(input, json!({"street": "a", "number": null})),
        ];
        let steps = decide(&open, &decisions).unwrap();
        let found: Vec<_> = steps.iter().map(|step| (step.position, step.first_attempt, &*step.result)).collect();
        let rejected = r#"{"confirmed":false,"note":"too dear"}"#;
        assert_eq!(found[0], (0, 2, rejected));
        assert_eq!((found[1].0, found[2]), (4, (5, 2, r#"[1,"a"]"#)));
        assert!(steps.iter().zip(&open).all(|(step, open)| step.name == open.requirement.name));
    }

    #[test]
    fn what_is_missing_unknown_doubled_or_unfit_is_named() {
        let open = all();
        let [confirmation, input, execution] = open.each_ref().map(|open| open.requirement.requirement_id);
        let good = [
            Decision::confirm(confirmation),
            Decision::answer(input, json!({"street": "a"})),
            Decision::answer(execution, json!(null)),
        ];
        assert!(decide(&open, &good).is_ok());
        let with = |place: usize, decision| {
            let mut decisions = good.to_vec();
            decisions[place] = decision;
            decide(&open, &decisions).unwrap_err()
        };
        let stranger = StepKey::new(RunId::new(), "other", 1);
        assert_eq!(with(0, Decision::confirm(stranger)), InvalidDecisions::Unknown(stranger));
        assert_eq!(with(0, good[1].clone()), InvalidDecisions::Twice(input));
        let missing = decide(&open, &good[..2]).unwrap_err();
        assert_eq!(missing, InvalidDecisions::Open { requirement_id: execution, name: "requirement 5".to_owned() });
        for (place, decision, words) in [
            (0, Decision::answer(confirmation, json!(true)), "`requirement 0` must confirm or reject"),
            (1, Decision::confirm(input), "`requirement 4` must be a value"),
            (1, Decision::answer(input, json!("a")), "must be an object"),
            (1, Decision::answer(input, json!({})), "no field `street`"),
            (1, Decision::answer(input, json!({"street": 1})), "`street` that must be a text"),
            (1, Decision::answer(input, json!({"street": "a", "number": 1.5})), "`number` that must be a whole number"),
            (1, Decision::answer(input, json!({"street": "a", "city": "a secret"})), "was not asked for"),
        ] {
            let said = with(place, decision).to_string();
            assert!(said.contains(words) && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn debug_shows_nothing_that_was_said() {
        let id = StepKey::new(RunId::new(), "a", 1);
        let said = format!("{:?}", [Decision::reject(id, "a secret"), Decision::answer(id, "a secret")]);
        assert!(!said.contains("secret"), "{said}");
    }
}
