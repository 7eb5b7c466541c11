//! How JSON is read that others have written, and what is said of that which does not have the form that was expected.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// JSON that cannot be read as what was expected: the arguments of a call, or an input. What it says as a text may quote them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misread {
    /// Where they are wrong, unless it is as a whole.
    path: Option<String>,
    /// The argument, or the field of the input, that is, or is around, that place.
    argument: Option<String>,
    /// What was found, and what was expected.
    problem: String,
}

impl Misread {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { path: None, argument: None, problem: problem.into() }
    }

    /// The argument of this name is missing: in the words of serde, which says so of one at a time.
    pub(super) fn missing(name: &str) -> Self {
        Self::new(format!("missing field `{name}`"))
    }

    /// The argument that is wrong, or is missing, if it is one.
    pub(super) fn argument(&self) -> Option<&str> {
        let missing = || self.problem.strip_prefix("missing field `")?.split('`').next();
        self.argument.as_deref().or_else(missing)
    }

    /// The same without a quote: which argument is wrong, and what was expected of it. Where in it is not told, since the
    /// names of its fields may be values as well.
    pub(super) fn without_values(&self) -> String {
        let problem = match self.problem.rsplit_once(", expected ") {
            // The words of serde; what was found stands before what was expected.
            Some((found, expected)) if SERDE.iter().any(|words| found.starts_with(words)) => {
                let expected = expected.rsplit_once(" at line ").map_or(expected, |(expected, _)| expected);
                format!("expected {expected}")
            }
            _ => "it does not have the form that was expected".to_owned(),
        };
        match self.argument() {
            Some(argument) => format!("at `{argument}`: {problem}"),
            None => problem,
        }
    }
}

/// How serde begins to say what it has found in place of what it expected.
const SERDE: [&str; 5] =
    ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant `", "unknown field `"];

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "at `{path}`: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// Reads what a model has written. The error says what was expected, and where.
pub(super) fn read<A: DeserializeOwned>(arguments: &str) -> Result<A, Misread> {
    // Some models say so that there is nothing to say.
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let mut reader = serde_json::Deserializer::from_str(arguments);
    let read = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| misread(error.path(), error.inner().to_string()))?;
    reader.end().map_err(|error| Misread::new(error.to_string()))?;
    Ok(read)
}

/// Reads an input.
pub(super) fn read_value<T: DeserializeOwned>(value: &Value) -> Result<T, Misread> {
    serde_path_to_error::deserialize(value).map_err(|error| misread(error.path(), error.inner().to_string()))
}

fn misread(path: &Path, problem: String) -> Misread {
    let argument = match path.iter().next() {
        Some(Segment::Map { key }) => Some(key.clone()),
        Some(Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown) | None => None,
    };
    Misread { path: Some(path.to_string()).filter(|path| path != "."), argument, problem }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::read;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        items: Vec<Item>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Item {
        count: u8,
    }

    #[test]
    fn arguments_are_read_and_the_error_says_where_they_are_wrong() {
        assert_eq!(read::<Order>(r#"{"items": [{"count": 1}]}"#), Ok(Order { items: vec![Item { count: 1 }] }));
        assert!(read::<HashMap<(), ()>>("").is_ok() && read::<HashMap<(), ()>>(" {} ").is_ok());
        for (arguments, problem) in [
            (r#"{"items": [{"count": 1}, {"count": 300}]}"#, "at `items[1].count`: invalid value: integer `300`"),
            (r#"{"items": [{}]}"#, "at `items[0]`: missing field `count`"),
            ("{}", "missing field `items`"),
            ("", "missing field `items`"),
            (r#"{"items": ["#, "EOF"),
            (r#"{"items": []} and so on"#, "trailing characters"),
        ] {
            let error = read::<Order>(arguments).unwrap_err().to_string();
            assert!(error.starts_with(problem) || error.contains("EOF") && problem == "EOF", "{error}");
        }
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only its form matters")]
    struct Payment {
        account: Account,
        amounts: Option<HashMap<String, u8>>,
        at: Option<std::net::IpAddr>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase", deny_unknown_fields)]
    #[allow(dead_code, reason = "only its form matters")]
    enum Account {
        Checking,
        Saving,
        Of { number: u32 },
    }

    #[test]
    fn what_is_said_without_values_names_the_argument_and_what_was_expected() {
        for (arguments, said) in [
            (r#"{"account": "secret"}"#, "at `account`: expected one of `checking`, `saving`, `of`"),
            (r#"{"account": "secret, expected secret"}"#, "at `account`: expected one of `checking`, `saving`, `of`"),
            (r#"{"account": {"of": {"number": "secret"}}}"#, "at `account`: expected u32"),
            (r#"{"account": {"of": {"secret": 1}}}"#, "at `account`: expected `number`"),
            (r#"{"account": "saving", "amounts": {"secret": 300}}"#, "at `amounts`: expected u8"),
            (r#"{"account": "saving", "amounts": "secret"}"#, "at `amounts`: expected a map"),
            (r#"{"account": "saving", "at": "secret"}"#, "at `at`: it does not have the form that was expected"),
            ("{}", "at `account`: it does not have the form that was expected"),
        ] {
            let error = read::<Payment>(arguments).unwrap_err();
            assert_eq!(error.without_values(), said, "{error}");
        }
    }
}
