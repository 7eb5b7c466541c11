//! Which texts the stores can hold.

use serde_json::Value;

/// The longest id or name, in bytes: it has to fit into an index row of Postgres beside others.
pub(crate) const MAX_NAME: usize = 255;

/// What is wrong with `name` as an id or a name, if anything.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("must not be empty".to_owned())
    } else if name.len() > MAX_NAME {
        Some(format!("must be at most {MAX_NAME} bytes long, found {}", name.len()))
    } else if name.chars().any(char::is_control) {
        Some("must not contain control characters".to_owned())
    } else {
        None
    }
}

/// Whether a string or a key anywhere in `value` contains U+0000, which Postgres can hold in neither `text` nor `jsonb`.
pub(crate) fn contains_nul(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(entries) => entries.iter().any(|(key, item)| key.contains('\0') || contains_nul(item)),
    }
}

/// Replaces every U+0000 in `value` by U+FFFD, the replacement character.
pub(crate) fn replace_nul(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            if text.contains('\0') {
                *text = text.replace('\0', "\u{fffd}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(entries) => {
            if entries.keys().any(|key| key.contains('\0')) {
                *entries = std::mem::take(entries)
                    .into_iter()
                    .map(|(key, item)| (key.replace('\0', "\u{fffd}"), item))
                    .collect();
            }
            entries.values_mut().for_each(replace_nul);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{contains_nul, name_problem, replace_nul};

    #[test]
    fn a_nul_is_found_and_replaced_at_any_depth() {
        let mut value = json!({"a": ["b", {"c\0": "d\0e"}], "n": 1});
        assert!(contains_nul(&value));
        replace_nul(&mut value);
        assert!(!contains_nul(&value));
        assert_eq!(value, json!({"a": ["b", {"c\u{fffd}": "d\u{fffd}e"}], "n": 1}));
    }

    #[test]
    fn names_are_refused_for_what_is_wrong_with_them() {
        assert_eq!(name_problem("ok, even with spaces"), None);
        assert!(name_problem("").unwrap().contains("empty"));
        assert!(name_problem(&"x".repeat(256)).unwrap().contains("255"));
        assert!(name_problem("a\0b").unwrap().contains("control"));
    }
}
