//! What makes a schema structural: without it a real server refuses the CRD, so this one does too.
//!
//! Checked: every node has a type (but int-or-string and preserve-unknown ones), `properties` and
//! `additionalProperties` exclude each other, arrays say what they hold, list-type `map` names keys that the
//! items have, junctors (`allOf`, …) hold value validations only, defaults are not within them.

use serde_json::{Map, Value};

use crate::field::{FieldError, child, item};

/// Checks a whole `openAPIV3Schema`.
pub(super) fn check(root: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if root.get("type").and_then(Value::as_str) != Some("object") {
        let found = root.get("type").cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(child(path, "type"), &found, "must be object at the root"));
    }
    node(root, path, errors);
}

fn node(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(map) = value.as_object() else { return };
    let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or_default();
    let untyped = flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    if !map.contains_key("type") && !untyped {
        let detail = "must not be empty for specified object fields";
        errors.push(FieldError { detail: detail.into(), ..FieldError::required(child(path, "type")) });
    }
    if map.get("properties").is_some_and(|p| p.as_object().is_some_and(|p| !p.is_empty()))
        && map.get("additionalProperties").is_some_and(|a| *a != Value::Bool(false))
    {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(child(path, "additionalProperties"), detail));
    }
    if map.get("type").and_then(Value::as_str) == Some("array") && !map.contains_key("items") {
        let detail = "must be specified";
        errors.push(FieldError { detail: detail.into(), ..FieldError::required(child(path, "items")) });
    }
    if flag("uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(child(path, "uniqueItems"), detail));
    }
    list_keys(map, path, errors);
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, branch) in map.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            junctor(branch, &item(&child(path, name), index), flag("x-kubernetes-int-or-string"), errors);
        }
    }
    for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        node(property, &item(&child(path, "properties"), name), errors);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(nested) = map.get(name) {
            node(nested, &child(path, name), errors);
        }
    }
}

/// Branches may only narrow values: what shapes an object stands outside of them.
fn junctor(branch: &Value, path: &str, int_or_string: bool, errors: &mut Vec<FieldError>) {
    let Some(map) = branch.as_object() else { return };
    for name in ["default", "additionalProperties", "nullable", "x-kubernetes-preserve-unknown-fields"] {
        if map.contains_key(name) {
            errors.push(FieldError::forbidden(child(path, name), "must be undefined to be structural"));
        }
    }
    if map.contains_key("type") && !int_or_string {
        errors.push(FieldError::forbidden(child(path, "type"), "must be empty to be structural"));
    }
    for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        junctor(property, &item(&child(path, "properties"), name), false, errors);
    }
    if let Some(items) = map.get("items") {
        junctor(items, &child(path, "items"), false, errors);
    }
}

fn list_keys(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    if map.get("x-kubernetes-list-type").and_then(Value::as_str) != Some("map") {
        return;
    }
    let keys = map.get("x-kubernetes-list-map-keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let path = child(path, "x-kubernetes-list-map-keys");
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError { detail: detail.into(), ..FieldError::required(path.clone()) });
    }
    for key in keys {
        let name = key.as_str().unwrap_or_default();
        let item_schema = map.get("items").unwrap_or(&Value::Null);
        let declared = item_schema.get("properties").and_then(|p| p.get(name));
        let certain = item_schema
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|required| required.contains(&key))
            || declared.is_some_and(|property| property.get("default").is_some());
        if declared.is_none() || !certain {
            let detail = "every key must be a property of the items that is required or has a default";
            errors.push(FieldError::invalid(path.clone(), &key, detail));
        }
    }
}
