//! Server-side apply: what managers own, share, take back and may not change.

use serde_json::{Value, json};

use super::world::{Answer, Kind, World};

/// A kind with a list by key, a set, a map, an atomic list, and a field with a default.
async fn kind(world: &World) -> Kind {
    let ports = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "number": {"type": "integer"}, "open": {"type": "boolean"},
        }},
    });
    let text = json!({"type": "string"});
    world
        .kind(json!({"type": "object", "properties": {
            "ports": ports,
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
            "order": {"type": "array", "items": text},
            "marks": {"type": "object", "additionalProperties": text},
            "size": {"type": "integer", "default": 1},
            "colour": text,
        }}))
        .await
}

async fn apply(world: &World, path: &str, manager: &str, object: &Value) -> Answer {
    let path = format!("{path}?fieldManager={manager}");
    world.ask("PATCH", path).json(object).content_type("application/apply-patch+yaml").send().await
}

#[tokio::test]
async fn an_apply_creates_changes_and_takes_back_what_it_no_longer_says() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let spec = json!({"colour": "red", "marks": {"a": "1", "b": "2"}, "tags": ["x", "y"]});
    let made = apply(&world, &kind.at("w"), "one", &kind.object("w", spec)).await.expect(201);
    assert_eq!(made["spec"]["size"], 1, "the default is there, and nobody's");
    let record = &made["metadata"]["managedFields"][0];
    assert_eq!((&record["manager"], &record["operation"]), (&json!("one"), &json!("Apply")));
    let fields = json!({
        "f:colour": {}, "f:marks": {"f:a": {}, "f:b": {}}, "f:tags": {"v:\"x\"": {}, "v:\"y\"": {}},
    });
    assert_eq!(record["fieldsV1"]["f:spec"], fields);

    let spec = json!({"marks": {"b": "3"}, "tags": ["y"]});
    let next = apply(&world, &kind.at("w"), "one", &kind.object("w", spec.clone())).await.expect(200);
    assert_eq!(next["spec"], json!({"marks": {"b": "3"}, "tags": ["y"], "size": 1}));
    assert_eq!(next["metadata"]["generation"], 2);
    let again = apply(&world, &kind.at("w"), "one", &kind.object("w", spec)).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], next["metadata"]["resourceVersion"], "nothing changed");
}

#[tokio::test]
async fn what_another_manager_set_is_changed_only_by_force() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let one = kind.object("w", json!({"colour": "red", "size": 2}));
    apply(&world, &kind.at("w"), "one", &one).await.expect(201);
    let two = kind.object("w", json!({"colour": "blue", "marks": {"two": "2"}}));
    let refused = apply(&world, &kind.at("w"), "two", &two).await;
    refused.refused(409, "Conflict");
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldManagerConflict"), &json!(".spec.colour")));
    assert!(refused.body["message"].as_str().unwrap().contains("conflict with \"one\""), "{refused:?}");
    assert_eq!(world.get(kind.at("w")).await.expect(200)["spec"], one["spec"], "nothing was done");

    let forced = apply(&world, &kind.at("w"), "two&force=true", &two).await.expect(200);
    assert_eq!(forced["spec"], json!({"colour": "blue", "size": 2, "marks": {"two": "2"}}));
    // Its colour is no longer that of the first, who now takes back only its size.
    let bare = kind.object("w", json!({}));
    let left = apply(&world, &kind.at("w"), "one", &bare).await.expect(200);
    assert_eq!(left["spec"], json!({"colour": "blue", "size": 1, "marks": {"two": "2"}}));
}

#[tokio::test]
async fn equal_values_are_shared_and_go_with_the_last_who_wants_them() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let both = kind.object("w", json!({"colour": "red", "order": ["a", "b"]}));
    apply(&world, &kind.at("w"), "one", &both).await.expect(201);
    apply(&world, &kind.at("w"), "two", &both).await.expect(200);
    let none = kind.object("w", json!({}));
    let left = apply(&world, &kind.at("w"), "one", &none).await.expect(200);
    assert_eq!(left["spec"]["colour"], "red");
    let left = apply(&world, &kind.at("w"), "two", &none).await.expect(200);
    assert_eq!(left["spec"], json!({"size": 1}));
}

#[tokio::test]
async fn items_of_a_list_by_key_have_managers_of_their_own() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let one = kind.object("w", json!({"ports": [{"name": "a", "number": 1}, {"name": "b", "number": 2}]}));
    apply(&world, &kind.at("w"), "one", &one).await.expect(201);
    let two = kind.object("w", json!({"ports": [{"name": "b", "open": true}, {"name": "c", "number": 3}]}));
    let object = apply(&world, &kind.at("w"), "two", &two).await.expect(200);
    let ports = json!([
        {"name": "a", "number": 1}, {"name": "b", "number": 2, "open": true}, {"name": "c", "number": 3},
    ]);
    assert_eq!(object["spec"]["ports"], ports);
    let clash = kind.object("w", json!({"ports": [{"name": "a", "number": 9}]}));
    let refused = apply(&world, &kind.at("w"), "two", &clash).await;
    refused.refused(409, "Conflict");
    assert_eq!(refused.body["details"]["causes"][0]["field"], ".spec.ports[name=\"a\"].number");
    // Of the item that both have, only what the first said goes.
    let object = apply(&world, &kind.at("w"), "one", &kind.object("w", json!({}))).await.expect(200);
    assert_eq!(object["spec"]["ports"], json!([{"name": "b", "open": true}, {"name": "c", "number": 3}]));
}

