//! Reading and writing the envelope of an object that is held as plain JSON.

use serde_json::{Map, Value};

/// An object's `metadata.<field>`, where it is a string.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    meta(object, "name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    meta(object, "namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    meta(object, "uid")
}

/// `metadata.resourceVersion` as text; empty if absent.
pub(crate) fn revision(object: &Value) -> &str {
    meta(object, "resourceVersion")
}

pub(crate) fn is_terminating(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
}

pub(crate) fn generation(object: &Value) -> u64 {
    object.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or_default()
}

/// `metadata.<field>`, where it is a list of strings.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// UIDs in `metadata.ownerReferences`.
pub(crate) fn owners(object: &Value) -> Vec<&str> {
    let list = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|owner| owner.get("uid")).filter_map(Value::as_str).collect()
}

/// `metadata`, made an object if it was not one.
pub(crate) fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let meta = &mut object["metadata"];
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    match meta {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object just now"),
    }
}

/// Sets `metadata.<field>`, or removes it.
pub(crate) fn set_meta(object: &mut Value, field: &str, value: Option<Value>) {
    let meta = meta_mut(object);
    match value {
        Some(value) => meta.insert(field.to_owned(), value),
        None => meta.remove(field),
    };
}

/// Sets a top-level field, or removes it.
pub(crate) fn set_field(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    match value {
        Some(value) => map.insert(field.to_owned(), value),
        None => map.remove(field),
    };
}

/// Removes one finalizer; the list itself when it was the last.
pub(crate) fn drop_finalizer(object: &mut Value, finalizer: &str) {
    let left: Vec<Value> =
        finalizers(object).into_iter().filter(|name| *name != finalizer).map(Value::from).collect();
    set_meta(object, "finalizers", (!left.is_empty()).then_some(Value::Array(left)));
}

/// Now, as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
pub(crate) fn now() -> Value {
    let now = jiff::Timestamp::now();
    Value::from(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
