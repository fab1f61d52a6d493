//! From what a client sent to what could be stored: type check, pruning, defaults, conversion.

use serde_json::{Map, Number, Value};

use crate::convert;
use crate::object;
use crate::query::Query;
use crate::resource::Resource;
use crate::status::ApiError;

/// The fields that `metadata` has; others are dropped.
const META_FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// An object fit for the store, and what a client that asked for it is told about dropped fields.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
}

/// `fieldValidation`: what to do about unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    Ignore,
    Warn,
    Strict,
}

impl Strictness {
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        match query.get("fieldValidation") {
            None | Some("Warn") => Ok(Strictness::Warn),
            Some("Ignore") => Ok(Strictness::Ignore),
            Some("Strict") => Ok(Strictness::Strict),
            Some(other) => Err(ApiError::bad_request(format!(
                "query parameter fieldValidation={other:?}: supported values: \"Ignore\", \"Warn\", \"Strict\""
            ))),
        }
    }
}

/// Decodes an object of a resource.
pub(crate) fn decode(
    resource: &Resource,
    object: Value,
    strictness: Strictness,
) -> Result<Decoded, ApiError> {
    let mut decoded = known(resource, object, strictness)?;
    resource.schema.apply_defaults(&mut decoded.object);
    convert::to_storage(resource, &mut decoded.object);
    Ok(decoded)
}

/// What is known to the schema, as it was sent: without defaults, at the version of the request.
pub(crate) fn known(
    resource: &Resource,
    mut object: Value,
    strictness: Strictness,
) -> Result<Decoded, ApiError> {
    check_kind(resource, &mut object)?;
    normalize_numbers(&mut object);
    if !resource.custom {
        // Typed decoding, as a real server does for its own kinds, knows no null but the zero value.
        strip_nulls(&mut object);
    }
    let mut dropped = meta(&mut object)?;
    dropped.extend(resource.schema.prune(&mut object));
    let unknown = || dropped.iter().map(|path| format!("unknown field \"{path}\""));
    if strictness == Strictness::Strict && !dropped.is_empty() {
        let list = unknown().collect::<Vec<_>>().join(", ");
        let message = format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {list}",
            resource.kind, resource.version, resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    let warnings = if strictness == Strictness::Warn { unknown().collect() } else { Vec::new() };
    Ok(Decoded { object, warnings })
}

fn check_kind(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let Some(map) = object.as_object_mut() else {
        return Err(ApiError::bad_request("the body of the request is not a JSON object"));
    };
    if !resource.custom {
        map.entry("kind").or_insert_with(|| resource.kind.as_str().into());
        map.entry("apiVersion").or_insert_with(|| resource.api_version().into());
    }
    let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    if kind.is_empty() || version.is_empty() {
        let field = if kind.is_empty() { "Kind" } else { "apiVersion" };
        return Err(ApiError::bad_request(format!("Object '{field}' is missing in the body of the request")));
    }
    if version != resource.api_version() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            resource.api_version()
        )));
    }
    if kind != resource.kind {
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: no kind {kind:?} is expected at this path",
            resource.version, resource.kind
        )));
    }
    Ok(())
}

/// Numbers that are whole become integers, however they were written.
fn normalize_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64())
                && float.fract() == 0.0
                && float.abs() <= EXACT
            {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalize_numbers),
        Value::Object(map) => map.values_mut().for_each(normalize_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Brings `metadata` into shape; returns what was dropped from it.
fn meta(object: &mut Value) -> Result<Vec<String>, ApiError> {
    if !matches!(object.get("metadata"), None | Some(Value::Null | Value::Object(_))) {
        return Err(wrong_type("metadata", "an object"));
    }
    let meta = object::meta_mut(object);
    let mut dropped = Vec::new();
    meta.retain(|name, value| {
        let known = META_FIELDS.contains(&name.as_str());
        if !known {
            dropped.push(format!("metadata.{name}"));
        }
        known && !value.is_null()
    });
    // Written by the server alone.
    meta.remove("selfLink");
    for field in ["labels", "annotations"] {
        check_strings(meta, field)?;
    }
    for field in ["name", "generateName", "namespace", "uid", "resourceVersion"] {
        if meta.get(field).is_some_and(|value| !value.is_string()) {
            return Err(wrong_type(&format!("metadata.{field}"), "a string"));
        }
    }
    for field in ["finalizers", "ownerReferences"] {
        if meta.get(field).is_some_and(|value| !value.is_array()) {
            return Err(wrong_type(&format!("metadata.{field}"), "a list"));
        }
        if meta.get(field).and_then(Value::as_array).is_some_and(Vec::is_empty) {
            meta.remove(field);
        }
    }
    Ok(dropped)
}

fn check_strings(meta: &mut Map<String, Value>, field: &str) -> Result<(), ApiError> {
    let Some(value) = meta.get_mut(field) else { return Ok(()) };
    let Some(map) = value.as_object_mut() else {
        return Err(wrong_type(&format!("metadata.{field}"), "an object"));
    };
    map.retain(|_, value| !value.is_null());
    if let Some((key, _)) = map.iter().find(|(_, value)| !value.is_string()) {
        return Err(wrong_type(&format!("metadata.{field}[{key}]"), "a string"));
    }
    if map.is_empty() {
        meta.remove(field);
    }
    Ok(())
}

fn wrong_type(path: &str, wanted: &str) -> ApiError {
    ApiError::bad_request(format!("cannot decode the body of the request: {path} must be {wanted}"))
}
