//! What is served, told to clients: `/api`, `/apis`, their versions, `/version`, `/openapi/v3`.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::resource::{Registry, Resource, api_version};
use crate::status::ApiError;

/// The version of Kubernetes whose behaviour this server follows.
pub(crate) const MAJOR: &str = "1";
pub(crate) const MINOR: &str = "34";

/// `/version`
pub(crate) fn version() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": format!("v{MAJOR}.{MINOR}.0+caracal"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`
pub(crate) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`
pub(crate) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        registry.groups().iter().map(|(name, versions)| group_of(name, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`
pub(crate) fn group(registry: &Registry, name: &str) -> Result<Value, ApiError> {
    let groups = registry.groups();
    let mut group = group_of(name, groups.get(name).ok_or_else(ApiError::no_route)?);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Ok(group)
}

fn group_of(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": api_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

/// `/api/v1`, `/apis/{group}/{version}`
pub(crate) fn resources(registry: &Registry, group: &str, version: &str) -> Result<Value, ApiError> {
    let served = registry.of_version(group, version);
    if served.is_empty() {
        return Err(ApiError::no_route());
    }
    let mut resources = Vec::new();
    for resource in served {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "storageVersionHash": "",
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        resources.push(entry);
        if resource.status {
            resources.push(json!({
                "name": format!("{}/status", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": ["get", "patch", "update"],
            }));
        }
    }
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": resources,
    }))
}

/// `/openapi/v3` and the documents below it: enough for `kubectl explain` and `kubectl apply`.
pub(crate) fn openapi(registry: &Registry, path: &str) -> Result<Value, ApiError> {
    let below = path.trim_start_matches("/openapi/v3").trim_matches('/');
    if below.is_empty() {
        let mut paths = Map::new();
        for resource in registry.all() {
            let place = document(resource);
            paths.insert(place.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{place}")}));
        }
        return Ok(json!({"paths": paths}));
    }
    let served: Vec<_> = registry.all().filter(|resource| document(resource) == below).collect();
    if served.is_empty() {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "NotFound", format!("no such document: {path}")));
    }
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for resource in served {
        let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let mut schema = resource.openapi.clone();
        schema["x-kubernetes-group-version-kind"] = json!([kind]);
        let name = format!("{}.{}.{}", resource.group, resource.version, resource.kind);
        schemas.insert(name.trim_start_matches('.').to_owned(), schema);
        let namespace = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        let operation = |action: &str| {
            json!({
                "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": kind,
            })
        };
        let base = format!("/{}/{namespace}{}", document(resource), resource.plural);
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

/// `api/v1`, `apis/{group}/{version}`
fn document(resource: &Resource) -> String {
    match resource.group.as_str() {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    }
}
