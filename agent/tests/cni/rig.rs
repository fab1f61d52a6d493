//! A node in a network namespace of its own: real allocator, journal, kernel thread and CNI socket, and an API server
//! beside them. Needs root.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use caracal_agent::attachments::Journal;
use caracal_agent::cluster::Cluster;
use caracal_agent::cni::{self, CniContext, Outcome, Owners, server};
use caracal_agent::ipam::{self, Ipam};
use caracal_agent::node::pod_cidrs;
use caracal_apiserver::{Options, Server};
use caracal_cni::frame::{self, Answer, Call};
use caracal_linux::kernel::{Kernel, Settings};
use caracal_linux::namespace::Namespace;
use caracal_linux::netlink::peers::PeerEvents;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Runs a test in a new namespace, on a thread of its own, with a runtime whose threads are all born there.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: run it as root");
        ip("link set lo up");
        // The node's own addresses: what it pings from.
        ip("addr add 192.0.2.1/32 dev lo");
        ip("addr add 2001:db8::1/128 dev lo nodad");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the namespace of this thread.
pub(crate) fn ip(arguments: &str) -> String {
    let (done, text) = run("ip", arguments);
    assert!(done, "ip {arguments}: {text}");
    text
}

/// Runs a command in the namespace of this thread: whether it succeeded, and what it said.
pub(crate) fn run(program: &str, arguments: &str) -> (bool, String) {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Lines without the blanks that `ip` leaves, sorted.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

/// A pod's namespace.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) container: String,
    pub(crate) namespace: Namespace,
}

impl Pod {
    pub(crate) fn new(name: &str, container: &str) -> Self {
        Self { name: name.into(), container: container.into(), namespace: Namespace::create().unwrap() }
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.namespace.run(|| ip(arguments)).unwrap()
    }
}

/// What has to survive a restart of the agent.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    server: Server,
    client: Client,
}

/// A running agent, as far as pods are concerned.
pub(crate) struct Agent {
    pub(crate) ipam: Ipam,
    pub(crate) journal: Journal,
    pub(crate) recovered: Outcome,
    pub(crate) context: Arc<CniContext>,
    pub(crate) socket: PathBuf,
    serving: JoinHandle<std::io::Result<()>>,
    beside: Vec<JoinHandle<()>>,
    _mtu: watch::Sender<u32>,
}

impl Node {
    /// A cluster with these pools: name, CIDR, block size.
    pub(crate) async fn new(pools: &[(&str, &str, u8)]) -> Self {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let server = Server::start(Options { crds: vec![crds], ..Options::default() }).await.unwrap();
        let client = Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
        let node = Self { folder: tempfile::tempdir().unwrap(), server, client };
        let nodes = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
                           "spec": {"podCIDR": "10.77.3.0/24", "podCIDRs": ["10.77.3.0/24", "fd00:77:3::/64"]}});
        node.api("", "Node")
            .create(&PostParams::default(), &serde_json::from_value(nodes).unwrap())
            .await
            .unwrap();
        for (name, cidr, size) in pools {
            node.pool(name, json!({"cidr": cidr, "blockSize": size})).await;
        }
        node
    }

    /// Makes a pool, and says of it what the controller says once it has seen no overlap.
    pub(crate) async fn pool(&self, name: &str, spec: Value) {
        self.judged_pool(name, spec, ("True", "NoOverlap", "")).await;
    }

    /// Makes a pool with this verdict of the controller: status, reason, message.
    pub(crate) async fn judged_pool(&self, name: &str, spec: Value, verdict: (&str, &str, &str)) {
        let (status, reason, message) = verdict;
        let made = self.create("caracal.dev", "IPPool", name, spec).await;
        let allocatable = json!({"type": "Allocatable", "status": status, "reason": reason, "message": message,
                                 "lastTransitionTime": "2026-01-01T00:00:00Z",
                                 "observedGeneration": made.metadata.generation});
        let status = json!({"status": {"conditions": [allocatable]}});
        let api = self.api("caracal.dev", "IPPool");
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }

    /// Makes an object.
    pub(crate) async fn create(&self, group: &str, kind: &str, name: &str, spec: Value) -> DynamicObject {
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let object = serde_json::from_value(object).unwrap();
        self.api(group, kind).create(&PostParams::default(), &object).await.unwrap()
    }

    /// The reasons and messages of the Events about a pod.
    pub(crate) async fn events_of(&self, pod: &str) -> Vec<(String, String)> {
        let all = self.api("", "Event").list(&kube::api::ListParams::default()).await.unwrap().items;
        let about = all.into_iter().filter(|event| event.data["involvedObject"]["name"] == pod);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        about.map(|event| (text(&event.data["reason"]), text(&event.data["message"]))).collect()
    }

    fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        let version = "v1";
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::all_with(self.client.clone(), &resource)
    }

    /// What a program needs to reach the API server.
    pub(crate) fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test", "users": [],
            "clusters": [{"name": "test", "cluster": {"server": self.server.url()}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
        });
        config.to_string()
    }

    /// Starts the agent's parts in the order in which the agent does.
    pub(crate) async fn agent(&self) -> Agent {
        let folder = self.folder.path();
        let (journal, recovered) = Journal::open(&folder.join("journal.redb")).unwrap();
        let kernel = Kernel::start(Settings::default()).unwrap();
        let cluster = Cluster::start(&self.client, "n1", &folder.join("snapshot"));
        let (mtu_sender, mtu) = watch::channel(1450);
        let start = ipam::Start {
            node: "n1".into(),
            client: self.client.clone(),
            cluster: cluster.clone(),
            journal: journal.clone(),
            recovered: &recovered,
            events: None,
            speaker: None,
        };
        let ipam = Ipam::start(start);
        let mut pools = cluster.ip_pools.clone();
        let synced = pools.wait_for(|pools| pools.synced);
        drop(tokio::time::timeout(caracal_wait::PATIENCE, synced).await.expect("pools are known").unwrap());
        let owners = Owners {
            node: "n1".into(),
            mtu,
            pools,
            namespaces: cluster.namespaces.clone(),
            events: caracal_agent::cluster::events::Events::start(self.client.clone(), "test", "n1"),
            ipam: ipam.clone(),
            journal: journal.clone(),
            kernel: kernel.clone(),
            grants: watch::Sender::default(),
        };
        let context = Arc::new(CniContext::new(owners, recovered.attachments).unwrap());
        let events = PeerEvents::open().unwrap();
        let found = cni::recover(&context).await.unwrap();
        kernel.release_sweep().await.unwrap();
        let following = cni::follow(events, Arc::clone(&context));
        let beside = vec![
            tokio::spawn(async move { following.await.unwrap() }),
            tokio::spawn(cni::keep_leftovers(folder.to_owned(), Arc::clone(&context))),
            tokio::spawn(pod_cidrs::keep(folder.to_owned(), cluster.node.clone())),
        ];
        let socket = folder.join("cni.sock");
        let serving = tokio::spawn(server::serve(server::bind(&socket).unwrap(), Arc::clone(&context)));
        Agent { ipam, journal, recovered: found, context, socket, serving, beside, _mtu: mtu_sender }
    }

    /// Ends the API server.
    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

