//! The controller as a process against an API server: whose blocks it frees, and whose never.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use caracal_api::IpamBlock;
use caracal_apiserver::{Fault, Options, Server};
use caracal_wait::until;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds of quarantine.
const QUARANTINE: &str = "1";

struct Lab {
    folder: tempfile::TempDir,
    server: Server,
    client: Client,
}

/// A controller that dies with the test.
struct Controller(Child);

impl Drop for Controller {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Lab {
    async fn new() -> Self {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let server = Server::start(Options { crds: vec![crds], ..Options::default() }).await.unwrap();
        let client = Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
        let lab = Self { folder: tempfile::tempdir().unwrap(), server, client };
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": lab.server.url()}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "users": [{"name": "lab", "user": {}}],
        });
        std::fs::write(lab.kubeconfig(), kubeconfig.to_string()).unwrap();
        lab
    }

    fn kubeconfig(&self) -> std::path::PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn controller(&self, identity: &str) -> Controller {
        let started = Command::new(env!("CARGO_BIN_EXE_caracal-controller"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(["--identity", identity, "--namespace", "default", "--quarantine", QUARANTINE])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Controller(started.unwrap())
    }

    fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind)))
    }

    async fn create(&self, group: &str, kind: &str, object: Value) -> DynamicObject {
        self.api(group, kind)
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap()
    }

    /// Makes a Node; returns its UID.
    async fn node(&self, name: &str) -> String {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        self.create("", "Node", node).await.metadata.uid.unwrap()
    }

    async fn block(&self, number: u32, node: &str, uid: &str) {
        let name = format!("10-244-{number}-0-26");
        let block = json!({
            "apiVersion": "caracal.dev/v1", "kind": "IPAMBlock", "metadata": {"name": name},
            "spec": {"cidr": format!("10.244.{number}.0/26"), "pool": "p", "poolUID": "u",
                     "owner": {"kind": "Node", "name": node, "nodeUID": uid, "machineID": "m", "claimToken": "t"},
                     "allocations": {"3": "w/1/net.c.eth0/default/web-0"}},
        });
        self.create("caracal.dev", "IPAMBlock", block).await;
    }

    async fn owners(&self) -> Vec<String> {
        let blocks = Api::<IpamBlock>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        blocks.items.into_iter().map(|block| block.spec.owner.name).collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let owners = self.owners().await;
            if holds(&owners) {
                return;
            }
            assert!(Instant::now() < end, "not in time: {what}: {owners:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_nodes_blocks_are_freed_though_the_controller_is_killed_half_way_and_a_silent_nodes_never()
{
    let lab = Lab::new().await;
    let (gone, silent) = (lab.node("gone").await, lab.node("silent").await);
    for number in 0..8 {
        lab.block(number, "gone", &gone).await;
    }
    lab.block(100, "silent", &silent).await;
    // Whoever was replaced under its name: the Node of today has another UID.
    lab.block(101, "silent", "the-uid-of-before").await;
    lab.api("", "Node").delete("gone", &DeleteParams::default()).await.unwrap();
    // One delete is not answered, so that the kill comes in between.
    let half_way = lab.server.faults.add(Fault {
        path_prefix: "/apis/caracal.dev/v1/ipamblocks/10-244-4-0-26".into(),
        methods: vec!["DELETE".into()],
        hang: true,
        ..Fault::default()
    });
    let hangs = || lab.server.faults.list().iter().any(|rule| rule.id == half_way && rule.hits > 0);
    let first = lab.controller("first");
    until("some blocks are freed", PATIENCE, async || hangs() && lab.owners().await.len() < 10).await;
    drop(first);
    let left = lab.owners().await.len();
    assert!(left > 1, "it was killed half way: {left} blocks are left");
    assert!(lab.server.faults.remove(half_way));

    let second = lab.controller("second");
    lab.until("what the first left is freed by the second", |owners| owners == ["silent"]).await;
    // Several quarantines later the silent node still has its block.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(lab.owners().await, ["silent"]);
    drop(second);
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pools_status_counts_its_blocks_and_an_event_tells_when_few_are_left() {
    let lab = Lab::new().await;
    let uid = lab.node("n1").await;
    let pool = json!({"apiVersion": "caracal.dev/v1", "kind": "IPPool", "metadata": {"name": "p"},
                      "spec": {"cidr": "10.244.0.0/26", "blockSize": 26}});
    lab.create("caracal.dev", "IPPool", pool).await;
    let controller = lab.controller("only");
    let end = Instant::now() + PATIENCE;
    let pools = lab.api("caracal.dev", "IPPool");
    let wait = async |what: &str, holds: &dyn Fn(&Value) -> bool| {
        loop {
            let pool = serde_json::to_value(pools.get("p").await.unwrap()).unwrap();
            if holds(&pool["status"]) {
                return;
            }
            assert!(Instant::now() < end, "not in time: {what}: {pool}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let condition = |status: &Value, kind: &str| -> Option<String> {
        let found = status["conditions"].as_array()?.iter().find(|c| c["type"] == kind)?;
        Some(found["status"].as_str()?.to_owned())
    };
    wait("the pool is judged", &|status| condition(status, "Allocatable").as_deref() == Some("True")).await;
    lab.block(0, "n1", &uid).await;
    wait("it is low", &|status| {
        condition(status, "Low").as_deref() == Some("True")
            && status["blocks"] == 1
            && status["used"] == 1
            && status["capacity"] == "64"
            && status["percentUsed"] == 1
    })
    .await;
    loop {
        let events = lab.api("", "Event").list(&ListParams::default()).await.unwrap();
        let tells = |event: &DynamicObject| {
            event.data["reason"] == "Low" && event.data["involvedObject"]["name"] == "p"
        };
        if events.items.iter().any(tells) {
            break;
        }
        assert!(Instant::now() < end, "no Event told that the pool is low");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(controller);
    lab.server.stop().await;
}
