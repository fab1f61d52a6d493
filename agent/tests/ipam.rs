//! The allocators of two nodes against an API server: who owns which block, and what goes on without it.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use caracal_agent::attachments::{Address, Attachment, AttachmentKey, Extras, Journal, Phase};
use caracal_agent::cluster::Cluster;
use caracal_agent::cluster::events::Events;
use caracal_agent::ipam::{Ipam, Start};
use caracal_api::IpamBlock;
use caracal_apiserver::{Fault, Loss, Options, Server};
use caracal_ipam::{Allocation, Attributes, BlockState, Refusal, Settings, Want, WantFamilies};
use caracal_wait::until;
use futures::future::join_all;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// An API server with two Nodes and two pools, and a folder for the nodes' disks.
struct Lab {
    folder: tempfile::TempDir,
    server: Server,
    client: Client,
}

/// One node's allocator and journal.
struct Agent {
    ipam: Ipam,
    journal: Journal,
}

impl Lab {
    async fn new(pools: &[(&str, &str, u8)]) -> Self {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let server = Server::start(Options { crds: vec![crds], ..Options::default() }).await.unwrap();
        let client = Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
        let lab = Self { folder: tempfile::tempdir().unwrap(), server, client };
        for name in ["n1", "n2"] {
            lab.create("", "Node", json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
                .await;
        }
        for (name, cidr, size) in pools {
            let made = lab
                .create(
                    "caracal.dev",
                    "IPPool",
                    json!({"apiVersion": "caracal.dev/v1", "kind": "IPPool", "metadata": {"name": name},
                           "spec": {"cidr": cidr, "blockSize": size}}),
                )
                .await;
            // What the controller says once it has seen no overlap.
            let allocatable = json!({"type": "Allocatable", "status": "True", "reason": "NoOverlap", "message": "",
                                     "lastTransitionTime": "2026-01-01T00:00:00Z",
                                     "observedGeneration": made.metadata.generation});
            let status = json!({"status": {"conditions": [allocatable]}});
            let api = lab.api("caracal.dev", "IPPool");
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        }
        lab
    }

    fn api(&self, group: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        Api::all_with(self.client.clone(), &resource)
    }

    async fn create(&self, group: &str, kind: &str, object: Value) -> DynamicObject {
        let object = serde_json::from_value(object).unwrap();
        self.api(group, kind).create(&PostParams::default(), &object).await.unwrap()
    }

    async fn blocks(&self) -> Vec<IpamBlock> {
        Api::<IpamBlock>::all(self.client.clone()).list(&ListParams::default()).await.unwrap().items
    }

    fn journal(&self, node: &str) -> PathBuf {
        self.folder.path().join(node).join("journal.redb")
    }

    async fn agent(&self, node: &str) -> Agent {
        let (journal, recovered) = Journal::open(&self.journal(node)).unwrap();
        let cluster = Cluster::start(&self.client, node, &self.folder.path().join(node).join("snapshot"));
        let settings = Settings {
            publish_after: Duration::from_millis(200),
            patience: Duration::from_secs(20),
            verify_every: Duration::from_secs(2),
            ..Settings::default()
        };
        let start = Start {
            node: node.into(),
            client: self.client.clone(),
            cluster,
            journal: journal.clone(),
            speaker: None,
            recovered: &recovered,
            events: Some(Events::start(self.client.clone(), "test", node)),
        };
        Agent { ipam: Ipam::start_with(start, settings), journal }
    }
}

impl Agent {
    /// Waits until the node owns a block of each family.
    async fn ready(&self) {
        let mut blocks = self.ipam.own_blocks();
        let both = |known: &std::sync::Arc<Vec<caracal_ipam::Presence>>| {
            let owned =
                |v4: bool| known.iter().any(|b| b.state == BlockState::Owned && b.cidr.is_ipv4() == v4);
            owned(true) && owned(false)
        };
        let waited = tokio::time::timeout(PATIENCE, blocks.wait_for(both)).await;
        drop(waited.expect("the node claims its blocks in time").unwrap());
    }

