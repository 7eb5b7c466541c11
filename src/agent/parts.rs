//! The parts of a message that shows something: texts, images, files.

use serde::Deserialize;

use crate::run::Content;

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Part {
    Text { text: String },
    Image { url: String },
    File { url: String },
}

/// The parts of a content, if that is what it consists of.
pub(super) fn parts(content: &Content) -> Option<Vec<Part>> {
    let values = content.as_json().as_array().filter(|values| !values.is_empty())?;
    values.iter().map(|value| Part::deserialize(value).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Part, parts};
    use crate::run::Content;

    #[test]
    fn only_an_array_of_nothing_but_parts_is_one() {
        let read = |json| parts(&Content::from(json));
        let image = Part::Image { url: "https://a.example/b.png".to_owned() };
        assert_eq!(read(json!([{"type": "image", "url": "https://a.example/b.png"}])), Some(vec![image]));
        for other in [
            json!("text"),
            json!([]),
            json!([1]),
            json!([{"type": "text"}]),
            json!([{"type": "text", "text": "a"}, {"type": "invoice", "url": "b"}]),
            json!([{"type": "text", "text": "a", "price": 3}]),
            json!({"type": "text", "text": "a"}),
        ] {
            assert_eq!(read(other.clone()), None, "{other}");
        }
    }
}
