//! Defaults, on writing and on reading.

use serde_json::Value;

use super::{Additional, Schema};

/// Fills in what is missing, from the outside in: a default may itself want filling.
pub(super) fn apply(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                // A null that the schema does not allow counts as absent where a default stands.
                if property.default.is_some()
                    && !property.nullable
                    && map.get(name).is_some_and(Value::is_null)
                {
                    map.remove(name);
                }
                if let Some(default) = property.default.as_ref().filter(|_| !map.contains_key(name)) {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(field) = map.get_mut(name) {
                    apply(property, field);
                }
            }
            if let Additional::Schema(schema_of_values) = &schema.additional {
                for (name, field) in map.iter_mut() {
                    if !schema.properties.contains_key(name) {
                        apply(schema_of_values, field);
                    }
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

pub(super) fn any(schema: &Schema) -> bool {
    let nested = match &schema.additional {
        Additional::Schema(schema) => any(schema),
        Additional::Closed | Additional::Any => false,
    };
    nested
        || schema.properties.values().any(|property| property.default.is_some() || any(property))
        || schema.items.as_deref().is_some_and(any)
}
