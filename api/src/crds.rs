//! The CRD manifests, made from the types.
//!
//! What the derive writes is finished here: integer formats that API servers do not know are removed (they warn),
//! whole-number bounds are written as integers, and conditions get the bounds that Kubernetes gives them in its own
//! definitions (the type they are made from has none).

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::{
    BgpConfiguration, BgpFilter, BgpPeer, IpPool, IpReservation, IpamBlock, IpamConfig, NetworkNode,
    NetworkNodeStatus,
};

/// Every kind's definition as JSON, finished.
///
/// # Errors
/// When a definition cannot be written as JSON: a mistake in this crate.
pub fn all() -> Result<Vec<Value>, serde_json::Error> {
    [
        IpPool::crd(),
        IpReservation::crd(),
        IpamConfig::crd(),
        IpamBlock::crd(),
        BgpConfiguration::crd(),
        BgpPeer::crd(),
        BgpFilter::crd(),
        NetworkNode::crd(),
        NetworkNodeStatus::crd(),
    ]
    .into_iter()
    .map(|crd| {
        let mut value = serde_json::to_value(crd)?;
        finish(&mut value);
        Ok(value)
    })
    .collect()
}

/// A definition as the YAML document that is committed, with the file's name.
///
/// # Errors
/// When the definition cannot be written as YAML.
pub fn document(crd: &Value) -> anyhow::Result<(String, String)> {
    let name = crd.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let head = "# Generated from the types in api/ by `cargo run -p caracal-api --bin crds`. Do not edit.\n";
    Ok((format!("{name}.yaml"), format!("{head}{}", serde_saphyr::to_string(crd)?)))
}

fn finish(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let integer = map.get("type").and_then(Value::as_str) == Some("integer");
            if integer {
                map.remove("format");
            }
            for bound in ["minimum", "maximum"] {
                if let Some(number) = map.get(bound).and_then(Value::as_f64)
                    && number.fract() == 0.0
                    && integer
                {
                    map.insert(bound.to_owned(), Value::from(number as i64));
                }
            }
            bound_condition(map);
            map.values_mut().for_each(finish);
        }
        Value::Array(items) => items.iter_mut().for_each(finish),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Bounds the fields of `metav1.Condition`, known by its `lastTransitionTime`.
fn bound_condition(schema: &mut Map<String, Value>) {
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    if !fields.contains_key("lastTransitionTime") {
        return;
    }
    let bounds = [
        ("type", "maxLength", json!(316)),
        ("status", "enum", json!(["True", "False", "Unknown"])),
        ("reason", "maxLength", json!(1024)),
        ("message", "maxLength", json!(32768)),
    ];
    for (field, bound, value) in bounds {
        if let Some(field) = fields.get_mut(field).and_then(Value::as_object_mut) {
            field.insert(bound.to_owned(), value);
        }
    }
}
