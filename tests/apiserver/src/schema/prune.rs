//! Dropping of fields that a schema does not know.

use serde_json::Value;

use super::{Additional, Schema};
use crate::field::{child, item};

/// The fields that every whole object has, whatever its schema says.
const ENVELOPE: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Prunes a whole object; its envelope is looked after elsewhere.
pub(super) fn object(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    walk(schema, value, "", true, &mut dropped);
    dropped
}

fn walk(schema: &Schema, value: &mut Value, path: &str, whole: bool, dropped: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let opaque = schema.kind.is_none() && schema.properties.is_empty();
            let keep_all = schema.preserve_unknown
                || matches!(schema.additional, Additional::Any)
                || (opaque && matches!(schema.additional, Additional::Closed));
            let enveloped = whole || schema.embedded;
            map.retain(|name, field| {
                if enveloped && ENVELOPE.contains(&name.as_str()) {
                    return true;
                }
                if let Some(known) = schema.field(name) {
                    walk(known, field, &child(path, name), false, dropped);
                } else if !keep_all {
                    dropped.push(child(path, name));
                    return false;
                }
                true
            });
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, value) in items.iter_mut().enumerate() {
                    walk(schema, value, &item(path, index), false, dropped);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
