//! What concerns the whole cluster, against the lab's API server.

use std::path::{Path, PathBuf};
use std::process::Output;

use caracal_apiserver::{Options, Server};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Agent, compare, run};

/// An API server with caracal's kinds.
struct Cluster {
    runtime: Runtime,
    folder: tempfile::TempDir,
    client: Client,
    _server: Server,
}

impl Cluster {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let server =
            runtime.block_on(Server::start(Options { crds: vec![crds], ..Options::default() })).unwrap();
        let client = {
            let _inside = runtime.enter();
            Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).unwrap();
        Self { runtime, folder, client, _server: server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `caracalctl` on a machine that has this agent, or none.
    fn run(&self, agent: Option<&Agent>, words: &str) -> Output {
        let socket = agent.map_or_else(|| self.path("no-agent.sock"), Agent::socket);
        run(&socket, &format!("{words} --kubeconfig {}", self.path("kubeconfig").display()))
    }

    /// The same without an agent: exit code, what it printed, and what it said on the side.
    fn ctl(&self, words: &str) -> (i32, String, String) {
        let output = self.run(None, words);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind)))
    }

    fn create(&self, object: Value) -> DynamicObject {
        let version = object["apiVersion"].as_str().unwrap().to_owned();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kind = object["kind"].as_str().unwrap().to_owned();
        let object = serde_json::from_value(object).unwrap();
        self.runtime.block_on(self.api(group, &kind).create(&PostParams::default(), &object)).unwrap()
    }

    fn pool(&self, name: &str, cidr: &str) -> String {
        let pool = json!({"apiVersion": "caracal.dev/v1", "kind": "IPPool", "metadata": {"name": name},
                          "spec": {"cidr": cidr, "natOutgoing": true}});
        self.create(pool).metadata.uid.unwrap()
    }

    /// Says of a pool what the controller says of it.
    fn judge(&self, name: &str, (status, reason): (&str, &str)) {
        let api = self.api("caracal.dev", "IPPool");
        let generation = self.runtime.block_on(api.get(name)).unwrap().metadata.generation;
        let verdict = json!({"type": "Allocatable", "status": status, "reason": reason, "message": "as the test says",
                             "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation});
        let status = Patch::Merge(json!({"status": {"conditions": [verdict]}}));
        self.runtime.block_on(api.patch_status(name, &PatchParams::default(), &status)).unwrap();
    }

    /// Pools with range, `natOutgoing`, and the UID of the pool that they are a part of.
    fn pools(&self) -> Vec<(String, Value)> {
        let all = self.api("caracal.dev", "IPPool");
        let all = self.runtime.block_on(all.list(&ListParams::default())).unwrap();
        let told = |pool: DynamicObject| {
            let spec = &pool.data["spec"];
            let note = pool.metadata.annotations.as_ref().and_then(|all| all.get("caracal.dev/split-from"));
            let told = json!([spec["cidr"], spec["natOutgoing"], note]);
            (pool.metadata.name.unwrap(), told)
        };
        all.items.into_iter().map(told).collect()
    }

    fn node(&self, name: &str) -> String {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        self.create(node).metadata.uid.unwrap()
    }

    fn block(&self, cidr: &str, pool_uid: &str, owner: (&str, &str), allocations: Value) {
        let name = cidr.replace(['.', '/'], "-");
        self.create(json!({
            "apiVersion": "caracal.dev/v1", "kind": "IPAMBlock", "metadata": {"name": name},
            "spec": {"cidr": cidr, "pool": "pods", "poolUID": pool_uid, "allocations": allocations,
                     "owner": {"kind": "Node", "name": owner.0, "nodeUID": owner.1}},
        }));
    }

    fn pod(&self, name: &str, node: &str, address: &str) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "default", &resource);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
                         "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]}});
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        self.runtime.block_on(async {
            api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        });
    }

    /// Blocks with their allocations.
    fn blocks(&self) -> Vec<(String, Value)> {
        let list = self.api("caracal.dev", "IPAMBlock");
        let list = self.runtime.block_on(list.list(&ListParams::default())).unwrap();
        let pair = |object: DynamicObject| {
            (
                object.metadata.name.unwrap(),
                object.data["spec"].get("allocations").cloned().unwrap_or(json!({})),
            )
        };
        list.items.into_iter().map(pair).collect()
    }

    /// A cluster in which much does not fit.
    fn muddled() -> Self {
        let cluster = Self::start();
        let pool = cluster.pool("pods", "10.244.0.0/16");
        let uid = cluster.node("node-1");
        let records = json!({
            "1": "w/1/caracal.c1.eth0/default/web",
            "2": "w/2/caracal.c2.eth0/default/lost",
            "3": "w/3/caracal.c3.eth0/default/away/gone/u-gone/j",
        });
        cluster.block("10.244.0.0/26", &pool, ("node-1", &uid), records);
        cluster.block(
            "10.244.1.0/26",
            &pool,
            ("gone", "u-gone"),
            json!({"4": "w/4/caracal.c4.eth0/default/old"}),
        );
        cluster.block("10.98.0.0/26", &pool, ("node-1", &uid), json!({}));
        cluster.pod("web", "node-1", "10.244.0.1");
        cluster.pod("unknown", "node-1", "10.244.0.9");
        cluster
    }
}

