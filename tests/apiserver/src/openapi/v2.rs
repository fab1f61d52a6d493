//! The whole API as one OpenAPI 2 document. The older format knows less; what it does not know is left out, as a real
//! server does: a field whose shape it cannot say may be anything.

use serde_json::{Map, Value, json};

use super::{base, kind_of, name, whole};
use crate::discovery::{MAJOR, MINOR};
use crate::resource::Registry;

/// Keywords that mean the same in both formats.
const KEPT: [&str; 4] = ["description", "format", "required", "type"];

/// `/openapi/v2`
pub(crate) fn document(registry: &Registry) -> Value {
    let (mut definitions, mut paths) = (Map::new(), Map::new());
    for resource in registry.all() {
        let mut schema = older(&whole(resource));
        schema["x-kubernetes-group-version-kind"] = json!([kind_of(resource)]);
        definitions.insert(name(resource), schema);
        let parameter = |name: &str| json!({"name": name, "in": "query", "type": "string"});
        let operation = |action: &str| {
            json!({
                "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": kind_of(resource),
            })
        };
        let base = base(resource);
        paths.insert(
            format!("{base}/{{name}}"),
            json!({"patch": operation("patch"), "put": operation("put")}),
        );
        paths.insert(base, json!({"post": operation("post")}));
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "caracal lab API", "version": format!("v{MAJOR}.{MINOR}.0")},
        "paths": paths,
        "definitions": definitions,
    })
}

/// One schema in the older format.
fn older(schema: &Value) -> Value {
    let mut out = Map::new();
    let Some(schema) = schema.as_object() else { return Value::Object(out) };
    for keyword in KEPT {
        if let Some(value) = schema.get(keyword) {
            out.insert(keyword.to_owned(), value.clone());
        }
    }
    let extension = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
    let open = extension("nullable")
        || extension("x-kubernetes-int-or-string")
        || extension("x-kubernetes-preserve-unknown-fields")
        || !schema.get("type").is_some_and(Value::is_string)
        || (schema["type"] == "array" && schema.get("items").is_none());
    if open {
        out.remove("type");
        out.remove("format");
        out.remove("required");
        return Value::Object(out);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let properties: Map<String, Value> =
            properties.iter().map(|(name, schema)| (name.clone(), older(schema))).collect();
        out.insert("properties".into(), properties.into());
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(keyword).filter(|inner| inner.is_object()) {
            out.insert(keyword.to_owned(), older(inner));
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_older_format_cannot_say_may_be_anything() {
        let schema = json!({
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": {"type": "string", "maxLength": 3},
                "b": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "c": {"type": "string", "nullable": true, "description": "why"},
                "d": {"type": "array", "items": {"type": "integer", "format": "int32"}},
            },
        });
        assert_eq!(
            older(&schema),
            json!({
                "type": "object",
                "required": ["a"],
                "properties": {
                    "a": {"type": "string"},
                    "b": {},
                    "c": {"description": "why"},
                    "d": {"type": "array", "items": {"type": "integer", "format": "int32"}},
                },
            })
        );
    }
}