#[tokio::test]
async fn other_writes_take_the_fields_that_they_change() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let one = kind.object("w", json!({"colour": "red", "marks": {"a": "1"}}));
    apply(&world, &kind.at("w"), "one", &one).await.expect(201);
    let patch = json!({"spec": {"colour": "blue"}});
    world.merge(format!("{}?fieldManager=hand", kind.at("w")), &patch).await.expect(200);
    let refused = apply(&world, &kind.at("w"), "one", &one).await;
    refused.refused(409, "Conflict");
    assert!(refused.body["message"].as_str().unwrap().contains("\"hand\""), "{refused:?}");
    // What it no longer owns it does not take back.
    let less = kind.object("w", json!({"marks": {"a": "1"}}));
    let object = apply(&world, &kind.at("w"), "one", &less).await.expect(200);
    assert_eq!(object["spec"]["colour"], "blue");
}

#[tokio::test]
async fn the_status_is_applied_apart() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let mut object = kind.object("w", json!({"colour": "red"}));
    object["status"] = json!({"phase": "lost"});
    let made = apply(&world, &kind.at("w"), "one", &object).await.expect(201);
    assert_eq!(made["status"], Value::Null);
    let status = format!("{}/status", kind.at("w"));
    object["status"] = json!({"phase": "up"});
    object["spec"]["colour"] = json!("ignored");
    let made = apply(&world, &status, "two", &object).await.expect(200);
    assert_eq!((&made["status"]["phase"], &made["spec"]["colour"]), (&json!("up"), &json!("red")));
    let managers = made["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|one| one["manager"] == "two" && one["subresource"] == "status"), "{made:#}");
}

#[tokio::test]
async fn the_lists_of_built_in_kinds_merge_by_their_keys() {
    let world = World::open().await;
    let services = format!("/api/v1/namespaces/{}/services", world.namespace().await);
    let service = |ports: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {"a": "1"}},
            "spec": {"ports": ports},
        })
    };
    let at = format!("{services}/s");
    let one = service(json!([{"name": "dns", "port": 53, "protocol": "UDP"}]));
    apply(&world, &at, "one", &one).await.expect(201);
    let two = service(json!([{"name": "dns-tcp", "port": 53, "protocol": "TCP"}]));
    let object = apply(&world, &at, "two", &two).await.expect(200);
    assert_eq!(object["spec"]["ports"].as_array().unwrap().len(), 2, "{object:#}");
    let object = apply(&world, &at, "one", &service(json!([]))).await.expect(200);
    assert_eq!(object["spec"]["ports"][0]["protocol"], "TCP");
    assert_eq!(object["spec"]["ports"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_apply_says_who_it_is_and_nothing_of_the_record() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let object = kind.object("w", json!({}));
    let ask = world.ask("PATCH", kind.at("w")).json(&object);
    let anonymous = ask.content_type("application/apply-patch+yaml").send().await;
    anonymous.blames("fieldManager", "FieldValueRequired");
    let mut with_record = object.clone();
    with_record["metadata"]["managedFields"] = json!([]);
    apply(&world, &kind.at("w"), "one", &with_record).await.refused(400, "BadRequest");
    let misnamed = kind.object("other", json!({}));
    apply(&world, &kind.at("w"), "one", &misnamed).await.refused(400, "BadRequest");
    let misspelt = kind.object("w", json!({"color": "red"}));
    let strict = apply(&world, &kind.at("w"), "one&fieldValidation=Strict", &misspelt).await;
    assert!(strict.body["message"].as_str().unwrap_or_default().contains("color"), "{strict:?}");
    assert_eq!(world.get(kind.at("w")).await.code, 404);
}

#[tokio::test]
async fn the_record_of_managers_can_be_emptied_by_hand() {
    let world = World::open().await;
    let kind = kind(&world).await;
    let object = kind.object("w", json!({"colour": "red"}));
    apply(&world, &kind.at("w"), "one", &object).await.expect(201);
    let patch = json!({"metadata": {"managedFields": [{}]}});
    let emptied = world.merge(kind.at("w"), &patch).await.expect(200);
    assert_eq!(emptied["metadata"].get("managedFields"), None);
    // From then on it is as if the object had never been applied.
    let next = kind.object("w", json!({"colour": "blue"}));
    let refused = apply(&world, &kind.at("w"), "two", &next).await;
    refused.refused(409, "Conflict");
    assert!(refused.body["message"].as_str().unwrap().contains("before-first-apply"), "{refused:?}");
}
