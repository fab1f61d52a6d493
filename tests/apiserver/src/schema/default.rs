//! Defaults, on writing and on reading.

use serde_json::Value;

use super::{Additional, Schema};

/// Fills in what is missing, from the outside in: a default may itself want filling. A null that the schema
/// does not allow counts as absent.
pub(super) fn apply(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                let strict = schema.field(name).is_some_and(|known| !known.nullable && !accepts_all(known));
                !(strict && value.is_null())
            });
            for (name, property) in &schema.properties {
                if let Some(default) = property.default.as_ref().filter(|_| !map.contains_key(name)) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in map.iter_mut() {
                if let Some(known) = schema.field(name) {
                    apply(known, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| apply(schema, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A node without a type keeps whatever it gets.
fn accepts_all(schema: &Schema) -> bool {
    schema.kind.is_none() && !schema.int_or_string
}

pub(super) fn any(schema: &Schema) -> bool {
    let nested = match &schema.additional {
        Additional::Schema(schema) => any(schema),
        Additional::Closed | Additional::Any => false,
    };
    nested
        || schema.properties.values().any(|property| property.default.is_some() || any(property))
        || schema.items.as_deref().is_some_and(any)
}
