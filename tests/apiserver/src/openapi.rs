//! What the resources look like, told to clients: `/openapi/v3`, and `/openapi/v2` for kubectl before 1.27.
//!
//! Old kubectl validates every manifest with the second document, and accepts it as protobuf only.

mod v2;
mod v2_protobuf;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

pub(crate) use v2::document as v2;
pub(crate) use v2_protobuf::{ACCEPTED as V2_ACCEPTED, MEDIA_TYPE as V2_PROTOBUF, encode as encode_v2};

use crate::discovery::{MAJOR, MINOR};
use crate::resource::{Registry, Resource};
use crate::status::ApiError;

/// `/openapi/v3` and the documents below it.
pub(crate) fn v3(registry: &Registry, path: &str) -> Result<Value, ApiError> {
    let below = path.trim_start_matches("/openapi/v3").trim_matches('/');
    if below.is_empty() {
        let mut paths = Map::new();
        for resource in registry.all() {
            let place = place(resource);
            paths.insert(place.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{place}")}));
        }
        return Ok(json!({"paths": paths}));
    }
    let served: Vec<_> = registry.all().filter(|resource| place(resource) == below).collect();
    if served.is_empty() {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "NotFound", format!("no such document: {path}")));
    }
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for resource in served {
        let mut schema = whole(resource);
        schema["x-kubernetes-group-version-kind"] = json!([kind_of(resource)]);
        schemas.insert(name(resource), schema);
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        let operation = |action: &str| {
            json!({
                "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": kind_of(resource),
            })
        };
        let base = base(resource);
        paths.insert(
            format!("{base}/{{name}}"),
            json!({"patch": operation("patch"), "put": operation("put")}),
        );
        paths.insert(base, json!({"post": operation("post")}));
    }
    Ok(json!({
        "openapi": "3.0.0",
        "info": {"title": "caracal lab API", "version": format!("v{MAJOR}.{MINOR}.0")},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// A resource's schema with the fields that every object has.
fn whole(resource: &Resource) -> Value {
    let mut schema = resource.openapi.clone();
    let text = |description: &str| json!({"type": "string", "description": description});
    if let Some(properties) =
        schema.as_object_mut().map(|schema| schema.entry("properties").or_insert_with(|| json!({})))
    {
        let known = [
            ("apiVersion", text("Group and version of this representation of the object.")),
            ("kind", text("The kind of the object.")),
            ("metadata", resource.metadata.clone()),
        ];
        for (field, value) in known {
            // A CRD's schema may have `metadata`, with nothing in it.
            if properties.get(field).is_none_or(|found| found.get("properties").is_none()) {
                properties[field] = value;
            }
        }
    }
    schema
}

fn kind_of(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

/// The schema's name.
fn name(resource: &Resource) -> String {
    let name = format!("{}.{}.{}", resource.group, resource.version, resource.kind);
    name.trim_start_matches('.').to_owned()
}

/// The path of the collection.
fn base(resource: &Resource) -> String {
    let namespace = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
    format!("/{}/{namespace}{}", place(resource), resource.plural)
}

/// `api/v1`, `apis/{group}/{version}`
fn place(resource: &Resource) -> String {
    match resource.group.as_str() {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    }
}
