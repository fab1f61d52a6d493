//! Every string, list and map has a bound: without one a real API server refuses rules over it as too costly, and an
//! object can grow beyond what the store takes.

use serde_json::Value;

use crate::walk;

#[test]
fn every_string_list_and_map_is_bounded() {
    let mut unbounded = Vec::new();
    for definition in caracal_api::crds::all().unwrap() {
        let kind = &definition["spec"]["names"]["kind"];
        walk(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut |node| {
            let bounded = match node["type"].as_str() {
                Some("string") => {
                    ["maxLength", "enum", "format"].iter().any(|limit| node.get(*limit).is_some())
                }
                Some("array") => node.get("maxItems").is_some(),
                Some("object") => {
                    node.get("additionalProperties").is_none_or(|below| below == &Value::Bool(false))
                        || node.get("maxProperties").is_some()
                }
                Some("integer") => node.get("minimum").is_some() || is_generation(node),
                _ => true,
            };
            if !bounded {
                unbounded.push(format!("{kind}: {}", node["description"]));
            }
        });
    }
    assert!(unbounded.is_empty(), "without bounds:\n{}", unbounded.join("\n"));
}

/// The one integer whose range is the API server's own business.
fn is_generation(node: &Value) -> bool {
    node["description"].as_str().is_some_and(|text| text.starts_with("observedGeneration"))
}
