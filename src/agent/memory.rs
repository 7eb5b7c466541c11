//! What an attempt knows of the steps of its run: those that earlier attempts have finished, and those that it has called.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::needs::MAX_OPEN;
use crate::run::{FailureKind, RunId, StepKey, StepRecord, check_name};

/// How many steps a run may call.
pub(crate) const MAX_STEPS: u32 = 10_000;

/// How large the results of all steps of a run may be together, in bytes of JSON.
pub(crate) const MAX_RESULTS: usize = 64 * 1024 * 1024;

/// The steps of a run, in the mind of one attempt.
pub(crate) struct StepMemory {
    first_attempt: u32,
    /// The largest result, in bytes.
    max_result: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What earlier attempts have finished and this one has not called yet, by position.
    remembered: HashMap<u32, StepRecord>,
    /// How many steps this attempt has called.
    called: u32,
    /// How many of each name.
    numbers: HashMap<String, u32>,
    /// The name of the one that was called last.
    latest: String,
    /// The size of all results, those of earlier attempts included.
    results: usize,
    /// The code is not the one that the remembered results come from.
    changed: Option<StepError>,
}

/// A step that was called: from here on it has its place, whatever becomes of it.
pub(crate) struct CalledStep {
    position: u32,
    name: String,
    number: u32,
    remembered: Option<String>,
}

impl CalledStep {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn key(&self, run_id: RunId) -> StepKey {
        StepKey::new(run_id, &self.name, self.number)
    }
}

impl StepMemory {
    /// The memory of `attempt`, which goes on from the steps that are `remembered`, if there are any.
    pub(crate) fn new(attempt: u32, remembered: Vec<StepRecord>, max_result: usize) -> Self {
        let first_attempt = remembered.first().map_or(attempt, |step| step.first_attempt);
        let results = remembered.iter().map(|step| step.result.len()).sum();
        let remembered = remembered.into_iter().map(|step| (step.position, step)).collect();
        Self { first_attempt, max_result, known: Mutex::new(Known { remembered, results, ..Known::default() }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the next step its place, and checks that an earlier attempt had no other step there.
    pub(crate) fn call(&self, name: &str) -> Result<CalledStep, StepError> {
        check_name("name", name).map_err(|invalid| StepError::Name(invalid.problem().to_owned()))?;
        let mut known = self.known();
        if let Some(changed) = &known.changed {
            return Err(changed.clone());
        }
        let position = known.called;
        if position >= MAX_STEPS {
            return Err(StepError::TooMany);
        }
        known.called += 1;
        name.clone_into(&mut known.latest);
        let number = known.numbers.entry(name.to_owned()).or_default();
        *number += 1;
        let number = *number;
        let remembered = known.remembered.remove(&position);
        if let Some(before) = remembered.as_ref().map(|step| &step.name).filter(|before| *before != name) {
            let changed = StepError::Changed { position, before: before.clone(), now: name.to_owned() };
            known.changed = Some(changed.clone());
            return Err(changed);
        }
        Ok(CalledStep { position, name: name.to_owned(), number, remembered: remembered.map(|step| step.result) })
    }

    /// Where the result of the step belongs: its position, and the attempt that began without remembered steps.
    pub(crate) const fn place(&self, step: &CalledStep) -> (u32, u32) {
        (step.position, self.first_attempt)
    }

    /// Whether the next step is one of this name that an earlier attempt has finished.
    pub(crate) fn is_next(&self, name: &str) -> bool {
        let known = self.known();
        known.remembered.get(&known.called).is_some_and(|step| step.name == name)
    }

    /// Whether the step that was called last has this name.
    pub(crate) fn was_latest(&self, name: &str) -> bool {
        self.known().latest == name
    }

    /// The result of the step in an earlier attempt, when it was finished there.
    pub(crate) fn recall<T: DeserializeOwned>(&self, step: &CalledStep) -> Result<Option<T>, StepError> {
        let Some(result) = &step.remembered else { return Ok(None) };
        serde_json::from_str(result).map(Some).map_err(|error| {
            let unreadable = StepError::Unreadable { name: step.name.clone(), place: place(&error) };
            self.known().changed.get_or_insert_with(|| unreadable.clone());
            unreadable
        })
    }

    /// What is to be remembered of a step that was finished just now, and its result as later attempts will see it.
    pub(crate) fn finish<T: Serialize + DeserializeOwned>(
        &self,
        step: &CalledStep,
        result: &T,
    ) -> Result<(StepRecord, T), StepError> {
        let name = || step.name.clone();
        let result = serde_json::to_string(result)
            .map_err(|error| StepError::NotJson { name: name(), problem: error.to_string() })?;
        let (size, most) = (result.len(), self.max_result);
        if size > most {
            return Err(StepError::TooLarge { name: name(), size, most });
        }
        let seen =
            serde_json::from_str(&result).map_err(|error| StepError::OneWay { name: name(), place: place(&error) })?;
        let mut known = self.known();
        if known.results + size > MAX_RESULTS {
            return Err(StepError::TooMuch { name: name() });
        }
        known.results += size;
        Ok((StepRecord { position: step.position, first_attempt: self.first_attempt, name: name(), result }, seen))
    }

    /// Why the run must fail, whatever its code makes of it.
    pub(crate) fn changed(&self) -> Option<StepError> {
        self.known().changed.clone()
    }
}

/// The rest of what serde says may quote the result.
fn place(error: &serde_json::Error) -> String {
    format!("line {} column {}", error.line(), error.column())
}

/// Why a step cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepError {
    #[error("the name of a step {0}")]
    Name(String),
    #[error("a run has at most {MAX_STEPS} steps")]
    TooMany,
    #[error("step `{name}`: this cannot be written as JSON: {problem}")]
    NotJson { name: String, problem: String },
    #[error("step `{name}`: the result as JSON must be at most {most} bytes, found {size}")]
    TooLarge { name: String, size: usize, most: usize },
    #[error("step `{name}`: the results of all steps of a run must be at most {MAX_RESULTS} bytes together")]
    TooMuch { name: String },
    #[error("step `{name}`: at most {MAX_OPEN} requirements of a run may be open at the same time")]
    TooManyOpen { name: String },
    #[error("step `{name}`: the open requirements of a run must be at most {most} bytes together")]
    TooMuchOpen { name: String, most: usize },
    #[error("step `{name}`: the question {problem}")]
    BadQuestion { name: String, problem: String },
    #[error("step `{name}`: the result cannot be read back from its JSON ({place})")]
    OneWay { name: String, place: String },
    #[error(
        "the steps have changed: the one at position {position} was `{before}` in an earlier attempt and is `{now}` now; \
         each attempt must call the same steps in the same order"
    )]
    Changed { position: u32, before: String, now: String },
    #[error(
        "the steps have changed: the result of `{name}` in an earlier attempt cannot be read as what the code expects \
         now ({place})"
    )]
    Unreadable { name: String, place: String },
}

impl StepError {
    pub(crate) const fn kind(&self) -> FailureKind {
        match self {
            Self::Changed { .. } | Self::Unreadable { .. } => FailureKind::StepsChanged,
            Self::Name(_)
            | Self::TooMany
            | Self::NotJson { .. }
            | Self::TooLarge { .. }
            | Self::TooMuch { .. }
            | Self::TooManyOpen { .. }
            | Self::TooMuchOpen { .. }
            | Self::BadQuestion { .. }
            | Self::OneWay { .. } => FailureKind::InvalidStep,
        }
    }
}

#[cfg(test)]
mod tests;
