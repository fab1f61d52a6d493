//! Types and limits of values, with ratcheting.
//!
//! A value that an update leaves exactly as stored is not validated again (KEP-4008), so that a CRD may
//! become stricter without locking out every later change. Uniqueness in sets and maps is not ratcheted.

use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use super::{Limits, ListKind, Schema, Type, correlated};
use crate::field::{Cause, FieldError, child, item};

/// Validates everything of a whole object but its envelope.
pub(super) fn object(schema: &Schema, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    walk(schema, new, old, "", errors);
}

fn walk(schema: &Schema, new: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    if old != Some(new) {
        if !type_fits(schema, new) {
            errors.push(type_error(schema, new, path));
            return;
        }
        if !new.is_null() {
            limits(&schema.limits, new, path, errors);
        }
    }
    match new {
        Value::Object(map) => fields(schema, map, old, path, errors),
        Value::Array(items) => list(schema, items, old, path, errors),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fields(
    schema: &Schema,
    map: &Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let enveloped = path.is_empty() || schema.embedded;
    for (name, value) in map {
        if enveloped && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let Some(known) = schema.field(name) else { continue };
        let path = child(path, name);
        walk(known, value, old.and_then(|old| old.get(name)), &path, errors);
    }
}

fn list(schema: &Schema, items: &[Value], old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (index, value) in items.iter().enumerate() {
        let path = item(path, index);
        let identity = match &schema.list {
            ListKind::Atomic => None,
            ListKind::Set => Some(value.clone()),
            ListKind::Map(keys) => Some(
                keys.iter().map(|key| (key.clone(), value.get(key).cloned().unwrap_or_default())).collect(),
            ),
        };
        if let Some(identity) = identity.filter(|identity| !seen.insert(identity.to_string())) {
            errors.push(FieldError::new(Cause::Duplicate, &path, "").with_value(&identity));
        }
        let Some(schema_of_items) = &schema.items else { continue };
        let before = match &schema.list {
            ListKind::Map(keys) => correlated(keys, value, old),
            ListKind::Set => {
                old.and_then(Value::as_array).and_then(|old| old.iter().find(|old| *old == value))
            }
            // Items of an atomic list stand for nothing: they are compared only as a whole list.
            ListKind::Atomic => {
                old.filter(|old| old.as_array().is_some_and(|old| old == items)).map(|_| value)
            }
        };
        walk(schema_of_items, value, before, &path, errors);
    }
}

fn type_fits(schema: &Schema, value: &Value) -> bool {
    if value.is_null() {
        return schema.nullable || schema.kind.is_none() && !schema.int_or_string;
    }
    if schema.int_or_string {
        return value.is_string() || value.as_number().is_some_and(is_integer);
    }
    match schema.kind {
        None => true,
        Some(Type::Object) => value.is_object(),
        Some(Type::Array) => value.is_array(),
        Some(Type::String) => value.is_string(),
        Some(Type::Boolean) => value.is_boolean(),
        Some(Type::Integer) => value.as_number().is_some_and(is_integer),
        Some(Type::Number) => value.is_number(),
    }
}

/// Whether the number fits what Kubernetes keeps integers in: 64 bits, signed.
fn is_integer(number: &Number) -> bool {
    number.is_i64()
}

fn type_error(schema: &Schema, value: &Value, path: &str) -> FieldError {
    let wanted = match schema.kind {
        _ if schema.int_or_string => "integer,string",
        Some(kind) => kind.name(),
        None => "object",
    };
    let found = type_name(value);
    let detail = match value {
        Value::Number(number) if wanted == "integer" => {
            format!("{path} in body must be of type integer: {number} does not fit into 64 bits, signed")
        }
        _ => format!("{path} in body must be of type {wanted}: \"{found}\""),
    };
    FieldError::new(Cause::TypeInvalid, path, detail).with_value(&Value::from(found))
}

/// The JSON type of a value, in the words of schemas.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn limits(limits: &Limits, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(values) = limits.one_of_values.as_ref().filter(|values| !values.contains(value)) {
        let supported: Vec<String> = values.iter().map(Value::to_string).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        errors.push(FieldError::new(Cause::NotSupported, path, detail).with_value(value));
    }
    match value {
        Value::Number(number) => numbers(limits, number, path, errors),
        Value::String(text) => strings(limits, text, path, errors),
        Value::Array(items) => {
            count(limits.items, items.len(), "items", value, path, errors);
            let distinct: HashSet<String> = items.iter().map(Value::to_string).collect();
            if limits.unique_items && distinct.len() < items.len() {
                errors.push(FieldError::invalid(path, value, "items must be unique"));
            }
        }
        Value::Object(map) => {
            count(limits.properties, map.len(), "properties", value, path, errors);
            for name in limits.required.iter().filter(|name| !map.contains_key(*name)) {
                errors.push(FieldError::required(child(path, name)));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    junctors(limits, value, path, errors);
}

fn numbers(limits: &Limits, number: &Number, path: &str, errors: &mut Vec<FieldError>) {
    let Some(found) = number.as_f64() else { return };
    let mut refuse = |detail: String| {
        errors.push(FieldError::invalid(
            path,
            &Value::Number(number.clone()),
            format!("{path} in body {detail}"),
        ));
    };
    if let Some(bound) = limits.minimum
        && (found < bound.value || bound.exclusive && found == bound.value)
    {
        let how = if bound.exclusive { "greater than" } else { "greater than or equal to" };
        refuse(format!("should be {how} {}", bound.value));
    }
    if let Some(bound) = limits.maximum
        && (found > bound.value || bound.exclusive && found == bound.value)
    {
        let how = if bound.exclusive { "less than" } else { "less than or equal to" };
        refuse(format!("should be {how} {}", bound.value));
    }
    if let Some(step) = limits.multiple_of.filter(|step| (found / step).fract() != 0.0) {
        refuse(format!("should be a multiple of {step}"));
    }
}

fn strings(limits: &Limits, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let value = Value::from(text);
    count(limits.length, text.chars().count(), "characters", &value, path, errors);
    if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        let detail = format!("{path} in body should match '{}'", pattern.as_str());
        errors.push(FieldError::invalid(path, &value, detail));
    }
    if let Some(format) = limits.format.filter(|format| !format.matches(text)) {
        let detail = format!("{path} in body must be of type {}: \"{text}\"", format.name());
        errors.push(FieldError::invalid(path, &value, detail));
    }
}

fn count(
    range: super::Range,
    found: usize,
    what: &str,
    value: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let found = found as u64;
    if let Some(most) = range.most.filter(|most| found > *most) {
        let error = if value.is_string() {
            FieldError::new(Cause::TooLong, path, format!("may not be more than {most} {what}"))
        } else {
            FieldError::new(Cause::TooMany, path, format!("{found}: must have at most {most} {what}"))
        };
        errors.push(error);
    }
    if let Some(least) = range.least.filter(|least| found < *least) {
        let detail = format!("{path} in body should have at least {least} {what}");
        errors.push(FieldError::invalid(path, value, detail));
    }
}

/// `allOf`, `anyOf`, `oneOf`, `not`: their branches are never ratcheted.
fn junctors(limits: &Limits, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for branch in &limits.all_of {
        walk(branch, value, None, path, errors);
    }
    let matching = |branches: &[Schema]| {
        let fits = |branch: &&Schema| {
            let mut found = Vec::new();
            walk(branch, value, None, path, &mut found);
            found.is_empty()
        };
        branches.iter().filter(fits).count()
    };
    if !limits.any_of.is_empty() && matching(&limits.any_of) == 0 {
        let detail = format!("{path} in body must validate at least one schema (anyOf)");
        errors.push(FieldError::new(Cause::Invalid, path, detail));
    }
    if !limits.one_of.is_empty() && matching(&limits.one_of) != 1 {
        let detail = format!("{path} in body must validate one and only one schema (oneOf)");
        errors.push(FieldError::new(Cause::Invalid, path, detail));
    }
    if limits.not.as_deref().is_some_and(|branch| matching(std::slice::from_ref(branch)) == 1) {
        let detail = format!("{path} in body must not validate the schema (not)");
        errors.push(FieldError::new(Cause::Invalid, path, detail));
    }
}
