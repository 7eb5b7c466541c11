//! Requirements: what a run needs from people, or from programs elsewhere, before it can go on.

use serde::{Deserialize, Serialize};

use super::{Content, StepKey, StepRecord};

pub use self::decision::{Confirmation, Decision};
pub(crate) use self::decision::{InvalidDecisions, decide};
pub use self::question::{InputField, InputKind, Question};

mod decision;
mod question;

/// Something that a `PAUSED` run waits for: a step whose result is a [`Decision`].
///
/// `Debug` does not show the details.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Requirement {
    /// What it is called in a [`Decision`]: the key of its step, so the same in every attempt, and no other's.
    pub requirement_id: StepKey,
    /// What the code calls it.
    pub name: String,
    /// What is needed.
    pub kind: RequirementKind,
    /// What is to be confirmed, asked or executed, as the code tells it.
    pub details: Content,
    /// The form of the answer to a question; any JSON will do where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<InputField>,
}

/// The sorts of requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum RequirementKind {
    /// Somebody has to confirm or reject something.
    Confirmation,
    /// Somebody has to answer a question.
    UserInput,
    /// Something has to be executed elsewhere, and its result brought.
    ExternalExecution,
}

/// A requirement, and the step whose result its decision becomes; as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenRequirement {
    /// Its place in the order in which the steps of the run were called, from 0.
    pub(crate) position: u32,
    /// The attempt that began without remembered steps.
    pub(crate) first_attempt: u32,
    #[serde(flatten)]
    pub(crate) requirement: Requirement,
}

impl OpenRequirement {
    /// The step that is finished with `result`, which is JSON.
    pub(crate) fn finished(&self, result: String) -> StepRecord {
        StepRecord {
            position: self.position,
            first_attempt: self.first_attempt,
            name: self.requirement.name.clone(),
            result,
        }
    }
}

impl Requirement {
    /// About how many bytes it brings along.
    pub(crate) fn weight(&self) -> usize {
        self.name.len() + self.details.size() + self.fields.iter().map(InputField::weight).sum::<usize>()
    }
}