    /// What an ADD does: addresses, then the journal.
    async fn add(&self, container: &str) -> Vec<Allocation> {
        let key =
            AttachmentKey { network: "net".into(), container: container.into(), interface: "eth0".into() };
        let attributes =
            Attributes { namespace: "default".into(), pod: container.into(), ..Attributes::default() };
        let want = Want {
            handle: key.handle(),
            families: WantFamilies::DUAL,
            requested: Vec::new(),
            pools: None,
            attributes: attributes.clone(),
        };
        let granted = self.ipam.allocate(want).await.unwrap();
        let attachment = Attachment {
            key,
            pod: None,
            netns: PathBuf::new(),
            host: "cali1".into(),
            addresses: granted.iter().cloned().map(Address::Own).collect(),
            attributes,
            phase: Phase::Ready,
            mtu: 1450,
            mac: None,
            extras: Extras::default(),
        };
        self.journal.put(attachment).await.unwrap();
        granted
    }

    /// Waits until the node owns a block of one family.
    async fn ready_in(&self, v4: bool) {
        let mut blocks = self.ipam.own_blocks();
        let owned = blocks
            .wait_for(|known| known.iter().any(|b| b.state == BlockState::Owned && b.cidr.is_ipv4() == v4));
        drop(
            tokio::time::timeout(PATIENCE, owned).await.expect("the node claims its block in time").unwrap(),
        );
    }

    /// Asks for an IPv4 address.
    async fn ask(&self, container: &str) -> Result<Vec<Allocation>, Refusal> {
        let key =
            AttachmentKey { network: "net".into(), container: container.into(), interface: "eth0".into() };
        let want = Want {
            handle: key.handle(),
            families: WantFamilies::V4,
            requested: Vec::new(),
            pools: None,
            attributes: Attributes {
                namespace: "default".into(),
                pod: "pod".into(),
                ..Attributes::default()
            },
        };
        self.ipam.allocate(want).await
    }

    async fn add_v4(&self, container: &str) -> Vec<Allocation> {
        self.ask(container).await.unwrap()
    }

