//! Types and limits: the part of OpenAPI v3 that the generated schemas use.

use serde_json::Value;

/// Every violation below `path`.
pub(crate) fn check(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    if value.is_null() && schema["nullable"] == true {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut wrong = |what: String| found.push(format!("{path}: {what}"));
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some(_) => false,
        None => true,
    };
    if !fits {
        wrong(format!("must be of type {}", schema["type"]));
        return found;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        wrong(format!("Unsupported value {value}: supported values: {}", schema["enum"]));
    }
    let counts = [
        ("Length", value.as_str().map(|text| text.chars().count() as i64)),
        ("Items", value.as_array().map(|items| items.len() as i64)),
        ("Properties", value.as_object().map(|map| map.len() as i64)),
        ("imum", value.as_i64()),
    ];
    for (what, count) in counts {
        let Some(count) = count else { continue };
        if schema[format!("min{what}")].as_i64().is_some_and(|least| count < least) {
            wrong(format!("must have min{what} {}", schema[format!("min{what}")]));
        }
        if schema[format!("max{what}")].as_i64().is_some_and(|most| count > most) {
            wrong(format!("must have max{what} {}", schema[format!("max{what}")]));
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            wrong(format!("{name}: Required value"));
        }
    }
    for (name, below) in value.as_object().into_iter().flatten() {
        let schema = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        if let Some(schema) = schema {
            found.extend(check(schema, below, &format!("{path}.{name}")));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(check(&schema["items"], item, &format!("{path}[]")));
    }
    found
}
