//! A thousand nodes that claim their first block at the same moment, and a thousand pods on one node, against one API server.
//!
//! The allocators and the requests are the agent's own; watches are left out, since a thousand agents with ten each would
//! be a test of the lab's API server. What is counted is every request that reaches it. The figures are printed:
//! `cargo test --workspace --test scale -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use caracal_agent::cluster::blocks::Blocks;
use caracal_api::{BlockOwner, IpPool, IpamBlock, IpamConfigSpec, OwnerKind};
use caracal_apiserver::{Options, Server};
use caracal_ipam::{
    Action, Allocation, AskId, Attributes, Handle, Input, Ipam, JournalTrust, NodeView, Now, Pools, Recovery,
    Reply, Request, RequestId, Settings, StoreError, Want, WantFamilies,
};
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Mutex;

/// Nodes that claim at once.
const NODES: usize = 1000;
/// For all of them together.
const PATIENCE: Duration = Duration::from_secs(240);
/// Names in one page of a list, each of which is a request.
const PAGE: usize = 500;
/// Each test has the machine to itself: what is asked again since an answer took too long would be counted, too.
static ALONE: Mutex<()> = Mutex::const_new(());

fn now() -> Now {
    Now { monotonic: Instant::now(), wall: SystemTime::now() }
}

/// An API server with one pool of so many blocks.
async fn cluster(blocks: u32) -> (Server, Client, Arc<Pools>) {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    let server = Server::start(Options { crds: vec![crds], ..Options::default() }).await.unwrap();
    let client = Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
    let pools: Api<IpPool> = Api::all(client.clone());
    let cidr = format!("10.0.0.0/{}", 26 - blocks.ilog2());
    let pool = IpPool::new("pods", serde_json::from_value(json!({"cidr": cidr})).unwrap());
    let made = pools.create(&PostParams::default(), &pool).await.unwrap();
    let allocatable = json!({"type": "Allocatable", "status": "True", "reason": "OK", "message": "",
                             "lastTransitionTime": "2026-01-01T00:00:00Z",
                             "observedGeneration": made.metadata.generation});
    let status = Patch::Merge(json!({"status": {"conditions": [allocatable]}}));
    let judged = pools.patch_status("pods", &PatchParams::default(), &status).await.unwrap();
    let read = Pools::read(std::iter::once(&judged), IpamConfigSpec::default(), Vec::new());
    (server, client, Arc::new(read))
}

/// A request on its way, of which kind it is, and what comes of it.
type Flying = BoxFuture<'static, (RequestId, &'static str, Result<Reply, StoreError>)>;

/// How often each kind of request was sent, and how many had no answer.
type Counts = BTreeMap<&'static str, usize>;

fn kind(request: &Request) -> &'static str {
    match request {
        Request::Create(_) => "create",
        Request::Replace(_) => "replace",
        Request::Read(_) => "read",
        Request::Delete { .. } => "delete",
        Request::ListNames => "list",
        Request::ReadNode => "read the Node",
    }
}

/// One node's allocator, and what it asks of the API server.
struct Allocator {
    machine: Ipam,
    blocks: Blocks,
    out: Vec<Action>,
    flying: FuturesUnordered<Flying>,
    requests: usize,
    kinds: Counts,
    granted: Vec<Allocation>,
}

impl Allocator {
    /// Of a node that knows the pools and owns nothing.
    fn new(client: &Client, pools: Arc<Pools>, number: usize, claim_ahead: bool) -> Self {
        let (node, uid) = (format!("node-{number}"), format!("uid-{number}"));
        let owner = BlockOwner {
            kind: OwnerKind::Node,
            name: node.clone(),
            node_uid: uid.clone(),
            machine_id: format!("machine-{number}"),
            claim_token: format!("token-{number}"),
        };
        let recovery = Recovery {
            owner,
            blocks: Vec::new(),
            held: Vec::new(),
            trust: JournalTrust::Whole,
            rebooted: false,
            unseen_for: Duration::ZERO,
        };
        let seed = u64::try_from(number).unwrap();
        let settings = Settings { claim_ahead, patience: PATIENCE, seed, ..Settings::default() };
        let blocks = Blocks::new(client, &node, None);
        let (machine, flying) = (Ipam::recover(now(), settings, recovery), FuturesUnordered::new());
        let mut own = Self {
            machine,
            blocks,
            out: Vec::new(),
            flying,
            requests: 0,
            kinds: Counts::new(),
            granted: Vec::new(),
        };
        own.on(Input::Pools(pools));
        own.on(Input::Node(Some(NodeView { uid, ..NodeView::default() })));
        own
    }

    fn on(&mut self, input: Input) {
        self.machine.on(now(), input, &mut self.out);
    }

    fn ask(&mut self, number: u64) {
        let want = Want {
            handle: Handle::attachment("caracal", &format!("c{number}"), "eth0"),
            families: WantFamilies::V4,
            requested: Vec::new(),
            pools: None,
            attributes: Attributes::default(),
        };
        self.on(Input::Allocate(AskId(number), want));
    }