impl Agent {
    /// Ends the agent's parts; the kernel keeps what they made.
    pub(crate) async fn stop(self) {
        self.serving.abort();
        assert!(self.serving.await.is_err());
        for task in self.beside {
            task.abort();
            assert!(task.await.is_err(), "what runs beside ends with the agent only");
        }
        drop((self.ipam, self.context));
        self.journal.close().await;
    }

    /// One call as the plugin makes it: the exit code, and the JSON if there is any.
    pub(crate) async fn call(&self, command: &str, pod: &Pod, extra: Value, with_netns: bool) -> (u8, Value) {
        let mut config = json!({"cniVersion": "1.1.0", "name": "net", "type": "caracal-cni"});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", pod.name);
        let mut variables = BTreeMap::from([
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", &pod.container),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", &args),
        ]);
        if with_netns {
            variables.insert("CNI_NETNS", "/run/netns/pod");
        }
        let call =
            Call { environment: variables.into_iter().collect(), stdin: config.to_string(), ipam: None };
        let (socket, namespace) = (self.socket.clone(), pod.namespace.clone());
        let answer = tokio::task::spawn_blocking(move || -> Answer {
            let stream = UnixStream::connect(socket).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            frame::send_call(&stream, &call, with_netns.then(|| namespace.as_fd())).unwrap();
            frame::receive_answer(&stream).unwrap()
        });
        let answer = answer.await.unwrap();
        (answer.exit, serde_json::from_str(&answer.stdout).unwrap_or(Value::Null))
    }

    /// ADD that must succeed: its result.
    pub(crate) async fn add(&self, pod: &Pod) -> Value {
        let (exit, result) = self.call("ADD", pod, json!({}), true).await;
        assert_eq!(exit, 0, "ADD of {}: {result}", pod.name);
        result
    }

    /// DEL that must succeed, in silence.
    pub(crate) async fn del(&self, pod: &Pod, with_netns: bool) {
        let (exit, result) = self.call("DEL", pod, json!({}), with_netns).await;
        assert_eq!((exit, result), (0, Value::Null), "DEL of {}", pod.name);
    }

    /// How many attachments the journal holds.
    pub(crate) async fn attachments(&self) -> usize {
        self.journal.all().await.unwrap().len()
    }
}

/// The addresses in a result, without prefix lengths.
pub(crate) fn addresses(result: &Value) -> Vec<String> {
    let of = |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
    result["ips"].as_array().unwrap().iter().map(of).collect()
}

/// The host's device in a result.
pub(crate) fn host_device(result: &Value) -> String {
    result["interfaces"][0]["name"].as_str().unwrap().to_owned()
}
