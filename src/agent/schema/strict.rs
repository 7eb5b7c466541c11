//! The subset of JSON Schema that providers can hold a model to, after OpenAI's documentation of strict mode.

use serde_json::{Value, json};

use super::Object;

/// How deep objects may be nested, and how many properties and listed values a schema may have.
const DEEPEST: usize = 10;
const MOST_PROPERTIES: usize = 5000;
const MOST_VALUES: usize = 1000;

/// What only explains, so that nothing is lost without it.
const NOTES: [&str; 8] = ["$schema", "$comment", "title", "default", "examples", "deprecated", "readOnly", "writeOnly"];

/// What may stay as it is.
const KEPT: [&str; 12] = [
    "type",
    "description",
    "const",
    "pattern",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "$ref",
];

/// The formats of texts that are known there.
const FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// The schema in its strict form: it asks for every property, and closes every object. `None` when the schema says what the
/// subset cannot.
pub(super) fn made_strict(schema: &Value) -> Option<Value> {
    let mut strict = Strict { properties: 0, values: 0 };
    let mut root = strict.object(schema.as_object()?, 0)?;
    if root.get("type").and_then(Value::as_str) != Some("object") {
        return None;
    }
    // At the root it is an empty struct; deeper down it could mean any object.
    if !root.contains_key("properties") {
        close(&mut root, Object::new());
    }
    Some(root.into())
}

struct Strict {
    properties: usize,
    values: usize,
}

impl Strict {
    /// A schema within so many objects.
    fn schema(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        let object = self.object(schema.as_object()?, depth)?;
        let is_open =
            object.get("type").is_some_and(|kind| names(kind, "object")) && !object.contains_key("properties");
        let says_nothing = object.keys().all(|key| key == "description");
        (!is_open && !says_nothing).then(|| object.into())
    }

    fn object(&mut self, schema: &Object, depth: usize) -> Option<Object> {
        let mut strict = Object::new();
        for (key, value) in schema {
            match key.as_str() {
                note if NOTES.contains(&note) => {}
                kept if KEPT.contains(&kept) => drop(strict.insert(key.clone(), value.clone())),
                "format" => self.format(schema, value, &mut strict)?,
                "enum" => {
                    self.values += value.as_array()?.len();
                    strict.insert(key.clone(), value.clone());
                }
                "items" => drop(strict.insert(key.clone(), self.schema(value, depth)?)),
                // The provider knows only the first. What fits several choices is read by serde as one of them.
                "anyOf" | "oneOf" => {
                    let choices = value.as_array()?.iter().map(|choice| self.schema(choice, depth));
                    let choices = choices.collect::<Option<Vec<_>>>()?;
                    if strict.insert("anyOf".to_owned(), choices.into()).is_some() {
                        return None;
                    }
                }
                "$defs" => {
                    let definitions = value.as_object()?.iter();
                    let definitions = definitions.map(|(name, schema)| Some((name.clone(), self.schema(schema, 1)?)));
                    strict.insert(key.clone(), Value::Object(definitions.collect::<Option<_>>()?));
                }
                "properties" => {
                    let properties = self.all_required(schema, value.as_object()?, depth + 1)?;
                    close(&mut strict, properties);
                }
                "required" => {}
                "additionalProperties" => (*value == json!(false)).then_some(())?,
                _ => return None,
            }
        }
        if strict.contains_key("$ref") {
            // Nothing may stand beside a reference.
            strict.remove("description");
            (strict.len() == 1).then_some(())?;
        }
        let fits = depth <= DEEPEST && self.properties <= MOST_PROPERTIES && self.values <= MOST_VALUES;
        fits.then_some(strict)
    }

    /// The properties of an object, when each of them can be given: what may be left out has to have a way to say so.
    fn all_required(&mut self, schema: &Object, properties: &Object, depth: usize) -> Option<Object> {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|required| required.iter().any(|one| one == name));
        self.properties += properties.len();
        let each = properties.iter().map(|(name, property)| {
            (is_required(name) || may_be_null(property)).then_some(())?;
            Some((name.clone(), self.schema(property, depth)?))
        });
        each.collect()
    }

    /// Of a number, the format is a note on its size, which its bounds say as well; of a text, it is a demand.
    fn format(&self, schema: &Object, format: &Value, strict: &mut Object) -> Option<()> {
        if schema.get("type").is_none_or(|kind| names(kind, "string")) {
            FORMATS.contains(&format.as_str()?).then_some(())?;
            strict.insert("format".to_owned(), format.clone());
        }
        Some(())
    }
}

fn close(object: &mut Object, properties: Object) {
    let required: Vec<Value> = properties.keys().map(|name| name.as_str().into()).collect();
    object.insert("properties".to_owned(), properties.into());
    object.insert("required".to_owned(), required.into());
    object.insert("additionalProperties".to_owned(), false.into());
}

/// Whether a schema's `type` names `wanted`, alone or among others.
fn names(kind: &Value, wanted: &str) -> bool {
    kind == wanted || kind.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == wanted))
}

/// Whether the schema takes `null`, so that serde reads nothing as well.
pub(crate) fn may_be_null(schema: &Value) -> bool {
    let mut choices = ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    schema.get("type").is_some_and(|kind| names(kind, "null")) || choices.any(may_be_null)
}
