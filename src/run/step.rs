//! Steps: pieces of a run's work whose results are remembered.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunId;

/// What a step is called in the outside world: the same in every attempt and in every process, and no other
/// step's.
///
/// Given to a service that drops what it has seen before (an `Idempotency-Key` header, a unique column), it turns a step
/// that is run again into one effect. It is a UUID of version 5, of the run's id as namespace and `name#number` as name,
/// the number being that of the step among those of its name, from 1. In a run that goes on from another one
/// ([`Run::origin`](crate::Run::origin)) it is the id of that one: a step keeps its key. As text it has 36 characters: digits,
/// `a` to `f` and hyphens.
///
/// ```
/// # use greenroom::{Agent, RunContext};
/// # Agent::builder("shop").code(|cx: RunContext| async move {
/// cx.step_with_key("charge", |key| async move {
///     let header = ("Idempotency-Key", key.to_string());
///     // … a request with this header …
///     # drop(header);
///     Ok(())
/// })
/// .await
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepKey(Uuid);

impl StepKey {
    pub(crate) fn new(run_id: RunId, name: &str, number: u32) -> Self {
        Self(Uuid::new_v5(&run_id.as_uuid(), format!("{name}#{number}").as_bytes()))
    }

    /// The key as a UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error is of [`Uuid`].
impl FromStr for StepKey {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// A finished step, as it is remembered.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StepRecord {
    /// Its place in the order in which the steps of the run were called, from 0.
    pub(crate) position: u32,
    /// The attempt that began without remembered steps. Only steps that began together belong together.
    pub(crate) first_attempt: u32,
    pub(crate) name: String,
    /// The result, as JSON.
    pub(crate) result: String,
}

impl StepRecord {
    /// About how many bytes the step brings along.
    pub(crate) fn weight(&self) -> usize {
        self.name.len() + self.result.len()
    }
}

/// Shows no result.
impl fmt::Debug for StepRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepRecord")
            .field("position", &self.position)
            .field("first_attempt", &self.first_attempt)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{StepKey, StepRecord};
    use crate::run::RunId;

    #[test]
    fn a_key_is_that_of_one_step_of_one_run() {
        let run_id: RunId = "018f9d5e-5a3c-7c3e-9f43-6d6f1c1b2a30".parse().unwrap();
        let key = StepKey::new(run_id, "charge", 1);
        // Anybody can work it out: `uuid5(run_id, "charge#1")` in other languages.
        assert_eq!(key.to_string(), "b4490fc2-ca2f-55a1-8de7-d06654e20a10");
        let others = [
            key,
            StepKey::new(run_id, "charge", 2),
            StepKey::new(run_id, "charge#1", 1),
            StepKey::new(RunId::new(), "charge", 1),
        ];
        assert_eq!(others.into_iter().collect::<HashSet<_>>().len(), 4);
    }

    #[test]
    fn debug_shows_no_result() {
        let record =
            StepRecord { position: 0, first_attempt: 1, name: "a".to_owned(), result: "\"my secret\"".to_owned() };
        assert!(!format!("{record:?}").contains("secret"));
    }
}
