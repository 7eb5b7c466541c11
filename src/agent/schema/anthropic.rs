//! The subset of JSON Schema that Anthropic can hold a model to, and how much of it at once, after its
//! [documentation](https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations).

use serde_json::Value;

use super::Object;
use crate::agent::ModelRequest;

/// How many strict tools a request may have, and how many places in its strict schemas may be of several types.
const MOST_TOOLS: usize = 20;
const MOST_UNIONS: usize = 16;

/// What may stay as it is.
const KEPT: [&str; 9] =
    ["type", "description", "title", "default", "const", "enum", "format", "required", "additionalProperties"];

/// What only narrows a value down. The API refuses these, and of patterns those that its own dialect does not know.
const BOUNDS: [&str; 13] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

/// The request, of which only that is strict which the API takes as such. A schema that says more, or for which there is no room,
/// is left as it is and not strict.
pub(crate) fn held_by_anthropic(mut request: ModelRequest) -> ModelRequest {
    let (mut unions, mut tools) = (MOST_UNIONS, MOST_TOOLS);
    if let Some(output) = request.output.as_mut().filter(|output| output.strict) {
        output.strict = replace(&mut output.schema, &mut unions);
    }
    for tool in request.tools.iter_mut().filter(|tool| tool.strict) {
        tool.strict = tools > 0 && replace(&mut tool.parameters, &mut unions);
        tools -= usize::from(tool.strict);
    }
    request
}

/// Puts the schema in the form that the model can be held to, if there is one.
fn replace(schema: &mut Value, unions: &mut usize) -> bool {
    let mut left = *unions;
    let Some(held) = held(schema, &mut left) else { return false };
    (*schema, *unions) = (held, left);
    true
}

/// The schema without its bounds, which are told in words, as Anthropic's own clients do.
fn held(schema: &Value, unions: &mut usize) -> Option<Value> {
    let schema = schema.as_object()?;
    if schema.contains_key("anyOf") || schema.get("type").is_some_and(Value::is_array) {
        *unions = unions.checked_sub(1)?;
    }
    let (mut held_to, mut bounds) = (Object::new(), Vec::new());
    for (key, value) in schema {
        let value = match key.as_str() {
            kept if KEPT.contains(&kept) => value.clone(),
            "minItems" if matches!(value.as_u64(), Some(0 | 1)) => value.clone(),
            bound if BOUNDS.contains(&bound) => {
                bounds.push(format!("{bound}: {value}"));
                continue;
            }
            "items" => held(value, unions)?,
            "anyOf" => value.as_array()?.iter().map(|choice| held(choice, unions)).collect::<Option<_>>()?,
            "properties" => {
                let each = value.as_object()?.iter();
                let each = each.map(|(name, property)| Some((name.clone(), held(property, unions)?)));
                Value::Object(each.collect::<Option<_>>()?)
            }
            // References among it: what could be inlined has been, so they are to the schema itself.
            _ => return None,
        };
        held_to.insert(key.clone(), value);
    }
    if !bounds.is_empty() {
        let bounds = format!("{{{}}}", bounds.join(", "));
        let said = held_to.get("description").and_then(Value::as_str);
        let said = said.map_or_else(|| bounds.clone(), |said| format!("{said}\n\n{bounds}"));
        held_to.insert("description".to_owned(), said.into());
    }
    Some(held_to.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MOST_TOOLS, MOST_UNIONS, held_by_anthropic};
    use crate::agent::{ModelRequest, OutputSpec, ToolSpec};

    fn strict(parameters: Value) -> ToolSpec {
        ToolSpec { strict: true, ..ToolSpec::new("look", "", parameters) }
    }

    fn object(properties: &Value) -> Value {
        let required: Vec<_> = properties.as_object().unwrap().keys().collect();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }

    fn held(tools: Vec<ToolSpec>, output: Option<Value>) -> ModelRequest {
        let output = output.map(|schema| OutputSpec { strict: true, ..OutputSpec::new("form", schema) });
        held_by_anthropic(ModelRequest { tools, output, ..ModelRequest::default() })
    }

    #[test]
    fn bounds_are_told_in_words_and_names_are_not_taken_for_them() {
        let with_bounds = json!({
            "minimum": {"type": "integer", "minimum": 0, "description": "The least."},
            "list": {"type": "array", "items": {"type": "string", "pattern": "^a$"}, "minItems": 1, "maxItems": 3},
        });
        let expected = object(&json!({
            "minimum": {"type": "integer", "description": "The least.\n\n{minimum: 0}"},
            "list": {
                "type": "array", "items": {"type": "string", "description": "{pattern: \"^a$\"}"}, "minItems": 1,
                "description": "{maxItems: 3}",
            },
        }));

        let request = held(vec![strict(object(&with_bounds))], Some(object(&with_bounds)));

        assert_eq!((&request.tools[0].parameters, request.tools[0].strict), (&expected, true));
        assert_eq!(request.output.map(|output| (output.schema, output.strict)), Some((expected, true)));
    }

    #[test]
    fn a_schema_that_says_more_is_left_as_it_is_and_not_strict() {
        let recursive = object(&json!({"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "n": {"minimum": 0}}));
        let request = held(vec![strict(recursive.clone())], Some(recursive.clone()));
        assert_eq!((&request.tools[0].parameters, request.tools[0].strict), (&recursive, false));
        assert_eq!(request.output.map(|output| (output.schema, output.strict)), Some((recursive, false)));
    }

    #[test]
    fn no_more_is_strict_than_the_api_takes_at_once() {
        let plain = object(&json!({"a": {"type": "string"}}));
        let nullable = |n: usize| {
            let names = (0..n).map(|n| (n.to_string(), json!({"type": ["string", "null"]})));
            object(&Value::Object(names.collect()))
        };
        let count = |request: ModelRequest| request.tools.iter().filter(|tool| tool.strict).count();
        assert_eq!(count(held(vec![strict(plain.clone()); MOST_TOOLS + 5], None)), MOST_TOOLS);

        let tools = vec![strict(nullable(MOST_UNIONS - 2)), strict(nullable(3)), strict(plain), strict(nullable(1))];
        let request = held(tools, Some(nullable(1)));
        let which: Vec<_> = request.tools.iter().map(|tool| tool.strict).collect();
        assert_eq!(which, [true, false, true, true]);
    }
}
