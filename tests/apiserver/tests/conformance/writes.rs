//! Creating and replacing.

use serde_json::{Value, json};

use super::world::{World, config_map};

fn open_spec() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

#[tokio::test]
async fn a_new_object_gets_uid_revision_time_and_generation() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let object = world.post(&kind.collection, &kind.object("a", json!({"x": 1}))).await.expect(201);
    let meta = &object["metadata"];
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert!(meta["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(meta["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(meta["generation"], 1);
    assert_eq!(world.get(kind.at("a")).await.expect(200), object);
}

#[tokio::test]
async fn a_second_create_already_exists_and_a_stale_replace_conflicts() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let first = world.post(&kind.collection, &kind.object("a", json!({"x": 1}))).await.expect(201);
    world.post(&kind.collection, &kind.object("a", json!({}))).await.refused(409, "AlreadyExists");
    let mut newer = first.clone();
    newer["spec"]["x"] = json!(2);
    world.put(kind.at("a"), &newer).await.expect(200);
    newer["spec"]["x"] = json!(3);
    world.put(kind.at("a"), &newer).await.refused(409, "Conflict");
}

#[tokio::test]
async fn a_replace_without_revision_is_invalid_for_custom_resources_and_allowed_for_config_maps() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    world.post(&kind.collection, &kind.object("a", json!({}))).await.expect(201);
    let answer = world.put(kind.at("a"), &kind.object("a", json!({"x": 1}))).await;
    answer.blames("metadata.resourceVersion", "FieldValueInvalid");
    world.put(kind.at("missing"), &kind.object("missing", json!({}))).await.refused(404, "NotFound");

    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    world.post(&maps, &config_map("a", "1")).await.expect(201);
    let replaced = world.put(format!("{maps}/a"), &config_map("a", "2")).await.expect(200);
    assert_eq!(replaced["data"]["value"], "2");
}

#[tokio::test]
async fn a_write_that_changes_nothing_bumps_nothing_and_tells_nobody() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let object = world.post(&kind.collection, &kind.object("a", json!({"x": 1}))).await.expect(201);
    let revision = object["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = world.watch(format!("{}?watch=true&resourceVersion={revision}", kind.collection)).await;
    let same = world.put(kind.at("a"), &object).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], revision);
    let same = world.merge(kind.at("a"), &json!({"spec": {"x": 1}})).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], revision);
    world.merge(kind.at("a"), &json!({"spec": {"x": 2}})).await.expect(200);
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["spec"]["x"], 2, "the first event is of the real change");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let mut object = kind.object("a", json!({"x": 1}));
    object["status"] = json!({"phase": "Ignored"});
    let object = world.post(&kind.collection, &object).await.expect(201);
    assert_eq!(object["status"], Value::Null, "a status is not taken on create");

    let patch = json!({"status": {"phase": "Ready"}, "spec": {"x": 9}, "metadata": {"labels": {"a": "b"}}});
    let object = world.merge(format!("{}/status", kind.at("a")), &patch).await.expect(200);
    assert_eq!((&object["status"]["phase"], &object["spec"]["x"]), (&json!("Ready"), &json!(1)));
    assert_eq!(object["metadata"]["labels"], Value::Null);
    assert_eq!(object["metadata"]["generation"], 1, "a status is no new generation");

    let patch = json!({"status": {"phase": "Lost"}, "spec": {"x": 2}});
    let object = world.merge(kind.at("a"), &patch).await.expect(200);
    assert_eq!((&object["status"]["phase"], &object["spec"]["x"]), (&json!("Ready"), &json!(2)));
    assert_eq!(object["metadata"]["generation"], 2);
    let object = world.merge(kind.at("a"), &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(object["metadata"]["generation"], 2, "labels are no new generation");
}

#[tokio::test]
async fn names_are_generated_and_validated() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let mut object = kind.object("", json!({}));
    object["metadata"] = json!({"generateName": "pool-"});
    let (one, two) =
        (world.post(&kind.collection, &object).await, world.post(&kind.collection, &object).await);
    let (one, two) = (one.expect(201), two.expect(201));
    assert!(one["metadata"]["name"].as_str().unwrap().starts_with("pool-"));
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
    world
        .post(&kind.collection, &kind.object("Bad_Name", json!({})))
        .await
        .blames("metadata.name", "FieldValueInvalid");
    object["metadata"] = json!({});
    world.post(&kind.collection, &object).await.blames("metadata.name", "FieldValueRequired");
}

