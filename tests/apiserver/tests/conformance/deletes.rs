//! Deletion: preconditions, finalizers, owners, collections.

use serde_json::{Value, json};

use super::world::{Kind, World, config_map, event};

async fn open_kind(world: &World) -> Kind {
    world.kind(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await
}

#[tokio::test]
async fn a_deletion_of_a_custom_resource_answers_with_a_status_naming_it() {
    let world = World::open().await;
    let kind = open_kind(&world).await;
    let object = world.post(&kind.collection, &kind.object("a", json!({}))).await.expect(201);
    let status = world.delete(kind.at("a")).await.expect(200);
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(status["details"]["uid"], object["metadata"]["uid"]);
    world.get(kind.at("a")).await.refused(404, "NotFound");
    world.delete(kind.at("a")).await.refused(404, "NotFound");
}

#[tokio::test]
async fn a_deletion_with_wrong_preconditions_conflicts() {
    let world = World::open().await;
    let kind = open_kind(&world).await;
    let object = world.post(&kind.collection, &kind.object("a", json!({}))).await.expect(201);
    let delete = async |conditions: Value| {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": conditions});
        world.ask("DELETE", kind.at("a")).json(&options).send().await
    };
    delete(json!({"uid": "00000000-0000-4000-8000-000000000000"})).await.refused(409, "Conflict");
    delete(json!({"resourceVersion": "1"})).await.refused(409, "Conflict");
    let meta = &object["metadata"];
    delete(json!({"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]})).await.expect(200);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_one_goes() {
    let world = World::open().await;
    let kind = open_kind(&world).await;
    let mut object = kind.object("a", json!({}));
    object["metadata"]["finalizers"] = json!(["caracal.dev/one", "caracal.dev/two"]);
    let object = world.post(&kind.collection, &object).await.expect(201);
    let revision = object["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = world.watch(format!("{}?watch=true&resourceVersion={revision}", kind.collection)).await;

    let marked = world.delete(kind.at("a")).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked:#}");
    assert_eq!(events.next_name().await, event("MODIFIED", "a"));
    let patch =
        json!({"metadata": {"finalizers": ["caracal.dev/one", "caracal.dev/two", "caracal.dev/three"]}});
    world.merge(kind.at("a"), &patch).await.blames("metadata.finalizers", "FieldValueForbidden");
    world.merge(kind.at("a"), &json!({"metadata": {"finalizers": ["caracal.dev/two"]}})).await.expect(200);
    assert_eq!(events.next_name().await, event("MODIFIED", "a"));
    world.merge(kind.at("a"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    assert_eq!(events.next_name().await, event("DELETED", "a"));
    world.get(kind.at("a")).await.refused(404, "NotFound");
}

#[tokio::test]
async fn dependents_go_a_little_after_their_owner_and_by_its_uid() {
    let world = World::open().await;
    let namespace = world.namespace().await;
    let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    let owner = world.post(&maps, &config_map("owner", "1")).await.expect(201);
    let owned = |name: &str, uid: &Value| {
        let mut map = config_map(name, "1");
        map["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
        map
    };
    world.post(&maps, &owned("dependent", &owner["metadata"]["uid"])).await.expect(201);
    // Owned by something of that name that is no more: the name alone does not save it.
    world.post(&maps, &owned("stray", &json!("00000000-0000-4000-8000-000000000000"))).await.expect(201);
    world
        .until("the stray is collected", async || world.get(format!("{maps}/stray")).await.code == 404)
        .await;
    world.get(format!("{maps}/dependent")).await.expect(200);
    world.delete(format!("{maps}/owner")).await.expect(200);
    world
        .until("the dependent is collected", async || {
            world.get(format!("{maps}/dependent")).await.code == 404
        })
        .await;
}

#[tokio::test]
async fn orphaned_dependents_stay_and_foreground_deletion_waits_for_them() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    let pair = async |owner: &str, dependent: &str| {
        let object = world.post(&maps, &config_map(owner, "1")).await.expect(201);
        let mut map = config_map(dependent, "1");
        map["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": object["metadata"]["uid"],
            "blockOwnerDeletion": true,
        }]);
        map["metadata"]["finalizers"] = json!(["caracal.dev/held"]);
        world.post(&maps, &map).await.expect(201);
    };
    pair("o1", "d1").await;
    world.delete(format!("{maps}/o1?propagationPolicy=Orphan")).await.expect(200);
    world.until("the owner is gone", async || world.get(format!("{maps}/o1")).await.code == 404).await;
    let left = world.get(format!("{maps}/d1")).await.expect(200);
    assert_eq!(left["metadata"]["ownerReferences"], Value::Null);

    pair("o2", "d2").await;
    world.delete(format!("{maps}/o2?propagationPolicy=Foreground")).await.expect(200);
    let terminating =
        async || world.get(format!("{maps}/d2")).await.body["metadata"]["deletionTimestamp"].is_string();
    world.until("the dependent is being deleted", terminating).await;
    world.get(format!("{maps}/o2")).await.expect(200);
    world.merge(format!("{maps}/d2"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    world.until("the owner is gone", async || world.get(format!("{maps}/o2")).await.code == 404).await;
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let world = World::open().await;
    let kind = open_kind(&world).await;
    for (name, group) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut object = kind.object(name, json!({}));
        object["metadata"]["labels"] = json!({"group": group});
        world.post(&kind.collection, &object).await.expect(201);
    }
    world.delete(format!("{}?labelSelector=group%3Dx", kind.collection)).await.expect(200);
    let left = world.get(&kind.collection).await.expect(200);
    let names: Vec<&Value> =
        left["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["b"]);
}

#[tokio::test]
async fn a_namespace_goes_after_its_contents() {
    let world = World::open().await;
    let namespace = world.namespace().await;
    let (path, maps) =
        (format!("/api/v1/namespaces/{namespace}"), format!("/api/v1/namespaces/{namespace}/configmaps"));
    let mut map = config_map("held", "1");
    map["metadata"]["finalizers"] = json!(["caracal.dev/held"]);
    world.post(&maps, &map).await.expect(201);
    let marked = world.delete(&path).await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    world.post(&maps, &config_map("late", "1")).await.refused(403, "Forbidden");
    let held =
        async || world.get(format!("{maps}/held")).await.body["metadata"]["deletionTimestamp"].is_string();
    world.until("its contents are being deleted", held).await;
    world.get(&path).await.expect(200);
    world.merge(format!("{maps}/held"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    world.until("the namespace is gone", async || world.get(&path).await.code == 404).await;
}

#[tokio::test]
async fn a_running_pod_has_its_grace_and_goes_at_once_without() {
    let world = World::open().await;
    let pods = format!("/api/v1/namespaces/{}/pods", world.namespace().await);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "no-such-node", "containers": [{"name": "c", "image": "i"}]},
    });
    world.post(&pods, &pod).await.expect(201);
    let marked = world.delete(format!("{pods}/p")).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    world.get(format!("{pods}/p")).await.expect(200);
    world.delete(format!("{pods}/p?gracePeriodSeconds=0")).await.expect(200);
    world.get(format!("{pods}/p")).await.refused(404, "NotFound");
}

#[tokio::test]
async fn a_crd_goes_after_its_objects_and_its_kind_is_served_no_more() {
    let world = World::open().await;
    let kind = open_kind(&world).await;
    let mut object = kind.object("held", json!({}));
    object["metadata"]["finalizers"] = json!(["caracal.dev/held"]);
    world.post(&kind.collection, &object).await.expect(201);
    world.post(&kind.collection, &kind.object("free", json!({}))).await.expect(201);
    world.delete(&kind.crd).await.expect(200);
    world.until("the free object is gone", async || world.get(kind.at("free")).await.code == 404).await;
    world.get(&kind.crd).await.expect(200);
    world.merge(kind.at("held"), &json!({"metadata": {"finalizers": null}})).await.expect(200);
    world.until("the CRD is gone", async || world.get(&kind.crd).await.code == 404).await;
    world.until("its kind is not served", async || world.get(&kind.collection).await.code == 404).await;
}