    async fn stop(self) {
        drop(self.ipam);
        self.journal.close().await;
    }
}

const POOLS: [(&str, &str, u8); 2] = [("v4", "10.244.0.0/24", 28), ("v6", "fd00:244::/120", 124)];

fn addresses(granted: &[Vec<Allocation>]) -> BTreeSet<IpAddr> {
    granted.iter().flatten().map(|a| a.address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_claim_blocks_of_their_own_and_publish_what_they_gave() {
    let lab = Lab::new(&POOLS).await;
    let (one, two) = (lab.agent("n1").await, lab.agent("n2").await);
    one.ready().await;
    two.ready().await;
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let (first, second) = tokio::join!(
        join_all(names.iter().map(|name| one.add(name))),
        join_all(names.iter().map(|name| two.add(name))),
    );
    let all: Vec<Vec<Allocation>> = first.into_iter().chain(second).collect();
    assert_eq!(addresses(&all).len(), 80, "no address twice");
    until("every allocation is published", PATIENCE, async || {
        lab.blocks().await.iter().map(|b| b.spec.allocations.len()).sum::<usize>() == 80
    })
    .await;
    for block in lab.blocks().await {
        let owners: BTreeSet<&str> = all[..20].iter().flatten().map(|a| a.block.as_str()).collect();
        let of_first = owners.contains(block.metadata.name.as_deref().unwrap());
        if !block.spec.allocations.is_empty() {
            assert_eq!(block.spec.owner.name == "n1", of_first);
        }
        assert!(!block.spec.owner.node_uid.is_empty() && !block.spec.owner.claim_token.is_empty());
    }
    one.stop().await;
    two.stop().await;
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_server_grants_go_on_even_through_a_restart() {
    let lab = Lab::new(&POOLS).await;
    let agent = lab.agent("n1").await;
    agent.ready().await;
    let mut granted = vec![agent.add("before").await];
    // What a restart needs without the API server: the pools as they were last.
    let snapshot = lab.folder.path().join("n1/snapshot/ippools.json");
    until("the pools are saved", PATIENCE, async || snapshot.exists()).await;
    lab.server.faults.down().await;
    granted.push(agent.add("down").await);
    agent.stop().await;

    let agent = lab.agent("n1").await;
    let again = agent.add("before").await;
    assert_eq!(again, granted[0], "what the journal kept is still held");
    for n in 0..6 {
        granted.push(agent.add(&format!("restarted{n}")).await);
    }
    assert_eq!(addresses(&granted).len(), 16, "no address twice");
    lab.server.faults.up().await;
    until("what was given meanwhile is published", PATIENCE, async || {
        lab.blocks().await.iter().map(|b| b.spec.allocations.len()).sum::<usize>() == 16
    })
    .await;
    agent.stop().await;
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_known_as_our_own() {
    let lab = Lab::new(&[POOLS[0]]).await;
    lab.server.faults.add(Fault {
        path_prefix: "/apis/caracal.dev/v1/ipamblocks".into(),
        methods: vec!["POST".into()],
        times: Some(1),
        lose: Some(Loss::Reply),
        ..Fault::default()
    });
    let agent = lab.agent("n1").await;
    let mut blocks = agent.ipam.own_blocks();
    let owned = blocks.wait_for(|known| known.iter().any(|b| b.state == BlockState::Owned));
    drop(tokio::time::timeout(PATIENCE, owned).await.expect("the claim ends in time").unwrap());
    assert_eq!(
        lab.blocks().await.len(),
        1,
        "one block was claimed, not a second one beside a forgotten first"
    );
    agent.stop().await;
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn released_addresses_leave_the_block_and_rest_before_they_come_back() {
    let lab = Lab::new(&POOLS).await;
    let agent = lab.agent("n1").await;
    agent.ready().await;
    let granted = agent.add("a").await;
    let key = AttachmentKey { network: "net".into(), container: "a".into(), interface: "eth0".into() };
    agent.journal.remove(&key).await.unwrap();
    agent.ipam.release(key.handle(), granted.clone()).await;
    for n in 0..15 {
        let next = agent.add(&format!("b{n}")).await;
        assert!(next.iter().all(|a| granted.iter().all(|g| g.address != a.address)), "it still rests");
    }
    let report = agent.ipam.show().await;
    assert!(report.blocks.iter().any(|b| b.cooling == 1), "{report:?}");
    agent.stop().await;
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_affinity_is_not_strict_a_node_without_blocks_to_claim_borrows_and_gives_back() {
    // One block: whoever is second owns nothing.
    let lab = Lab::new(&[("v4", "10.244.0.0/29", 29)]).await;
    let owner = lab.agent("n1").await;
    owner.ready_in(true).await;
    let borrower = lab.agent("n2").await;
    let refused = borrower.ask("before").await.unwrap_err();
    assert_eq!(refused.code(), "PoolsClosed", "{refused}");

    let config = json!({"apiVersion": "caracal.dev/v1", "kind": "IPAMConfig", "metadata": {"name": "default"},
                        "spec": {"strictAffinity": false}});
    lab.create("caracal.dev", "IPAMConfig", config).await;
    until("the owner shares its block", PATIENCE, async || {
        lab.blocks().await.iter().all(|block| block.spec.lends)
    })
    .await;
    let mut granted = vec![owner.add_v4("own").await];
    until(
        "the other node may borrow",
        PATIENCE,
        async || matches!(borrower.ask("first").await, Ok(ref addresses) if !addresses.is_empty()),
    )
    .await;
    granted.push(borrower.ask("first").await.unwrap());
    granted.push(borrower.ask("second").await.unwrap());
    granted.push(owner.add_v4("own2").await);
    assert_eq!(addresses(&granted).len(), 4, "no address twice");
    let blocks = lab.blocks().await;
    let shown: Vec<&String> = blocks[0].spec.allocations.values().collect();
    let lent = shown.iter().filter(|record| record.starts_with("w/") && record.contains("/n2/")).count();
    assert_eq!(lent, 2, "a loan is shown before it is given: {shown:?}");
    owner.ipam.publish().await;
    until("the owner's own are shown, too", PATIENCE, async || {
        lab.blocks().await[0].spec.allocations.len() == 4
    })
    .await;

    let presence = borrower.ipam.own_blocks().borrow().first().cloned().unwrap();
    assert_eq!(presence.state, BlockState::Borrowed);
    assert!(!presence.whole, "only the single addresses are announced");
    assert_eq!(presence.single.len(), 2);
    let lent = || owner.ipam.own_blocks().borrow().first().map_or(0, |block| block.lent.len());
    until("the owner knows what it lent", PATIENCE, async || lent() == 2).await;

    let handle = |container: &str| {
        AttachmentKey { network: "net".into(), container: container.into(), interface: "eth0".into() }
            .handle()
    };
    borrower.ipam.release(handle("first"), granted[1].clone()).await;
    borrower.ipam.release(handle("second"), granted[2].clone()).await;
    until("the owner has them back", PATIENCE, async || lent() == 0).await;
    borrower.stop().await;
    owner.stop().await;
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_told_by_an_event_that_its_address_has_become_anothers() {
    let lab = Lab::new(&[("v4", "10.244.0.0/29", 29)]).await;
    let config = json!({"apiVersion": "caracal.dev/v1", "kind": "IPAMConfig", "metadata": {"name": "default"},
                        "spec": {"strictAffinity": false}});
    lab.create("caracal.dev", "IPAMConfig", config).await;
    let owner = lab.agent("n1").await;
    owner.ready_in(true).await;
    let borrower = lab.agent("n2").await;
    until("the other node may borrow", PATIENCE, async || borrower.ask("lost").await.is_ok()).await;
    let lost = borrower.ask("lost").await.unwrap()[0].clone();
    // As an owner without its journal would have it, after a third one was quicker to ask than this borrower.
    owner.stop().await;
    let api = Api::<IpamBlock>::all(lab.client.clone());
    until("the record is another's", PATIENCE, async || {
        let mut block = api.get(&lost.block).await.unwrap();
        let ours = |(_, record): &(&String, &String)| record.contains("/n2/");
        let ordinal = block.spec.allocations.iter().find(ours).map(|(ordinal, _)| ordinal.clone());
        let theirs = "w/9/net.other.eth0/default/web/n9/u9/j".to_owned();
        block.spec.allocations.insert(ordinal.unwrap(), theirs);
        block.spec.revision += 1_000_000_000;
        api.replace(&lost.block, &PostParams::default(), &block).await.is_ok()
    })
    .await;
    let told = async || {
        let all = lab.api("", "Event").list(&ListParams::default()).await.unwrap().items;
        all.into_iter().find(|event| event.data["reason"] == "AddressLost")
    };
    until("an Event tells it", caracal_wait::PATIENCE, async || told().await.is_some()).await;
    let event = told().await.unwrap();
    assert_eq!(event.data["involvedObject"]["name"], "pod");
    let words = event.data["message"].as_str().unwrap();
    let address = lost.address.to_string();
    let named = [address.as_str(), lost.block.as_str(), "default/web", "on node n9", "Delete the pod"];
    assert!(named.iter().all(|word| words.contains(word)), "{words}");
    borrower.stop().await;
    lab.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_addresses_are_not_given_and_a_full_pool_falls_through_to_the_next() {
    let lab = Lab::new(&[("a", "10.244.0.0/30", 30), ("b", "10.245.0.0/30", 30)]).await;
    let reservation = json!({"apiVersion": "caracal.dev/v1", "kind": "IPReservation", "metadata": {"name": "r"},
                             "spec": {"reservedCIDRs": ["10.244.0.0/31", "10.245.0.3"]}});
    lab.create("caracal.dev", "IPReservation", reservation).await;
    let agent = lab.agent("n1").await;
    agent.ready_in(true).await;
    let mut given = BTreeSet::new();
    for n in 0..5 {
        given.insert(agent.add_v4(&format!("c{n}")).await[0].address.to_string());
    }
    let all = ["10.244.0.2", "10.244.0.3", "10.245.0.0", "10.245.0.1", "10.245.0.2"];
    assert_eq!(given, all.map(str::to_owned).into());
    let refused = agent.ask("one too many").await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("n1") && text.contains("pool a") && text.contains("pool b"), "{text}");
    agent.stop().await;
    lab.server.stop().await;
}
