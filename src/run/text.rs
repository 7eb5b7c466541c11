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

/// How deep JSON may be nested. What is stored is put into something else that is, and `serde_json` reads 127 levels.
const DEEPEST: usize = 100;

/// What is wrong with `value` as something that is to be stored and read again, if anything.
pub(crate) fn storing_problem(value: &Value) -> Option<String> {
    if contains_nul(value) {
        return Some("must not contain the character U+0000, which Postgres cannot store".to_owned());
    }
    nesting_problem(value)
}

/// What is wrong with how deeply `value` is nested, if anything.
pub(crate) fn nesting_problem(value: &Value) -> Option<String> {
    is_deeper(value, DEEPEST).then(|| format!("must be nested at most {DEEPEST} levels deep"))
}

/// Replaces every U+0000 in `value` by U+FFFD, the replacement character, and what is nested too deeply by its JSON as a text.
pub(crate) fn make_storable(value: &mut Value) {
    replace_nul(value);
    write_out(value, DEEPEST);
}

/// Whether a string or a key anywhere in `value` contains U+0000, which Postgres can hold in neither `text` nor `jsonb`.
fn contains_nul(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(entries) => entries.iter().any(|(key, item)| key.contains('\0') || contains_nul(item)),
    }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(items) => items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(entries) => entries.values().any(|item| is_deeper(item, levels - 1)),
    }
}

fn replace_nul(value: &mut Value) {
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

/// Replaces what is deeper than `levels` by its JSON as a text.
fn write_out(value: &mut Value, levels: usize) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(_) | Value::Object(_) if levels == 0 => *value = Value::String(value.to_string()),
        Value::Array(items) => items.iter_mut().for_each(|item| write_out(item, levels - 1)),
        Value::Object(entries) => entries.values_mut().for_each(|item| write_out(item, levels - 1)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{DEEPEST, make_storable, name_problem, storing_problem};

    /// A text within as many levels, arrays and objects by turns.
    fn nested(levels: usize) -> Value {
        (0..levels)
            .fold(json!("a \" text"), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"k": inner}) })
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_or_becomes_a_text_and_nothing_of_it_is_lost() {
        for levels in [0, 1, DEEPEST] {
            let mut value = nested(levels);
            assert_eq!(storing_problem(&value), None);
            make_storable(&mut value);
            assert_eq!(value, nested(levels), "{levels}");
        }
        for levels in [DEEPEST + 1, 127, 500] {
            let mut value = nested(levels);
            assert!(storing_problem(&value).unwrap().contains("100 levels"));
            make_storable(&mut value);
            assert_eq!(storing_problem(&value), None);
            let inside = (0..DEEPEST).fold(&value, |value, _| value.get(0).or_else(|| value.get("k")).unwrap());
            assert_eq!(inside.as_str().unwrap(), nested(levels - DEEPEST).to_string());
        }
    }

    #[test]
    fn a_nul_is_found_and_replaced_at_any_depth() {
        let mut value = json!({"a": ["b", {"c\0": "d\0e"}], "n": 1});
        assert!(storing_problem(&value).unwrap().contains("U+0000"));
        make_storable(&mut value);
        assert_eq!(storing_problem(&value), None);
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
