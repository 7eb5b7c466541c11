//! The OpenAPI document, held against what is answered.

use std::collections::BTreeSet;

use jsonschema::Draft;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

mod answers;
mod events;

/// The document of a scope.
pub(crate) struct Document(Value);

impl Document {
    /// The document of the scope at this address; all scopes have the same.
    pub(crate) async fn at(address: &str) -> &'static Self {
        static DOCUMENT: OnceCell<Document> = OnceCell::const_new();
        let fetched = DOCUMENT.get_or_init(|| async {
            let mut document: Value =
                reqwest::get(format!("{address}/openapi.json")).await.unwrap().json().await.unwrap();
            let components = document["components"]["schemas"].clone();
            close(&mut document, &components);
            Self(document)
        });
        fetched.await
    }

    /// The path of the document that this one is an instance of.
    fn template(&self, path: &str) -> Option<&str> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let template: Vec<&str> = template.split('/').collect();
            let alike = |(one, other): (&&str, &&str)| one == other || one.starts_with('{') && !other.is_empty();
            template.len() == parts.len() && template.iter().zip(&parts).all(alike)
        };
        self.0["paths"].as_object().unwrap().keys().map(String::as_str).find(|template| fits(template))
    }

    /// Checks that the document knows of this answer, and that the answer has nothing but what the document says. Says which
    /// one it is, when it is the answer of an operation.
    #[track_caller]
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        status: u16,
        media_type: &str,
        body: &Value,
    ) -> Option<String> {
        let template = self.template(path)?;
        let operation = self.0["paths"][template].get(method.as_str().to_lowercase())?;
        let known = &operation["responses"][status.to_string()];
        assert!(known.is_object(), "{method} {template} is not said to answer {status}: {body}");
        let contents = known["content"].as_object();
        let name = format!("{} {status}", operation["operationId"].as_str().unwrap());
        let Some(contents) = contents else {
            assert!(body.is_null(), "{name} is said to have no body: {body}");
            return Some(name);
        };
        let content = contents.get(media_type);
        let content = content.unwrap_or_else(|| panic!("{name} is not said to be of type {media_type:?}"));
        self.validate(&name, &content["schema"], body);
        let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:greenroom:problem:"));
        Some(kind.map_or_else(|| name.clone(), |kind| format!("{name} {kind}")))
    }

    #[track_caller]
    pub(crate) fn validate(&self, name: &str, schema: &Value, instance: &Value) {
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        let validator = validator.build(&schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(instance).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:?} in {instance}");
    }

    /// Every answer that the document knows of, with each of its problems.
    fn answers(&self) -> BTreeSet<String> {
        let mut answers = BTreeSet::new();
        for operation in
            self.0["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
        {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let name = format!("{} {status}", operation["operationId"].as_str().unwrap());
                let kinds =
                    &answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["type"]["enum"];
                match kinds.as_array() {
                    Some(kinds) => answers.extend(kinds.iter().map(|kind| {
                        format!("{name} {}", kind.as_str().unwrap().trim_start_matches("urn:greenroom:problem:"))
                    })),
                    None => {
                        answers.insert(name);
                    }
                }
            }
        }
        answers
    }
}

/// Forbids what a schema does not name, wherever one is used that names anything: clients have to expect more, these tests
/// have not.
fn close(value: &mut Value, components: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, components)),
        Value::Object(entries) => {
            for (key, entry) in entries.iter_mut() {
                close(entry, components);
                match key.as_str() {
                    "schema" | "items" => close_one(entry, components),
                    "properties" => {
                        entry.as_object_mut().unwrap().values_mut().for_each(|one| close_one(one, components));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn close_one(schema: &mut Value, components: &Value) {
    let named = schema["$ref"].as_str().map(|name| &components[name.trim_start_matches("#/components/schemas/")]);
    let meant = named.unwrap_or(schema);
    if meant.get("properties").is_some() || meant.get("allOf").is_some() {
        schema["unevaluatedProperties"] = json!(false);
    }
}

#[test]
#[should_panic(expected = "novelty")]
fn what_the_document_does_not_name_is_found() {
    let mut document = json!({
        "paths": {"/runs": {"get": {"operationId": "list", "responses": {"200": {"content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/Page"}}}}}}}},
        "components": {"schemas": {
            "Page": {"type": "object", "properties": {"runs": {"type": "array", "items": {"$ref": "#/components/schemas/Run"}}}},
            "Run": {"allOf": [{"type": "object", "properties": {"one": {"type": "integer"}}}]},
        }},
    });
    let components = document["components"]["schemas"].clone();
    close(&mut document, &components);
    let document = Document(document);
    let check = |body| document.check(&Method::GET, "/runs", 200, "application/json", &body);
    assert_eq!(check(json!({"runs": [{"one": 1}]})).unwrap(), "list 200");
    check(json!({"runs": [{"one": 1, "novelty": 2}]}));
}