    /// Carries out what is wanted.
    fn act(&mut self) {
        for action in std::mem::take(&mut self.out) {
            match action {
                Action::Granted(_, allocations) => self.granted.extend(allocations),
                Action::Refused(_, refusal) => panic!("{refusal}"),
                Action::Lost(lost) => panic!("{lost}"),
                Action::Ask(id, request) | Action::KeepAndAsk(_, id, request) => {
                    let (blocks, kind) = (self.blocks.clone(), kind(&request));
                    self.flying.push(Box::pin(async move { (id, kind, blocks.perform(request).await) }));
                }
            }
        }
    }

    /// Waits for one thing to happen, and carries out what is wanted then.
    async fn step(&mut self) {
        self.act();
        let wake = self.machine.deadline().unwrap_or_else(|| Instant::now() + PATIENCE);
        tokio::select! {
            Some((id, kind, result)) = self.flying.next() => {
                let cost = match &result {
                    Ok(Reply::Names(names)) => names.len().div_ceil(PAGE).max(1),
                    Ok(_) | Err(_) => 1,
                };
                self.requests += cost;
                *self.kinds.entry(kind).or_default() += cost;
                if matches!(result, Err(StoreError::Unreachable(_))) {
                    *self.kinds.entry("without an answer").or_default() += 1;
                }
                self.on(Input::Replied(id, result));
            }
            () = tokio::time::sleep_until(wake.into()) => self.on(Input::Tick),
        }
        self.act();
    }

    /// Whether everything that was given stands in its block's object.
    fn is_published(&self) -> bool {
        self.flying.is_empty() && self.machine.report(now()).blocks.iter().all(|block| !block.unpublished)
    }
}

/// Has one node ask for its first address; gives that, and the requests it took.
async fn first_address(client: Client, pools: Arc<Pools>, number: usize) -> (Vec<Allocation>, usize) {
    let mut node = Allocator::new(&client, pools, number, false);
    node.ask(1);
    while node.granted.is_empty() {
        node.step().await;
    }
    (node.granted, node.requests)
}

/// All nodes at once in a pool of so many blocks; the mean number of requests.
async fn claim_all(blocks: u32) -> f64 {
    let _alone = ALONE.lock().await;
    let (server, client, pools) = cluster(blocks).await;
    let begin = Instant::now();
    let asks = (0..NODES).map(|number| tokio::spawn(first_address(client.clone(), pools.clone(), number)));
    let answers = tokio::time::timeout(PATIENCE, join_all(asks)).await.expect("all nodes claim in time");
    let took = begin.elapsed();
    let (mut addresses, mut requests, mut most) = (BTreeSet::new(), 0, 0);
    for answer in answers {
        let (granted, needed) = answer.unwrap();
        assert!(addresses.insert(granted[0].address), "{} was given twice", granted[0].address);
        requests += needed;
        most = most.max(needed);
    }
    let claimed = Api::<IpamBlock>::all(client).list(&ListParams::default()).await.unwrap().items;
    let owners: BTreeSet<&str> = claimed.iter().map(|block| block.spec.owner.name.as_str()).collect();
    assert_eq!((claimed.len(), owners.len()), (NODES, NODES), "one block a node, and none is lost");
    server.stop().await;
    let mean = requests as f64 / NODES as f64;
    let fill = NODES as f64 * 100.0 / f64::from(blocks);
    println!(
        "{NODES} nodes, {blocks} blocks ({fill:.0} % in the end): {mean:.2} requests a claim, at most {most}, {took:.1?}"
    );
    mean
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pods_on_one_node_cost_fewer_than_fifty_requests() {
    let _alone = ALONE.lock().await;
    let (server, client, pools) = cluster(256).await;
    let mut node = Allocator::new(&client, pools, 0, true);
    for number in 1..=1000 {
        node.ask(number);
    }
    let begin = Instant::now();
    while node.granted.len() < 1000 {
        node.step().await;
    }
    let given = begin.elapsed();
    let addresses: BTreeSet<_> = node.granted.iter().map(|granted| granted.address).collect();
    assert_eq!(addresses.len(), 1000);
    // Until the objects show them all.
    tokio::time::timeout(PATIENCE, async {
        while !node.is_published() {
            node.step().await;
        }
    })
    .await
    .expect("allocations are published in time");
    let blocks = Api::<IpamBlock>::all(client).list(&ListParams::default()).await.unwrap().items;
    let shown: usize = blocks.iter().map(|block| block.spec.allocations.len()).sum();
    assert_eq!(shown, 1000);
    let requests = node.requests;
    println!(
        "1000 pods on one node: {requests} requests for {} blocks, given within {given:.1?}: {:?}",
        blocks.len(),
        node.kinds
    );
    assert!(requests < 50, "{requests} requests: {:?}", node.kinds);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_nodes_fill_half_a_pool_with_three_requests_each() {
    let mean = claim_all(2048).await;
    assert!(mean <= 3.0, "{mean} requests a claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_nodes_nearly_fill_a_pool_with_eight_requests_each() {
    let mean = claim_all(1024).await;
    assert!(mean <= 8.0, "{mean} requests a claim");
}