#[test]
fn what_does_not_fit_is_found_explained_and_mended() {
    let cluster = Cluster::muddled();
    let (code, found, said) = cluster.ctl("ipam check --again 0");
    assert_eq!((code, said.contains("5 problems are left")), (1, true), "{said}");
    compare("ipam-check", &found);
    compare("ipam-check-wide", &cluster.ctl("ipam check --again 0 -o wide").1);

    let (code, fixed, said) = cluster.ctl("ipam check --again 0 --fix");
    assert_eq!((code, said.contains("2 problems are left")), (1, true), "{said}");
    compare("ipam-check-fix", &fixed);
    let left = [(
        "10-244-0-0-26".to_owned(),
        json!({
            "1": "w/1/caracal.c1.eth0/default/web",
            "2": "w/2/caracal.c2.eth0/default/lost",
            "3": "h/3/caracal.c3.eth0/default/away/gone/u-gone/j",
        }),
    )];
    assert_eq!(cluster.blocks(), left, "what the agent of a node holds is left to it");
}

#[test]
fn what_an_agent_holds_is_released_by_it() {
    let cluster = Cluster::muddled();
    let agent = Agent::start();
    let output = cluster.run(Some(&agent), "ipam check --again 0 --fix -o json");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["node"], "node-1");
    let outcome = |problem: &str, address: &str| {
        let told = report["problems"].as_array().unwrap();
        let one = told.iter().find(|one| one["problem"] == problem && one["address"] == address);
        one.unwrap_or_else(|| panic!("no {problem} of {address} in {report:#}"))["outcome"].clone()
    };
    assert_eq!(
        outcome("LeakedAddress", "10.244.0.2"),
        json!({"fixed": "attachment caracal.c2.eth0 had no device any more and was undone"})
    );
    assert_eq!(
        outcome("MissingRecord", "10.244.0.9"),
        json!({"fixed": "the agent of node-1 writes its blocks: check again"})
    );
}

#[test]
fn all_nodes_are_asked_and_those_that_are_not_reached_are_told_by_name() {
    let cluster = Cluster::muddled();
    cluster.node("node-2");
    let agent = Agent::start();
    std::os::unix::fs::symlink(agent.socket(), cluster.path("node-1.sock")).unwrap();
    let by = format!(
        "{} --socket {}/{{node}}.sock pipe",
        env!("CARGO_BIN_EXE_caracalctl"),
        cluster.path("").display()
    );
    let ctl = |words: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_caracalctl"))
            .args(["--socket", "/nonexistent/admin.sock"])
            .args(words.split(' '))
            .args(["--kubeconfig".as_ref(), cluster.path("kubeconfig").as_os_str()])
            .args(["--again", "0", "--all-nodes", "--through", &by])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, told, said) = ctl("ipam check -o json");
    assert_eq!((code, said.contains("problems are left")), (1, true), "{said}");
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(report["asked"], json!(["node-1"]));
    let why = report["silent"]["node-2"].as_str().unwrap();
    assert!(why.contains("node-2.sock"), "{why}");
    let (_, told, _) = ctl("ipam check");
    assert!(told.contains("node-2") && told.contains("NOT ASKED"), "{told}");

    // What an agent holds is mended through the same way.
    let (_, told, _) = ctl("ipam check -o json --fix");
    let report: Value = serde_json::from_str(&told).unwrap();
    let mended = report["problems"].as_array().unwrap().iter().any(|one| {
        one["outcome"] == json!({"fixed": "attachment caracal.c2.eth0 had no device any more and was undone"})
    });
    assert!(mended, "{report:#}");
}

#[test]
fn an_address_is_released_only_while_nobody_has_it() {
    let cluster = Cluster::muddled();
    let report = cluster.path("report.json");
    let words = format!("ipam check --again 0 -o {}", report.display());
    assert_eq!(cluster.ctl(&words).0, 1);
    let written: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(written["problems"].as_array().unwrap().len(), 5, "{written:#}");

    let (code, told, said) = cluster.ctl("ipam release --again 0 --ip 10.244.0.1");
    assert_eq!(code, 1, "{said}");
    assert!(told.contains("left: pod default/web on node-1 has it: delete the pod"), "{told}");

    // Since the report was written somebody got one of its addresses.
    cluster.pod("fresh", "node-1", "10.244.0.3");
    let (code, told, said) =
        cluster.ctl(&format!("ipam release --again 0 --from-report {}", report.display()));
    assert_eq!(code, 1, "{said}");
    assert!(told.contains("10.244.0.3   left: pod default/fresh on node-1 has it"), "{told}");
    assert!(
        told.contains(
            "10.244.0.2   left: the agent of node-1 alone can tell: run this there, or with --all-nodes"
        ),
        "{told}"
    );
    assert_eq!(cluster.blocks()[0].1["3"], "w/3/caracal.c3.eth0/default/away/gone/u-gone/j");
}

