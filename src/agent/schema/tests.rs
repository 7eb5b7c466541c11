//! What models are told of Rust types.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ModelSchema, name_of, schema_of};

/// Fields are read by serde, not by the tests.
macro_rules! types {
    ($($(#[$note:meta])* $kind:ident $name:ident $body:tt)*) => {
        $(#[derive(Deserialize, Serialize, JsonSchema, Debug)]
        #[allow(dead_code, reason = "only its form matters")]
        $(#[$note])*
        $kind $name $body)*
    };
}

types! {
    struct Search {
        /// What to look for.
        query: String,
        limit: Option<u8>,
        #[serde(default)]
        order: Option<Order>,
        within: Option<Place>,
        tags: Vec<String>,
    }
    enum Order { Newest, Oldest }
    enum Shape {
        /// Round.
        Circle { radius: f64 },
        Nothing,
    }
    struct Place { lat: f64, lon: f64 }
    struct Nothing {}
    struct Node { name: String, children: Vec<Node> }
    struct Draw { shape: Shape }
    struct Documented {
        /// Where it is.
        place: Place,
    }
    struct WithDefault {
        #[serde(default)]
        count: u32,
    }
    struct WithMap { labels: BTreeMap<String, String> }
    struct WithSet { labels: BTreeSet<String> }
    struct WithPair { pair: (u8, u8) }
    struct WithAnything { anything: Value }
    struct WithLetter { letter: char }
    struct WithRest {
        name: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    struct WithLength {
        #[schemars(length(max = 5))]
        name: String,
    }
    struct WithUrl {
        #[schemars(extend("format" = "uri"))]
        url: String,
    }
    struct WithDate {
        #[schemars(extend("format" = "date"))]
        date: String,
    }
}

fn fits(schema: &ModelSchema, instance: &Value) -> bool {
    jsonschema::draft202012::new(&schema.schema).unwrap().is_valid(instance)
}

/// Whether every object of the schema is closed and asks for all that it has, and no keyword is one that strict mode refuses.
fn keeps_to_the_subset(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else { return false };
    let keywords = [
        "type",
        "description",
        "const",
        "enum",
        "anyOf",
        "items",
        "properties",
        "required",
        "additionalProperties",
        "minimum",
        "maximum",
        "format",
        "$ref",
        "$defs",
    ];
    let known = object.keys().all(|key| keywords.contains(&key.as_str()));
    let closed = object.get("properties").is_none_or(|properties| {
        let names: Vec<&String> = properties.as_object().unwrap().keys().collect();
        object["additionalProperties"] == json!(false) && object["required"] == json!(names)
    });
    let within =
        ["properties", "$defs"].iter().filter_map(|key| object.get(*key)?.as_object()).flat_map(|o| o.values());
    let listed = object.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    known && closed && within.chain(listed).chain(object.get("items")).all(keeps_to_the_subset)
}

#[test]
fn a_schema_is_strict_when_all_that_may_be_left_out_may_be_null() {
    let schema = schema_of::<Search>();
    assert!(schema.strict && keeps_to_the_subset(&schema.schema), "{}", schema.schema);
    // The order is that of `serde_json`, which differs with a feature of it.
    let mut required: Vec<_> = schema.schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    required.sort_unstable();
    assert_eq!(required, ["limit", "order", "query", "tags", "within"]);
    assert_eq!(schema.schema["properties"]["query"]["description"], "What to look for.");
    let full = json!({"query": "a", "limit": 3, "order": "Newest", "within": {"lat": 1.0, "lon": 2.0}, "tags": []});
    let bare = json!({"query": "a", "limit": null, "order": null, "within": null, "tags": ["x"]});
    for instance in [full, bare] {
        assert!(fits(&schema, &instance), "{instance}");
        serde_json::from_value::<Search>(instance).unwrap();
    }
    for wrong in [json!({"query": "a"}), json!({"query": "a", "limit": 300, "order": null, "within": null, "tags": []})]
    {
        assert!(!fits(&schema, &wrong), "{wrong}");
    }
}

#[test]
fn empty_structs_recursive_ones_and_choices_are_strict_as_well() {
    let choice = json!({"shape": {"Circle": {"radius": 1.0}}});
    let tree = json!({"name": "a", "children": [{"name": "b", "children": []}]});
    let documented = json!({"place": {"lat": 1.0, "lon": 2.0}});
    for (schema, instance) in [
        (schema_of::<Nothing>(), json!({})),
        (schema_of::<Node>(), tree),
        (schema_of::<Draw>(), choice),
        (schema_of::<Draw>(), json!({"shape": "Nothing"})),
        (schema_of::<Documented>(), documented),
        (schema_of::<WithDate>(), json!({"date": "2026-01-01"})),
    ] {
        assert!(schema.strict && keeps_to_the_subset(&schema.schema), "{}", schema.schema);
        assert!(fits(&schema, &instance), "{instance} {}", schema.schema);
        assert!(!fits(&schema, &json!({"more": 1})));
    }
}

#[test]
fn what_the_subset_cannot_say_is_said_as_it_is_and_not_strict() {
    for (schema, instance) in [
        (schema_of::<WithDefault>(), json!({})),
        (schema_of::<WithMap>(), json!({"labels": {"a": "b"}})),
        (schema_of::<WithSet>(), json!({"labels": ["a"]})),
        (schema_of::<WithPair>(), json!({"pair": [1, 2]})),
        (schema_of::<WithAnything>(), json!({"anything": [1]})),
        (schema_of::<WithLetter>(), json!({"letter": "a"})),
        (schema_of::<WithRest>(), json!({"name": "a", "more": 1})),
        (schema_of::<WithLength>(), json!({"name": "a"})),
        (schema_of::<WithUrl>(), json!({"url": "https://example.com"})),
    ] {
        assert!(!schema.strict, "{}", schema.schema);
        assert!(fits(&schema, &instance), "{instance} {}", schema.schema);
    }
}

#[test]
fn the_name_of_a_form_is_one_that_models_take() {
    assert_eq!(name_of::<Search>(), "Search");
    let name = name_of::<BTreeMap<String, Vec<Search>>>();
    assert!(name.len() <= 64 && name.chars().all(super::is_of_names), "{name}");
}
