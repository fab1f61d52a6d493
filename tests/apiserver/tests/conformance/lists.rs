//! Lists: chunks, revisions, selectors, forms.

use base64::Engine as _;
use serde_json::{Value, json};

use super::world::{World, config_map};

async fn five(world: &World) -> String {
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    for name in ["cm-a", "cm-b", "cm-c", "cm-d", "cm-e"] {
        let mut map = config_map(name, name);
        map["metadata"]["labels"] = json!({"letter": &name[3..], "set": "five"});
        world.post(&maps, &map).await.expect(201);
    }
    maps
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    // A real cluster puts a certificate into each namespace.
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .filter(|name| name.starts_with("cm-"))
        .collect()
}

#[tokio::test]
async fn a_list_comes_in_chunks_that_show_one_moment() {
    let world = World::open().await;
    let maps = five(&world).await;
    let page = world.get(format!("{maps}?limit=2&labelSelector=set%3Dfive")).await.expect(200);
    assert_eq!(names(&page), ["cm-a", "cm-b"]);
    // What happens between the chunks is not seen.
    world.delete(format!("{maps}/cm-c")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let page2 =
        world.get(format!("{maps}?limit=2&labelSelector=set%3Dfive&continue={token}")).await.expect(200);
    assert_eq!(names(&page2), ["cm-c", "cm-d"]);
    assert_eq!(page2["metadata"]["resourceVersion"], page["metadata"]["resourceVersion"]);
    let token = page2["metadata"]["continue"].as_str().unwrap();
    let page3 =
        world.get(format!("{maps}?limit=2&labelSelector=set%3Dfive&continue={token}")).await.expect(200);
    assert_eq!(names(&page3), ["cm-e"]);
    assert_eq!(page3["metadata"]["continue"].as_str().unwrap_or_default(), "");
}

#[tokio::test]
async fn an_expired_continue_is_gone() {
    let world = World::open().await;
    let maps = five(&world).await;
    let token = json!({"v": "meta.k8s.io/v1", "rv": 1, "start": "cm-b\u{0}"});
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string());
    world.get(format!("{maps}?limit=2&continue={token}")).await.refused(410, "Expired");
    world.get(format!("{maps}?limit=2&continue=rubbish")).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn selectors_narrow_a_list() {
    let world = World::open().await;
    let maps = five(&world).await;
    for (query, wanted) in [
        ("labelSelector=letter%3Db", vec!["cm-b"]),
        ("labelSelector=letter%20in%20(b,d)", vec!["cm-b", "cm-d"]),
        ("labelSelector=set,letter%21%3Da,letter%20notin%20(b,c)", vec!["cm-d", "cm-e"]),
        ("fieldSelector=metadata.name%3Dcm-c", vec!["cm-c"]),
        ("fieldSelector=metadata.name%21%3Dcm-c&labelSelector=set", vec!["cm-a", "cm-b", "cm-d", "cm-e"]),
    ] {
        let list = world.get(format!("{maps}?{query}")).await.expect(200);
        assert_eq!(names(&list), wanted, "{query}");
    }
    world.get(format!("{maps}?fieldSelector=data.value%3Dx")).await.refused(400, "BadRequest");
    world.get(format!("{maps}?labelSelector=a%20b%20c")).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn fields_that_a_crd_declares_can_be_selected_and_others_not() {
    let world = World::open().await;
    let kind = world
        .kind_with(json!({
            "name": "v1", "served": true, "storage": true,
            "selectableFields": [{"jsonPath": ".spec.owner.name"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object",
                "properties": {
                    "color": {"type": "string"},
                    "owner": {"type": "object", "properties": {"name": {"type": "string"}}},
                },
            }}}},
        }))
        .await;
    for (name, owner) in [("a", "n1"), ("b", "n2")] {
        let spec = json!({"owner": {"name": owner}, "color": "red"});
        world.post(&kind.collection, &kind.object(name, spec)).await.expect(201);
    }
    let list = world.get(format!("{}?fieldSelector=spec.owner.name%3Dn2", kind.collection)).await.expect(200);
    let found: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(found, ["b"]);
    let answer = world.get(format!("{}?fieldSelector=spec.color%3Dred", kind.collection)).await;
    answer.refused(400, "BadRequest");
}

#[tokio::test]
async fn pods_are_selected_by_node_and_phase() {
    let world = World::open().await;
    let pods = format!("/api/v1/namespaces/{}/pods", world.namespace().await);
    for (name, node) in [("a", "no-such-node-1"), ("b", "no-such-node-2")] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
        });
        world.post(&pods, &pod).await.expect(201);
    }
    let list = world.get(format!("{pods}?fieldSelector=spec.nodeName%3Dno-such-node-2")).await.expect(200);
    assert_eq!(list["items"][0]["metadata"]["name"], "b");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let list = world.get(format!("{pods}?fieldSelector=status.phase%3DPending")).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn revisions_of_lists_mean_what_they_say() {
    let world = World::open().await;
    let maps = five(&world).await;
    let list = world.get(&maps).await.expect(200);
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    world.delete(format!("{maps}/cm-a")).await.expect(200);
    let exact = format!("{maps}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(names(&world.get(exact).await.expect(200)).len(), 5, "the past is shown");
    let newer = format!("{maps}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
    assert_eq!(names(&world.get(newer).await.expect(200)).len(), 4);
    let answer = world.get(format!("{maps}?resourceVersion=1&resourceVersionMatch=Exact")).await;
    answer.refused(410, "Expired");
    let answer = world.get(format!("{maps}?resourceVersionMatch=Exact")).await;
    answer.refused(422, "Invalid");
    let future = format!("{maps}?resourceVersion=99999999999&resourceVersionMatch=NotOlderThan");
    world.get(future).await.refused(504, "Timeout");
}

#[tokio::test]
async fn lists_come_as_tables_and_as_metadata_if_asked() {
    let world = World::open().await;
    let maps = five(&world).await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = world.ask("GET", format!("{maps}?labelSelector=set")).accept(accept).send().await.expect(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"].as_array().unwrap().len(), 5);
    assert_eq!(table["rows"][0]["cells"][0], "cm-a");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = world.ask("GET", format!("{maps}?labelSelector=set")).accept(accept).send().await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(
        (&list["items"][0]["metadata"]["name"], &list["items"][0]["data"]),
        (&json!("cm-a"), &Value::Null)
    );
    let answer = world.ask("GET", &maps).accept("text/html").send().await;
    assert_eq!(answer.code, 406);
}
