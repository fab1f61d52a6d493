//! The agent's speaker and a router of another AS, with an API server beside them, in a network namespace of their own:
//! what a `BGPFilter` says is done without touching the session, and next hops are reached by the host's routes. Needs
//! root.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use caracal_agent::cluster::blocks::Blocks;
use caracal_agent::cluster::{Cluster, secrets, services};
use caracal_agent::desired::grants::Grants;
use caracal_agent::desired::peers::Problem;
use caracal_agent::desired::restart::Comeback;
use caracal_agent::desired::speaker::settings;
use caracal_agent::node::{NodeAddress, NodeAddresses, NodeFacts};
use caracal_agent::peering::Peering;
use caracal_api::{BlockCidr, IpamBlock};
use caracal_apiserver::{Options, Server};
use caracal_bgp::config::Password;
use caracal_bgp::speaker::{Feed, Handle, Origination, RouteQuery, RouteStatus};
use caracal_bgp::wire::attribute::Community;
use caracal_bgp::{Asn, Config, LocalNextHops, PeerConfig, PeerKey, RouterId};
use caracal_ipam::{BlockState, Presence, Request, StoreError};
use caracal_linux::kernel::{Kernel, Settings};
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const BLOCK: &str = "10.244.1.0/26";

/// Runs a test on a thread in a new namespace, with a runtime whose threads are all born there.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: run it as root");
        ip("link set lo up");
        for address in [NODE, ROUTER] {
            ip(&format!("addr add {address}/24 dev lo"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

/// A speaker that is watched: the paths it uses, by their prefixes.
struct Watched {
    speaker: Handle,
    feed: Feed,
    used: BTreeMap<IpNetwork, ()>,
}

impl Watched {
    async fn new(speaker: Handle) -> Self {
        let feed = speaker.feed().await.unwrap();
        Watched { speaker, feed, used: BTreeMap::new() }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&BTreeMap<IpNetwork, ()>) -> bool) {
        let waiting = async {
            while !holds(&self.used) {
                for change in self.feed.pull(64).await.unwrap().changes {
                    match change.best {
                        Some(_) => self.used.insert(change.prefix, ()),
                        None => self.used.remove(&change.prefix),
                    };
                }
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("{what}: not in time; used are {:?}", self.used.keys());
        }
    }

    async fn until_used(&mut self, prefix: &str) {
        self.until(prefix, |used| used.contains_key(&network(prefix))).await;
    }

    async fn until_unused(&mut self, prefix: &str) {
        self.until(prefix, |used| !used.contains_key(&network(prefix))).await;
    }

    async fn route(&self, prefix: &str) -> Option<RouteStatus> {
        let query = RouteQuery { prefix: Some(network(prefix)), ..RouteQuery::default() };
        self.speaker.routes(query).await.unwrap().into_iter().next()
    }

    async fn originate(&self, prefix: &str, communities: Vec<Community>) {
        let announce = Origination::Announce { prefix: network(prefix), communities };
        self.speaker.originate(vec![announce]).await.unwrap();
    }
}

/// A router of AS 65001 that expects the node.
async fn router(next_hop: Option<Ipv4Addr>) -> Watched {
    Watched::new(Handle::start(router_config(next_hop, None)).unwrap()).await
}

fn router_config(next_hop: Option<Ipv4Addr>, password: Option<&str>) -> Config {
    let node = PeerConfig {
        local_address: Some(ROUTER.into()),
        // The node dials: no collision ends what has come up.
        passive: true,
        connect_retry: Duration::from_secs(1),
        local_next_hops: LocalNextHops { v4: next_hop, v6: None },
        password: password.map(|text| Password::try_from(text).unwrap()),
        multihop: Some(255),
        ..PeerConfig::new(SocketAddr::from((NODE, 179)), Asn(65001), Asn(64512))
    };
    Config {
        listen: vec![SocketAddr::from((ROUTER, 179))],
        peers: [(PeerKey::from(IpAddr::from(NODE)), node)].into(),
        ..Config::new(Asn(65001), RouterId::try_from(ROUTER).unwrap())
    }
}

fn facts() -> NodeFacts {
    let device = IfName::new("lo").unwrap();
    let address = NodeAddress { network: "192.0.2.1/24".parse().unwrap(), device };
    NodeFacts {
        name: "n1".to_owned(),
        uid: Some("u".to_owned()),
        addresses: NodeAddresses { v4: Some(address), v6: None },
        ..NodeFacts::default()
    }
}

struct Api1 {
    _server: Server,
    client: Client,
}

impl Api1 {
    async fn start() -> Self {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let server = Server::start(Options { crds: vec![crds], ..Options::default() }).await.unwrap();
        let client = Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
        Api1 { _server: server, client }
    }

    fn of(&self, kind: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk("caracal.dev", "v1", kind);
        // The plural of BGPFilter and the like is regular.
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&gvk))
    }

    async fn create(&self, kind: &str, name: &str, spec: Value) {
        let object =
            json!({"apiVersion": "caracal.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let object = serde_json::from_value(object).unwrap();
        self.of(kind).create(&PostParams::default(), &object).await.unwrap();
    }

    async fn set(&self, kind: &str, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.of(kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// The node's speaker, kept by the agent's own part.
struct Node {
    watched: Watched,
    problems: watch::Receiver<Arc<Vec<Problem>>>,
    _blocks: watch::Sender<Arc<Vec<Presence>>>,
    _grants: watch::Sender<Arc<Grants>>,
    _facts: watch::Sender<Arc<NodeFacts>>,
    _settings: watch::Sender<Arc<caracal_agent::desired::speaker::SpeakerSettings>>,
    _folder: tempfile::TempDir,
}

impl Node {
    async fn start(api: &Api1) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let speaker = Handle::start(Config::new(Asn(64512), RouterId::try_from(NODE).unwrap())).unwrap();
        let block = Presence {
            name: "b".to_owned(),
            cidr: network(BLOCK),
            uid: String::new(),
            pool: "p".to_owned(),
            state: BlockState::Owned,
            whole: true,
            single: Vec::new(),
            lent: Vec::new(),
        };
        let (blocks, own_blocks) = watch::channel(Arc::new(vec![block]));
        let (grants_told, grants) = watch::channel(Arc::default());
        let (facts_told, facts) = watch::channel(Arc::new(facts()));
        let (settings_told, settings) = watch::channel(Arc::new(settings("n1", &Default::default())));
        let (problems_told, problems) = watch::channel(Arc::default());
        let cluster = Cluster::start(&api.client, "n1", folder.path());
        let services =
            services::follow(api.client.clone(), cluster.bgp_configurations.clone(), facts.clone());
        let secrets = secrets::follow(secrets::Sources {
            client: api.client.clone(),
            namespace: "caracal-system".to_owned(),
            folder: folder.path().to_owned(),
            peers: cluster.bgp_peers.clone(),
            configurations: cluster.bgp_configurations.clone(),
        });
        let peering = Peering {
            speaker: speaker.clone(),
            cluster,
            facts,
            settings,
            blocks: own_blocks,
            services,
            grants,
            secrets,
            comeback: Comeback::FIRST,
            // No peer is on a link.
            links: watch::channel(Arc::default()).1,
            problems: problems_told,
            told: watch::Sender::default(),
        };
        tokio::spawn(peering.run());
        Node {
            watched: Watched::new(speaker).await,
            problems,
            _blocks: blocks,
            _grants: grants_told,
            _facts: facts_told,
            _settings: settings_told,
            _folder: folder,
        }
    }

    /// How often the session with the router came up or went down.
    async fn transitions(&self) -> u64 {
        let peers = self.watched.speaker.peers().await.unwrap();
        assert_eq!(peers.len(), 1, "the router alone");
        peers[0].transitions
    }
}

async fn meet(api: &Api1) {
    api.create("IPPool", "p", json!({"cidr": "10.244.0.0/16"})).await;
    api.create("BGPPeer", "router", json!({"peerIP": ROUTER.to_string(), "asNumber": 65001})).await;
}

#[test]
fn a_filter_changes_what_passes_and_the_session_stands() {
    in_namespace(async || {
        let api = Api1::start().await;
        meet(&api).await;
        let mut router = router(None).await;
        let mut node = Node::start(&api).await;
        for prefix in ["198.51.100.0/24", "203.0.113.0/24"] {
            router.originate(prefix, vec![Community::new(65001, 7)]).await;
        }
        router.until_used(BLOCK).await;
        node.watched.until_used("198.51.100.0/24").await;
        node.watched.until_used("203.0.113.0/24").await;
        let transitions = node.transitions().await;

        // A filter that there is not yet lets nothing pass, and says so.
        api.set("BGPPeer", "router", json!({"filters": ["narrow"]})).await;
        router.until_unused(BLOCK).await;
        node.watched.until_unused("203.0.113.0/24").await;
        node.problems.wait_for(|problems| !problems.is_empty()).await.unwrap();
        let told = node.problems.borrow().iter().map(ToString::to_string).collect::<String>();
        assert!(told.contains("narrow: there is no such BGPFilter"), "{told}");

        // It comes, and takes one of the routes from the router, with another priority; the block is announced marked.
        let narrow = json!({
            "importV4": [
                {"cidr": "203.0.113.0/24", "matchOperator": "Equal", "communities": {"values": ["65001:7"]},
                 "peerType": "eBGP", "asPathPrefix": [65001], "source": "RemotePeers",
                 "action": "Accept", "operations": [{"setPriority": {"value": 512}}]},
                {"action": "Reject"}
            ],
            "exportV4": [
                {"cidr": "10.244.0.0/16", "matchOperator": "In", "prefixLength": {"min": 26, "max": 26},
                 "action": "Accept", "operations": [
                    {"addCommunity": {"value": "64512:99"}}, {"prependASPath": {"prefix": [64512, 64512]}}]}
            ]
        });
        api.create("BGPFilter", "narrow", narrow).await;
        node.watched.until_used("203.0.113.0/24").await;
        router.until_used(BLOCK).await;
        assert_eq!(node.watched.route("203.0.113.0/24").await.unwrap().local_pref, Some(612));
        let refused = node.watched.route("198.51.100.0/24").await.unwrap();
        assert_eq!((refused.standing, refused.best), ("ImportPolicy", false));
        assert!(refused.why_not.unwrap().contains("narrow importV4[1]"));
        let marked = router.route(BLOCK).await.unwrap();
        assert_eq!(
            (marked.as_path.as_str(), marked.communities),
            ("64512 64512 64512", vec!["64512:99".to_owned()])
        );
        assert!(node.problems.borrow().is_empty());

        // It is edited: the other way round.
        api.set("BGPFilter", "narrow", json!({"importV4": [
            {"cidr": "203.0.113.0/24", "matchOperator": "In", "action": "Reject"}
        ], "exportV4": [{"cidr": "10.244.1.0/26", "matchOperator": "NotEqual", "action": "Accept"}, {"action": "Reject"}]}))
        .await;
        router.until_unused(BLOCK).await;
        node.watched.until_unused("203.0.113.0/24").await;
        node.watched.until_used("198.51.100.0/24").await;

        // And no longer asked for.
        api.set("BGPPeer", "router", json!({"filters": []})).await;
        api.of("BGPFilter").delete("narrow", &DeleteParams::default()).await.unwrap();
        router.until_used(BLOCK).await;
        node.watched.until_used("203.0.113.0/24").await;
        assert_eq!(router.route(BLOCK).await.unwrap().as_path, "64512");
        assert_eq!(node.transitions().await, transitions, "the session stood all the time");
    });
}

#[test]
fn no_block_is_created_where_a_neighbour_announces_an_address_unless_the_block_has_lent_it() {
    in_namespace(async || {
        let api = Api1::start().await;
        meet(&api).await;
        let mut node = Node::start(&api).await;
        let router = router(None).await;
        for prefix in ["10.244.7.5/32", "10.244.8.0/26"] {
            router.originate(prefix, Vec::new()).await;
            node.watched.until_used(prefix).await;
        }
        let blocks = Blocks::new(&api.client, "n1", Some(node.watched.speaker.clone()));
        let block = |cidr: &str, allocations: Value| -> Box<IpamBlock> {
            let name = cidr.parse::<BlockCidr>().unwrap().object_name();
            let spec = json!({"cidr": cidr, "owner": {"kind": "Node", "name": "n1"}, "pool": "p", "poolUID": "u",
                              "allocations": allocations});
            Box::new(IpamBlock::new(&name, serde_json::from_value(spec).unwrap()))
        };
        let create = async |block| blocks.perform(Request::Create(block)).await;
        for (cidr, what) in [("10.244.7.0/26", "one address"), ("10.244.8.0/26", "the whole of it")] {
            let refused = create(block(cidr, json!({}))).await;
            assert!(
                matches!(&refused, Err(StoreError::Announced(by)) if by.contains("192.0.2.2")),
                "{what}: {refused:?}"
            );
        }
        for (cidr, allocations, what) in [
            ("10.244.7.0/26", json!({"5": "w/7/net.c.eth0/ns/pod/n2/u2/j"}), "the neighbour borrowed it"),
            ("10.244.9.0/26", json!({}), "nobody announces anything of it"),
        ] {
            let created = create(block(cidr, allocations)).await;
            assert!(created.is_ok(), "{what}: {created:?}");
        }
    });
}

#[test]
fn a_route_is_used_when_the_host_can_reach_its_next_hop() {
    in_namespace(async || {
        let api = Api1::start().await;
        meet(&api).await;
        let router = router(Some(Ipv4Addr::new(198, 18, 0, 1))).await;
        let mut node = Node::start(&api).await;
        router.originate("198.51.100.0/24", vec![]).await;
        // Before anybody has told the speaker of routes it asks no questions.
        node.watched.until_used("198.51.100.0/24").await;

        let kernel = Kernel::start(Settings::default()).unwrap();
        let mut host = caracal_bgp_underlay::Host::new(&kernel, caracal_bgp_underlay::without_carrier);
        host.tell(&node.watched.speaker).await.unwrap();
        node.watched.until_unused("198.51.100.0/24").await;
        assert_eq!(node.watched.route("198.51.100.0/24").await.unwrap().standing, "NextHopUnreachable");

        tokio::spawn(host.follow(node.watched.speaker.clone()));
        ip("route add 198.18.0.0/24 dev lo metric 7");
        node.watched.until_used("198.51.100.0/24").await;
        ip("route add unreachable 198.18.0.0/24 metric 3");
        node.watched.until_unused("198.51.100.0/24").await;
        ip("route del unreachable 198.18.0.0/24 metric 3");
        node.watched.until_used("198.51.100.0/24").await;
        ip("route del 198.18.0.0/24 metric 7");
        node.watched.until_unused("198.51.100.0/24").await;
        // By whatever there is, a default route too.
        ip("route add default via 192.0.2.9 dev lo");
        node.watched.until_used("198.51.100.0/24").await;
    });
}

/// Makes the Secret of the sessions, or gives it another password.
async fn secret(api: &Api1, password: &str) {
    let secrets: Api<Secret> = Api::namespaced(api.client.clone(), "caracal-system");
    let data = [("router".to_owned(), ByteString(password.as_bytes().to_vec()))].into();
    let mut object = Secret { data: Some(data), ..Secret::default() };
    object.metadata.name = Some("bgp".to_owned());
    let params = PatchParams::apply("test").force();
    secrets.patch("bgp", &params, &Patch::Apply(object)).await.unwrap();
}

#[test]
fn a_password_comes_from_its_secret_is_changed_on_the_running_session_and_closes_it_when_it_is_gone() {
    in_namespace(async || {
        let api = Api1::start().await;
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(api.client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": "caracal-system"}})).unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        api.create("IPPool", "p", json!({"cidr": "10.244.0.0/16"})).await;
        let password = json!({"secretKeyRef": {"name": "bgp", "key": "router"}});
        let spec = json!({"peerIP": ROUTER.to_string(), "asNumber": 65001, "password": password});
        api.create("BGPPeer", "router", spec).await;
        let config = |password| router_config(None, Some(password));
        let mut router = Watched::new(Handle::start(config("first")).unwrap()).await;
        let mut node = Node::start(&api).await;

        // Without the Secret there is no session, and the words say what to do.
        let says = |words: &'static str| {
            move |problems: &Arc<Vec<Problem>>| problems.iter().any(|one| one.to_string().contains(words))
        };
        let missing = "Secret caracal-system/bgp, which does not exist: create it";
        tokio::time::timeout(PATIENCE, node.problems.wait_for(says(missing))).await.unwrap().unwrap();
        assert!(node.watched.speaker.peers().await.unwrap().is_empty());

        secret(&api, "first").await;
        router.until_used(BLOCK).await;
        let transitions = node.transitions().await;

        // Another one, at both ends: the session stands, and goes on telling.
        secret(&api, "second").await;
        router.speaker.configure(config("second")).await.unwrap();
        router.originate("198.51.100.0/24", vec![]).await;
        node.watched.until_used("198.51.100.0/24").await;
        assert_eq!(node.transitions().await, transitions);

        let secrets: Api<Secret> = Api::namespaced(api.client.clone(), "caracal-system");
        secrets.delete("bgp", &DeleteParams::default()).await.unwrap();
        router.until_unused(BLOCK).await;
        tokio::time::timeout(PATIENCE, node.problems.wait_for(says(missing))).await.unwrap().unwrap();
    });
}
