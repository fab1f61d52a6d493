//! The client that the product uses, with its types.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, conditions, wait};
use kube::{Api, CustomResource, CustomResourceExt as _, KubeSchema, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::world::{PATIENCE, World};

#[derive(CustomResource, Debug, Clone, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "derived.conformance.caracal.dev",
    version = "v1",
    kind = "Sprocket",
    status = "SprocketStatus"
)]
#[kube(selectable = ".spec.owner")]
struct SprocketSpec {
    #[x_kube(validation = "self > 0")]
    teeth: i32,
    #[serde(default = "steel")]
    material: String,
    owner: Option<String>,
}

fn steel() -> String {
    "steel".to_owned()
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
struct SprocketStatus {
    worn: bool,
}

async fn sprockets(world: &World) -> Api<Sprocket> {
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let name = kube::ResourceExt::name_any(&Sprocket::crd());
    // On a server that is not ours the kind may be left from an earlier run.
    match crds.create(&PostParams::default(), &Sprocket::crd()).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        created => drop(created.unwrap()),
    }
    let established = wait::await_condition(crds, &name, conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
    Api::all(world.client.clone())
}

fn sprocket(prefix: &str, teeth: i32) -> Sprocket {
    let spec = SprocketSpec { teeth, material: steel(), owner: None };
    let mut sprocket = Sprocket::new("", spec);
    sprocket.metadata = ObjectMeta { generate_name: Some(prefix.to_owned()), ..ObjectMeta::default() };
    sprocket
}

#[tokio::test]
async fn a_derived_kind_is_created_read_patched_and_deleted() {
    let world = World::open().await;
    let api = sprockets(&world).await;
    let made = api.create(&PostParams::default(), &sprocket("crud-", 12)).await.unwrap();
    let name = made.name_any();
    let refused = api.create(&PostParams::default(), &sprocket("crud-", 0)).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 422), "{refused}");

    let patch = Patch::Merge(json!({"spec": {"teeth": 13}}));
    let patched = api.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((patched.spec.teeth, patched.metadata.generation), (13, Some(2)));
    let patch = Patch::Merge(json!({"status": {"worn": true}}));
    let worn = api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(worn.status, Some(SprocketStatus { worn: true }));

    let mut stale = made;
    stale.spec.teeth = 14;
    let refused = api.replace(&name, &PostParams::default(), &stale).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.is_conflict()), "{refused}");
    let mut fresh = api.get(&name).await.unwrap();
    fresh.spec.teeth = 14;
    api.replace(&name, &PostParams::default(), &fresh).await.unwrap();
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    assert!(api.get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn lists_and_collections_work_with_types() {
    let world = World::open().await;
    let api = sprockets(&world).await;
    let mut owned = sprocket("owned-", 1);
    owned.spec.owner = Some(format!("o{:08x}", rand::random::<u32>()));
    let owner = owned.spec.owner.clone().unwrap();
    for _ in 0..3 {
        api.create(&PostParams::default(), &owned).await.unwrap();
    }
    let params = ListParams::default().fields(&format!("spec.owner={owner}"));
    assert_eq!(api.list(&params).await.unwrap().items.len(), 3);
    assert_eq!(api.list(&params.clone().limit(2)).await.unwrap().items.len(), 2);
    assert_eq!(api.list_metadata(&params).await.unwrap().items.len(), 3);
    api.delete_collection(&DeleteParams::default(), &params).await.unwrap();
    assert!(api.list(&params).await.unwrap().items.is_empty());
}

async fn watched(config: watcher::Config) {
    let world = World::open().await;
    let namespace = world.namespace().await;
    let api: Api<ConfigMap> = Api::namespaced(world.client.clone(), &namespace);
    let map = |name: &str| {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.metadata.labels = Some([("mine".to_owned(), "yes".to_owned())].into());
        map
    };
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    let mut events = watcher::watcher(api.clone(), config.labels("mine=yes")).boxed();
    let mut next =
        async || tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(next().await, Event::Init));
    let mut initial = Vec::new();
    loop {
        match next().await {
            Event::InitApply(map) => initial.push(map.name_any()),
            Event::InitDone => break,
            other => panic!("{other:?}"),
        }
    }
    initial.sort();
    assert_eq!(initial, ["a", "b", "c"]);
    api.create(&PostParams::default(), &map("d")).await.unwrap();
    assert!(matches!(next().await, Event::Apply(map) if map.name_any() == "d"));
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(matches!(next().await, Event::Delete(map) if map.name_any() == "a"));
}

#[tokio::test]
async fn a_watcher_that_lists_sees_everything() {
    watched(watcher::Config::default().page_size(2)).await;
}

#[tokio::test]
async fn a_watcher_that_streams_its_list_sees_everything() {
    watched(watcher::Config::default().streaming_lists()).await;
}

#[tokio::test]
async fn a_watcher_goes_on_when_its_watches_end() {
    let world = World::open().await;
    let namespace = world.namespace().await;
    let api: Api<ConfigMap> = Api::namespaced(world.client.clone(), &namespace);
    let config = watcher::Config::default().timeout(1).labels("mine=yes");
    let mut names = watcher::watcher(api.clone(), config).applied_objects().boxed();
    for name in ["a", "b", "c"] {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.metadata.labels = Some([("mine".to_owned(), "yes".to_owned())].into());
        api.create(&PostParams::default(), &map).await.unwrap();
        let seen = tokio::time::timeout(PATIENCE, names.try_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(seen.name_any(), name);
        // Longer than the watch lives: the next event comes over another one.
        let ended =
            world.get(format!("/api/v1/namespaces/{namespace}/configmaps?watch=true&timeoutSeconds=1")).await;
        assert_eq!(ended.code, 200);
    }
}

#[tokio::test]
async fn metadata_is_watched_without_the_rest() {
    let world = World::open().await;
    let namespace = world.namespace().await;
    let api: Api<ConfigMap> = Api::namespaced(world.client.clone(), &namespace);
    let mut map = ConfigMap::default();
    map.metadata.name = Some("a".to_owned());
    api.create(&PostParams::default(), &map).await.unwrap();
    let config = watcher::Config::default().fields("metadata.name=a");
    let light: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(world.client.clone(), &namespace);
    let mut events = watcher::watcher(light, config).applied_objects().boxed();
    let seen = tokio::time::timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(seen.name_any(), "a");
}

#[tokio::test]
async fn a_node_registers_itself_and_reports_conditions() {
    let world = World::open().await;
    let api: Api<Node> = Api::all(world.client.clone());
    let name = format!("conformance-{:08x}", rand::random::<u32>());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": "10.1.0.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    }))
    .unwrap();
    let made = api.create(&PostParams::default(), &node).await.unwrap();
    assert_eq!(
        made.status.unwrap().addresses.unwrap()[0].address,
        "10.0.0.1",
        "a kubelet gives its status at once"
    );
    let patch = Patch::Strategic(json!({"status": {"conditions": [
        {"type": "NetworkUnavailable", "status": "False", "reason": "CaracalIsUp", "message": "up"},
    ]}}));
    let patched = api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    let conditions = patched.status.unwrap().conditions.unwrap_or_default();
    assert!(conditions.iter().any(|condition| condition.type_ == "NetworkUnavailable"));
    api.delete(&name, &DeleteParams::default()).await.unwrap();
}
