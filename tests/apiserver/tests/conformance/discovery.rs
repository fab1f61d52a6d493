//! What is served, as clients find out.

use serde_json::{Value, json};

use super::world::World;

#[tokio::test]
async fn built_in_kinds_are_discovered() {
    let world = World::open().await;
    assert_eq!(world.get("/api").await.expect(200)["versions"], json!(["v1"]));
    for (path, kinds) in [
        (
            "/api/v1",
            &["Namespace", "Node", "Pod", "Service", "Event", "Secret", "ConfigMap", "ServiceAccount"][..],
        ),
        ("/apis/discovery.k8s.io/v1", &["EndpointSlice"]),
        ("/apis/coordination.k8s.io/v1", &["Lease"]),
        ("/apis/events.k8s.io/v1", &["Event"]),
        ("/apis/apiextensions.k8s.io/v1", &["CustomResourceDefinition"]),
    ] {
        let list = world.get(path).await.expect(200);
        assert_eq!(list["kind"], "APIResourceList");
        let resources = list["resources"].as_array().unwrap();
        for kind in kinds {
            assert!(resources.iter().any(|resource| resource["kind"] == *kind), "{path}: {kind}");
        }
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(world.get(path).await.expect(200), "ok");
    }
    assert!(world.get("/version").await.expect(200)["gitVersion"].as_str().unwrap().starts_with('v'));
}

#[tokio::test]
async fn a_custom_kind_is_discovered_with_its_subresource_and_short_names() {
    let world = World::open().await;
    let kind = world.kind(json!({"type": "object"})).await;
    let groups = world.get("/apis").await.expect(200);
    let found = groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == kind.group);
    assert!(found, "{groups:#}");
    let group = world.get(format!("/apis/{}", kind.group)).await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let list = world.get(format!("/apis/{}/v1", kind.group)).await.expect(200);
    let entry = |name: &str| -> Value {
        list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(entry("widgets")["shortNames"], json!(["wg"]));
    assert_eq!(entry("widgets")["namespaced"], false);
    assert_eq!(entry("widgets/status")["kind"], "Widget");
}

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let world = World::open().await;
    for path in
        ["/apis/no.such.group", "/apis/no.such.group/v1", "/apis/no.such.group/v1/things", "/api/v1/things"]
    {
        assert_eq!(world.get(path).await.code, 404, "{path}");
    }
    let answer = world.ask("PUT", "/api/v1/namespaces").json(&json!({})).send().await;
    assert_eq!(answer.code, 405);
}
