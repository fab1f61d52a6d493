//! Watches.

use serde_json::{Value, json};

use super::world::{World, config_map, event};

#[tokio::test]
async fn a_watch_tells_what_was_added_modified_and_deleted() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    let start =
        world.get(&maps).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let query = format!("{maps}?watch=true&resourceVersion={start}&fieldSelector=metadata.name%3Dm");
    let mut events = world.watch(query).await;
    world.post(&maps, &config_map("m", "1")).await.expect(201);
    let modified = world.put(format!("{maps}/m"), &config_map("m", "2")).await.expect(200);
    world.delete(format!("{maps}/m")).await.expect(200);
    assert_eq!(events.next_name().await, event("ADDED", "m"));
    assert_eq!(events.next_name().await, event("MODIFIED", "m"));
    let deleted = events.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["object"]["data"]["value"]), (&json!("DELETED"), &json!("2")));
    let revision =
        |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(revision(&deleted["object"]) > revision(&modified), "a deletion has a revision of its own");
}

#[tokio::test]
async fn a_watch_resumes_after_a_revision_and_begins_with_the_state_without_one() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    let mut objects = Vec::new();
    for name in ["a", "b", "c"] {
        let mut map = config_map(name, "1");
        map["metadata"]["labels"] = json!({"mine": "yes"});
        objects.push(world.post(&maps, &map).await.expect(201));
    }
    let after = objects[0]["metadata"]["resourceVersion"].as_str().unwrap();
    let resumed = format!("{maps}?watch=true&resourceVersion={after}&labelSelector=mine&timeoutSeconds=1");
    let mut events = world.watch(resumed).await;
    assert_eq!(events.next_name().await, event("ADDED", "b"));
    assert_eq!(events.next_name().await, event("ADDED", "c"));
    assert_eq!(events.next().await, None, "it ends after timeoutSeconds");
    let mut events = world.watch(format!("{maps}?watch=true&labelSelector=mine&timeoutSeconds=1")).await;
    for name in ["a", "b", "c"] {
        assert_eq!(events.next_name().await, event("ADDED", name));
    }
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_gets_410_as_an_error_event() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    world.post(&maps, &config_map("a", "1")).await.expect(201);
    let mut events = world.watch(format!("{maps}?watch=true&resourceVersion=1")).await;
    let error = events.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!((&error["object"]["code"], &error["object"]["kind"]), (&json!(410), &json!("Status")));
    assert_eq!(error["object"]["reason"], "Expired");
    assert_eq!(events.next().await, None, "nothing follows an error");
}

#[tokio::test]
async fn an_object_that_leaves_a_selector_is_deleted_for_its_watchers() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    let start =
        world.get(&maps).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let query = format!("{maps}?watch=true&resourceVersion={start}&labelSelector=in%3Dyes");
    let mut events = world.watch(query).await;
    world.post(&maps, &config_map("a", "1")).await.expect(201);
    world.merge(format!("{maps}/a"), &json!({"metadata": {"labels": {"in": "yes"}}})).await.expect(200);
    world.merge(format!("{maps}/a"), &json!({"metadata": {"labels": {"in": "no"}}})).await.expect(200);
    assert_eq!(events.next_name().await, event("ADDED", "a"));
    let left = events.next().await.unwrap();
    assert_eq!((&left["type"], &left["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("a")));
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_bookmark() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    for name in ["a", "b"] {
        let mut map = config_map(name, "1");
        map["metadata"]["labels"] = json!({"mine": "yes"});
        world.post(&maps, &map).await.expect(201);
    }
    let query =
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = world.watch(format!("{maps}?{query}&labelSelector=mine")).await;
    assert_eq!(events.next_name().await, event("ADDED", "a"));
    assert_eq!(events.next_name().await, event("ADDED", "b"));
    let bookmark = events.next_of_any_type().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    let revision = bookmark["object"]["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    assert!(revision.parse::<u64>().unwrap() > 0);

    let answer = world.get(format!("{maps}?watch=true&sendInitialEvents=true")).await;
    answer.refused(422, "Invalid");
}

#[tokio::test]
async fn a_watch_of_metadata_carries_no_more() {
    let world = World::open().await;
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    world.post(&maps, &config_map("a", "1")).await.expect(201);
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let query = format!("{maps}?watch=true&fieldSelector=metadata.name%3Da&timeoutSeconds=1");
    let answer = world.ask("GET", query).accept(accept).send().await;
    let event = answer.expect(200);
    assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
    assert_eq!((&event["object"]["metadata"]["name"], &event["object"]["data"]), (&json!("a"), &Value::Null));
}