#[test]
fn settings_are_shown_and_changed() {
    let cluster = Cluster::start();
    compare("ipam-configure-defaults", &cluster.ctl("ipam configure show").1);
    compare(
        "ipam-configure",
        &cluster.ctl("ipam configure --strictaffinity=false --max-blocks-per-host 8").1,
    );
    let (code, now, _) = cluster.ctl("ipam configure show -o json");
    let now: Value = serde_json::from_str(&now).unwrap();
    let expected = json!({"configured": true, "strictAffinity": false, "maxBlocksPerHost": 8,
                          "autoAllocateBlocks": true, "ipCooldownSeconds": 180});
    assert_eq!((code, now), (0, expected));
    let (code, _, said) = cluster.ctl("ipam configure --auto-allocate-blocks=false");
    assert_eq!(code, 1);
    assert!(said.contains("changing IPAMConfig default: 422 Invalid"), "{said}");
}

#[test]
fn a_pool_with_blocks_is_split_step_by_step_and_whoever_was_interrupted_goes_on() {
    let cluster = Cluster::start();
    let uid = cluster.pool("pods", "10.244.0.0/16");
    let node = cluster.node("node-1");
    cluster.block("10.244.0.0/26", &uid, ("node-1", &node), json!({"1": "w/1/caracal.c1.eth0/default/web"}));
    let (code, _, said) = cluster.ctl("ipam split 4 --cidr 10.9.0.0/16");
    assert_eq!(code, 1);
    assert!(said.contains("there is no such pool; the pools are: pods (10.244.0.0/16)"), "{said}");

    // Without a controller nothing judges the parts: the old pool stays.
    let (code, _, said) = cluster.ctl("ipam split 2 --name pods --within 0");
    assert_eq!(code, 1);
    assert!(said.contains("does caracal-controller run? Pool pods goes on serving"), "{said}");
    let of_pods = |name: &str, cidr: &str| (name.to_owned(), json!([cidr, true, uid]));
    let parts = [of_pods("split-pods-0", "10.244.0.0/17"), of_pods("split-pods-1", "10.244.128.0/17")];
    let whole = ("pods".to_owned(), json!(["10.244.0.0/16", true, null]));
    assert_eq!(cluster.pools(), [&[whole][..], &parts].concat());

    let (code, _, said) = cluster.ctl("ipam split 4 --name pods --within 0");
    assert_eq!(code, 1);
    assert!(said.contains("pool split-pods-0 is left from splitting it into another number"), "{said}");
    cluster.judge("split-pods-0", ("True", "OK"));
    cluster.judge("split-pods-1", ("False", "InvalidSelector"));
    let (code, _, said) = cluster.ctl("ipam split 2 --name pods");
    assert_eq!(code, 1);
    assert!(said.contains("against pool split-pods-1: as the test says (InvalidSelector)"), "{said}");

    cluster.judge("split-pods-1", ("True", "OK"));
    let (code, told, said) = cluster.ctl("ipam split 2 --name pods");
    assert_eq!((code, told.contains("1 blocks lie inside and stay")), (0, true), "{told}{said}");
    assert_eq!(cluster.pools(), parts);
    // It had been done, and only the answer was missed.
    for pool in ["--name pods", "--cidr 10.244.0.0/16"] {
        assert_eq!(cluster.ctl(&format!("ipam split 2 {pool}")), (code, told.clone(), said.clone()));
    }
    assert_eq!(cluster.ctl("ipam split 4 --name pods").0, 1);

    cluster.pool("more", "10.245.0.0/16");
    cluster.pool("split-more-1", "10.246.0.0/16");
    let (code, _, said) = cluster.ctl("ipam split 2 --name more");
    assert_eq!(code, 1);
    assert!(said.contains("there is a pool split-more-1 already: rename or delete it"), "{said}");

    cluster.pool("most", "10.247.0.0/16");
    assert_eq!(cluster.ctl("ipam split 2 --name most --within 0").0, 1);
    cluster.judge("split-most-0", ("True", "OK"));
    cluster.judge("split-most-1", ("True", "OK"));
    compare("ipam-split", &cluster.ctl("ipam split 2 --cidr 10.247.0.0/16").1);
}

#[test]
fn an_api_server_that_cannot_be_reached_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("kubeconfig");
    let said = |words: String| {
        let output = run(&folder.path().join("admin.sock"), &words);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let words = said(format!("ipam configure show --kubeconfig {}", nowhere.display()));
    assert!(
        words.contains("reading how to reach the API server") && words.contains("--kubeconfig"),
        "{words}"
    );
    // A port that was just free: nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": format!("http://{free}")}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "users": [{"name": "lab", "user": {}}],
    });
    std::fs::write(&nowhere, config.to_string()).unwrap();
    let words = said(format!("ipam configure show --kubeconfig {}", nowhere.display()));
    assert!(
        words.contains("reading IPAMConfig default") && words.contains("Is the API server up"),
        "{words}"
    );
}
