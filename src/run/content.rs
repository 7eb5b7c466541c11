//! What goes into a run and what comes out of it: a text, or any JSON.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text;

/// A text or a JSON value: the input of a run, or its content.
///
/// On the wire it is the JSON value itself, a text being a JSON string. `Debug` shows the kind and the size only, so that
/// prompts and answers do not reach a log by accident.
///
/// ```
/// use greenroom::Content;
/// use serde_json::json;
///
/// assert_eq!(Content::from("Paris").as_text(), Some("Paris"));
/// assert_eq!(Content::from(json!({"city": "Paris"})).to_string(), r#"{"city":"Paris"}"#);
/// assert!(!format!("{:?}", Content::from("a secret")).contains("secret"));
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(description = "A text or a JSON value."))]
pub struct Content(Value);

impl Content {
    /// The text, when the content is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.0.as_str()
    }

    /// The content as JSON; a text is a JSON string.
    #[must_use]
    pub const fn as_json(&self) -> &Value {
        &self.0
    }

    /// The content as JSON, by value.
    #[must_use]
    pub fn into_json(self) -> Value {
        self.0
    }

    /// The content, read as a `T`: for instance the answer of an agent that has a form for its
    /// [output](crate::AgentBuilder::output). Of a text, a `T` is read from the JSON string that it is.
    ///
    /// ```
    /// use greenroom::Content;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct City {
    ///     name: String,
    /// }
    ///
    /// let content = Content::from(serde_json::json!({"name": "Paris"}));
    /// assert_eq!(content.read_as::<City>()?.name, "Paris");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the content does not have the form of a `T`. The error may quote it.
    pub fn read_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.0)
    }

    /// The size in bytes that limits apply to: of the text, or of the JSON as written out.
    #[must_use]
    pub fn size(&self) -> usize {
        self.as_text().map_or_else(|| self.0.to_string().len(), str::len)
    }

    /// Goes on with this text, if the content is one.
    pub(crate) fn push_str(&mut self, text: &str) {
        if let Value::String(before) = &mut self.0 {
            before.push_str(text);
        }
    }

    /// The content as the stores can hold it and give it back: with U+FFFD for every U+0000, and with what is nested too deeply
    /// written out as a text.
    pub(crate) fn storable(mut self) -> Self {
        text::make_storable(&mut self.0);
        self
    }
}

impl<T: Into<Value>> From<T> for Content {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}

/// The text itself, or the JSON written out.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Some(text) => f.pad(text),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0.is_string() { "text" } else { "json" };
        write!(f, "Content({kind}, {} bytes)", self.size())
    }
}