#[tokio::test]
async fn labels_are_validated_and_their_type_is_checked() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let mut object = kind.object("a", json!({}));
    object["metadata"]["labels"] = json!({"a": "not a label"});
    world.post(&kind.collection, &object).await.blames("metadata.labels", "FieldValueInvalid");
    object["metadata"]["labels"] = json!({"a": 1});
    world.post(&kind.collection, &object).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn what_the_body_says_must_agree_with_the_path() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let object = world.post(&kind.collection, &kind.object("a", json!({}))).await.expect(201);
    let mut other = object.clone();
    other["metadata"]["name"] = json!("b");
    world.put(kind.at("a"), &other).await.refused(400, "BadRequest");
    let mut other = object.clone();
    other["kind"] = json!("Gadget");
    world.put(kind.at("a"), &other).await.refused(400, "BadRequest");
    let mut other = object.clone();
    other["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    world.put(kind.at("a"), &other).await.refused(409, "Conflict");

    let (here, there) = (world.namespace().await, world.namespace().await);
    let mut map = config_map("a", "1");
    map["metadata"]["namespace"] = json!(there);
    world.post(format!("/api/v1/namespaces/{here}/configmaps"), &map).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn objects_go_only_into_namespaces_that_exist() {
    let world = World::open().await;
    let answer = world.post("/api/v1/namespaces/no-such-namespace/configmaps", &config_map("a", "1")).await;
    answer.refused(404, "NotFound");
}

#[tokio::test]
async fn a_dry_run_answers_but_does_not_store() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let path = format!("{}?dryRun=All", kind.collection);
    world.post(path, &kind.object("a", json!({}))).await.expect(201);
    world.get(kind.at("a")).await.refused(404, "NotFound");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_too_large() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    // Beyond what any server takes: 3 MiB.
    let answer = world.post(maps, &config_map("a", &"x".repeat(4 << 20))).await;
    assert_eq!(answer.code, 413, "{:#}", answer.body);
}

#[tokio::test]
async fn a_body_in_an_unknown_format_is_an_unsupported_media_type() {
    let world = World::open().await;
    let kind = world.kind(open_spec()).await;
    let ask = world.ask("POST", &kind.collection).text("x").content_type("application/x-unknown");
    ask.send().await.refused(415, "UnsupportedMediaType");
    let yaml = format!(
        "apiVersion: {}\nkind: Widget\nmetadata: {{name: a}}\nspec: {{x: \"on\"}}\n",
        kind.api_version
    );
    let ask = world.ask("POST", &kind.collection).text(yaml).content_type("application/yaml");
    assert_eq!(ask.send().await.expect(201)["spec"]["x"], "on");
    world.ask("POST", &kind.collection).text("{").send().await.refused(400, "BadRequest");
}

#[tokio::test]
async fn a_lease_is_created_by_put_and_guarded_by_its_revision() {
    let world = World::open().await;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/leader", world.namespace().await);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"},
    });
    let lease = world.put(&path, &lease).await.expect(201);
    let mut other = lease.clone();
    other["spec"]["holderIdentity"] = json!("b");
    world.put(&path, &other).await.expect(200);
    let mut late = lease;
    late["spec"]["holderIdentity"] = json!("c");
    world.put(&path, &late).await.refused(409, "Conflict");
}

#[tokio::test]
async fn one_event_is_seen_through_both_groups() {
    let world = World::open().await;
    let namespace = world.namespace().await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "caracal.dev/agent",
        "reportingInstance": "n1", "action": "Start", "reason": "Started", "type": "Normal", "note": "hello",
        "regarding": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": namespace},
    });
    world.post(format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"), &event).await.expect(201);
    let core = world.get(format!("/api/v1/namespaces/{namespace}/events/e")).await.expect(200);
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("hello"), &json!("x")));
    assert_eq!((&core["apiVersion"], &core["note"]), (&json!("v1"), &Value::Null));
    let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name=x");
    assert_eq!(world.get(path).await.expect(200)["items"].as_array().unwrap().len(), 1);
}
