//! Questions to people, and the form in which they are answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::text;

/// A question, and if wanted the fields in which it is answered.
///
/// Without fields any JSON is an answer. With fields it is an object that has them, and no others; what does not fit is
/// refused when somebody answers, and the run waits on. Fields are asked for in the order in which they are added.
///
/// ```
/// use greenroom::{InputKind, Question};
///
/// let question = Question::new("Where is it to be sent?")
///     .field("street", InputKind::Text)
///     .field("number", InputKind::Integer)
///     .optional("express", InputKind::Boolean);
/// # drop(question);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub(crate) text: String,
    pub(crate) fields: Vec<InputField>,
}

impl Question {
    /// A question that any JSON answers.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), fields: Vec::new() }
    }

    /// Asks for one more value, which must be given.
    #[must_use]
    pub fn field(self, name: impl Into<String>, kind: InputKind) -> Self {
        self.with(InputField { name: name.into(), kind, optional: false })
    }

    /// Asks for one more value, which may be left out.
    #[must_use]
    pub fn optional(self, name: impl Into<String>, kind: InputKind) -> Self {
        self.with(InputField { name: name.into(), kind, optional: true })
    }

    fn with(mut self, field: InputField) -> Self {
        self.fields.push(field);
        self
    }

    /// Whether a value of this name is asked for.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// What is wrong with the form.
    pub(crate) fn problem(&self) -> Option<String> {
        let mut seen = Vec::with_capacity(self.fields.len());
        if self.fields.len() > 100 {
            return Some(format!("must have at most 100 fields, found {}", self.fields.len()));
        }
        for InputField { name, .. } in &self.fields {
            if let Some(problem) = text::name_problem(name) {
                return Some(format!("has a field whose name {problem}"));
            }
            if seen.contains(&name) {
                return Some(format!("has the field `{name}` twice"));
            }
            seen.push(name);
        }
        None
    }
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct InputField {
    /// Its name in the answer.
    pub name: String,
    /// What it has to be.
    pub kind: InputKind,
    /// Whether it may be left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub optional: bool,
}

impl InputField {
    pub(super) fn weight(&self) -> usize {
        self.name.len() + 32
    }
}

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum InputKind {
    /// A text.
    Text,
    /// A whole number that fits into 64 bits, with a sign or without.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// Any JSON.
    Json,
}

impl InputKind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Json => true,
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Json => "JSON",
        }
    }
}

/// What keeps `answer` from being one in these fields. What it says is not repeated.
pub(super) fn misfit(fields: &[InputField], answer: &Value) -> Option<String> {
    if fields.is_empty() {
        return None;
    }
    let Some(answer) = answer.as_object() else {
        return Some("must be an object with the fields of the question".to_owned());
    };
    for field in fields {
        match answer.get(&field.name) {
            None if field.optional => {}
            None => return Some(format!("has no field `{}`", field.name)),
            Some(Value::Null) if field.optional => {}
            Some(value) if field.kind.fits(value) => {}
            Some(_) => return Some(format!("has a field `{}` that must be {}", field.name, field.kind.in_words())),
        }
    }
    let known = |name: &String| fields.iter().any(|field| field.name == *name);
    (!answer.keys().all(known)).then(|| "has a field that was not asked for".to_owned())
}
