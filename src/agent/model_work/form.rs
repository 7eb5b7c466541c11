//! The form that an agent's answer must have.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use crate::agent::schema::{ModelSchema, is_of_objects, name_of, schema_of};
use crate::agent::{AgentError, OutputSpec};
use crate::run::FailureKind;

/// A form, and how an answer is read.
#[derive(Clone)]
pub(crate) struct Form {
    pub(crate) spec: OutputSpec,
    read: fn(&str) -> Result<Value, Misfit>,
}

impl Form {
    pub(crate) fn of<T: JsonSchema + DeserializeOwned>() -> Self {
        let ModelSchema { schema, strict } = schema_of::<T>();
        Self { spec: OutputSpec { strict, ..OutputSpec::new(name_of::<T>(), schema) }, read: read::<T> }
    }

    /// What is wrong with the form, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        (!is_of_objects(&self.spec.schema)).then_some("must be a struct with named fields")
    }

    /// The answer as JSON.
    pub(super) fn read(&self, answer: &str) -> Result<Value, Misfit> {
        (self.read)(answer)
    }
}

/// An answer that does not have the form.
pub(super) struct Misfit {
    /// What is wrong, for the model; it may quote the answer.
    problem: String,
    /// The same for everybody else.
    place: String,
}

impl Misfit {
    fn new(error: &serde_json::Error, problem: String) -> Self {
        let sort = match error.classify() {
            Category::Data => "does not have the form that was asked for",
            Category::Io | Category::Syntax | Category::Eof => "is no JSON",
        };
        let place = format!("the answer {sort} (line {} column {})", error.line(), error.column());
        Self { problem, place }
    }

    /// What the model is told, so that it can do better.
    pub(super) fn to_model(&self) -> String {
        let problem = &self.problem;
        format!(
            "Your answer does not have the required form: {problem}. Answer again, with nothing but JSON of that form."
        )
    }

    pub(super) fn into_failure(self) -> AgentError {
        AgentError::of_kind(FailureKind::InvalidOutput, self.place)
    }
}

fn read<T: DeserializeOwned>(answer: &str) -> Result<Value, Misfit> {
    let json = serde_json::from_str(answer).map_err(|error| Misfit::new(&error, error.to_string()))?;
    let mut reader = serde_json::Deserializer::from_str(answer);
    serde_path_to_error::deserialize::<_, T>(&mut reader).map_err(|error| {
        let problem = format!("at `{}`: {}", error.path(), error.inner());
        Misfit::new(error.inner(), problem)
    })?;
    Ok(json)
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::Form;

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its form matters")]
    struct City {
        name: String,
        people: u32,
    }

    #[test]
    fn an_answer_of_the_form_is_taken_as_it_is_and_another_one_refused_without_a_quote_of_it() {
        let form = Form::of::<City>();
        assert!(form.spec.strict && form.problem().is_none() && form.spec.name == "City");
        let read = form.read(r#" {"name": "Paris", "people": 2}"#).ok();
        assert_eq!(read, Some(json!({"name": "Paris", "people": 2})));
        for (wrong, told, said) in [
            (r#"{"name": "Paris", "people": "secret"}"#, "at `people`", "line 1 column 36"),
            (r#"{"name": "Paris"}"#, "missing field `people`", "does not have the form"),
            ("The secret is Paris.", "expected value", "is no JSON (line 1 column 1)"),
            (r#"{"name": "Paris", "people": 2} secret"#, "trailing", "is no JSON"),
        ] {
            let misfit = form.read(wrong).err().unwrap();
            assert!(misfit.to_model().contains(told), "{}", misfit.to_model());
            let failure = misfit.into_failure().to_string();
            assert!(failure.contains(said) && !failure.contains("secret"), "{failure}");
        }
        assert!(Form::of::<Vec<City>>().problem().is_some());
    }
}
