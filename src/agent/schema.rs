//! The JSON schema of a Rust type, in the form that models are told of it.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

#[cfg(any(feature = "anthropic", feature = "genai"))]
mod anthropic;
mod strict;

#[cfg(any(feature = "anthropic", feature = "genai"))]
pub(crate) use self::anthropic::held_by_anthropic;
pub(crate) use self::strict::may_be_null;

/// A schema, as it goes to a model.
#[derive(Debug, PartialEq)]
pub(crate) struct ModelSchema {
    pub(crate) schema: Value,
    /// Whether it keeps to the subset that providers can hold a model to.
    pub(crate) strict: bool,
}

/// What a model has to write to be read as a `T`: strict when the type allows it.
///
/// A strict schema asks for every property; those that may be left out have to be able to be `null` instead.
pub(crate) fn schema_of<T: JsonSchema>() -> ModelSchema {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
        settings.meta_schema = None;
        // What cannot be inlined refers to itself.
        settings.inline_subschemas = true;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    match strict::made_strict(&schema) {
        Some(schema) => ModelSchema { schema, strict: true },
        None => ModelSchema { schema, strict: false },
    }
}

/// Whether all that fits the schema is an object.
pub(crate) fn is_of_objects(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
}

/// The name of a type, as models take it: letters, digits, `_` and `-`, at most 64.
pub(crate) fn name_of<T: JsonSchema>() -> String {
    fitting_name(&T::schema_name())
}

/// The name, or what is most like it of what models take as one. A model may have called what nobody has offered, and its
/// provider refuses to be told so in the model's own words.
pub(crate) fn fitting_name(name: &str) -> String {
    let fitting = name.chars().map(|letter| if is_of_names(letter) { letter } else { '_' });
    let fitting: String = fitting.take(LONGEST_NAME).collect();
    if fitting.is_empty() { "_".to_owned() } else { fitting }
}

/// How long the name of a tool or of a form may be.
pub(crate) const LONGEST_NAME: usize = 64;

pub(crate) const fn is_of_names(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

type Object = Map<String, Value>;

#[cfg(test)]
mod tests;
