//! Patches.

use serde_json::{Value, json};

use super::world::World;

#[tokio::test]
async fn a_merge_patch_sets_and_removes() {
    let world = World::open().await;
    let kind = world.kind(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    world
        .post(&kind.collection, &kind.object("a", json!({"x": 1, "y": {"z": 1}, "l": [1, 2]})))
        .await
        .expect(201);
    let object =
        world.merge(kind.at("a"), &json!({"spec": {"x": null, "y": {"w": 2}, "l": [3]}})).await.expect(200);
    assert_eq!(object["spec"], json!({"y": {"z": 1, "w": 2}, "l": [3]}));
    world.merge(kind.at("missing"), &json!({})).await.refused(404, "NotFound");
    let stale = json!({"metadata": {"resourceVersion": "1"}, "spec": {"x": 5}});
    world.merge(kind.at("a"), &stale).await.refused(409, "Conflict");
}

#[tokio::test]
async fn a_json_patch_tests_and_changes_or_does_nothing() {
    let world = World::open().await;
    let kind = world.kind(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    world.post(&kind.collection, &kind.object("a", json!({"x": 1}))).await.expect(201);
    let patch = async |operations: Value| {
        let ask = world.ask("PATCH", kind.at("a")).json(&operations);
        ask.content_type("application/json-patch+json").send().await
    };
    let changes = json!([
        {"op": "test", "path": "/spec/x", "value": 1},
        {"op": "replace", "path": "/spec/x", "value": 2},
        {"op": "add", "path": "/spec/list", "value": [1]},
        {"op": "add", "path": "/spec/list/-", "value": 2},
    ]);
    assert_eq!(patch(changes.clone()).await.expect(200)["spec"], json!({"x": 2, "list": [1, 2]}));
    patch(changes).await.refused(422, "Invalid");
    assert_eq!(world.get(kind.at("a")).await.expect(200)["spec"]["x"], 2);
    assert_eq!(patch(json!({"not": "a list"})).await.code, 400);
}

#[tokio::test]
async fn a_strategic_patch_merges_conditions_by_type_and_is_not_for_custom_resources() {
    let world = World::open().await;
    let pods = format!("/api/v1/namespaces/{}/pods", world.namespace().await);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    world.post(&pods, &pod).await.expect(201);
    let patch = async |path: String, body: Value| {
        let ask = world.ask("PATCH", path).json(&body);
        ask.content_type("application/strategic-merge-patch+json").send().await
    };
    let status = format!("{pods}/p/status");
    for (condition, value) in
        [("caracal.dev/a", "True"), ("caracal.dev/b", "True"), ("caracal.dev/a", "False")]
    {
        let body = json!({"status": {"conditions": [{"type": condition, "status": value}]}});
        patch(status.clone(), body).await.expect(200);
    }
    let object = world.get(format!("{pods}/p")).await.expect(200);
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let value = |kind: &str| conditions.iter().find(|c| c["type"] == kind).map(|c| c["status"].clone());
    assert_eq!(value("caracal.dev/a"), Some(json!("False")));
    assert_eq!(value("caracal.dev/b"), Some(json!("True")));

    let kind = world.kind(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    world.post(&kind.collection, &kind.object("a", json!({}))).await.expect(201);
    patch(kind.at("a"), json!({"spec": {"x": 1}})).await.refused(415, "UnsupportedMediaType");
}
