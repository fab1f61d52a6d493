//! JSON of an `openAPIV3Schema` -> [`Schema`].

use regex::Regex;
use serde_json::{Map, Value};

use super::{Additional, Bound, Format, Limits, ListKind, Range, Rules, Schema, Type};
use crate::field::{Cause, FieldError, child, item};

/// Parses one node; what cannot be understood is told in `errors`.
pub(super) fn node(value: &Value, path: &str, errors: &mut Vec<FieldError>) -> Schema {
    let Some(map) = value.as_object() else {
        if !value.is_boolean() {
            errors.push(FieldError::invalid(path, value, "a schema must be an object"));
        }
        return Schema { preserve_unknown: true, ..Schema::default() };
    };
    let mut schema = Schema {
        kind: kind(map, path, errors),
        nullable: flag(map, "nullable"),
        default: map.get("default").cloned(),
        preserve_unknown: flag(map, "x-kubernetes-preserve-unknown-fields"),
        int_or_string: flag(map, "x-kubernetes-int-or-string")
            || text(map, "format") == Some("int-or-string"),
        embedded: flag(map, "x-kubernetes-embedded-resource"),
        list: list_kind(map),
        atomic_map: text(map, "x-kubernetes-map-type") == Some("atomic"),
        limits: limits(map, path, errors),
        ..Schema::default()
    };
    if let Some(properties) = map.get("properties").and_then(Value::as_object) {
        let base = child(path, "properties");
        schema.properties = properties
            .iter()
            .map(|(name, value)| (name.clone(), node(value, &item(&base, name), errors)))
            .collect();
    }
    schema.additional = match map.get("additionalProperties") {
        Some(Value::Bool(true)) => Additional::Any,
        Some(value @ Value::Object(_)) => {
            Additional::Schema(Box::new(node(value, &child(path, "additionalProperties"), errors)))
        }
        _ => Additional::Closed,
    };
    schema.items = map.get("items").map(|value| Box::new(node(value, &child(path, "items"), errors)));
    match Rules::parse(map, path) {
        Ok(rules) => schema.rules = rules,
        Err(more) => errors.extend(more),
    }
    schema
}

fn kind(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) -> Option<Type> {
    let name = map.get("type")?;
    Some(match name.as_str() {
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        _ => {
            let detail = r#"supported values: "array", "boolean", "integer", "number", "object", "string""#;
            errors.push(FieldError::new(Cause::NotSupported, child(path, "type"), detail).with_value(name));
            return None;
        }
    })
}

fn list_kind(map: &Map<String, Value>) -> ListKind {
    match text(map, "x-kubernetes-list-type") {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = map.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            ListKind::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListKind::Atomic,
    }
}

fn limits(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) -> Limits {
    let mut junctor = |name: &str| -> Vec<Schema> {
        let base = child(path, name);
        let branches = map.get(name).and_then(Value::as_array).into_iter().flatten();
        branches.enumerate().map(|(index, branch)| node(branch, &item(&base, index), errors)).collect()
    };
    let (all_of, any_of, one_of) = (junctor("allOf"), junctor("anyOf"), junctor("oneOf"));
    let not = map.get("not").map(|branch| Box::new(node(branch, &child(path, "not"), errors)));
    Limits {
        one_of_values: map.get("enum").and_then(Value::as_array).cloned(),
        minimum: bound(map, "minimum", "exclusiveMinimum"),
        maximum: bound(map, "maximum", "exclusiveMaximum"),
        multiple_of: map.get("multipleOf").and_then(Value::as_f64),
        length: range(map, "minLength", "maxLength"),
        items: range(map, "minItems", "maxItems"),
        properties: range(map, "minProperties", "maxProperties"),
        unique_items: flag(map, "uniqueItems"),
        pattern: pattern(map, path, errors),
        format: text(map, "format").and_then(Format::named),
        required: map
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        all_of,
        any_of,
        one_of,
        not,
    }
}

fn pattern(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) -> Option<Regex> {
    let pattern = map.get("pattern")?;
    match Regex::new(pattern.as_str().unwrap_or_default()) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            errors.push(FieldError::invalid(child(path, "pattern"), pattern, detail));
            None
        }
    }
}

fn bound(map: &Map<String, Value>, name: &str, exclusive: &str) -> Option<Bound> {
    Some(Bound { value: map.get(name)?.as_f64()?, exclusive: flag(map, exclusive) })
}

fn range(map: &Map<String, Value>, least: &str, most: &str) -> Range {
    let count = |name: &str| map.get(name).and_then(Value::as_f64).map(|count| count as u64);
    Range { least: count(least), most: count(most) }
}

fn flag(map: &Map<String, Value>, name: &str) -> bool {
    map.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn text<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    map.get(name).and_then(Value::as_str)
}
