//! Freeing what removed nodes left behind: the shell of [`Collector`], which decides.
//!
//! Every few seconds all blocks are looked at. Owners (and borrowers) that no listed Node has are asked for one by one,
//! at the API server itself. What the collector then finds due is carried out one attempt at a time, each with the UID
//! and the version that were seen as preconditions: whatever another leader did meanwhile makes the attempt fail, and
//! nothing else. Nothing is kept: a leader that is killed half way leaves the rest to the next one, which waits anew.

use std::time::{Duration, Instant};

use caracal_api::IpamBlock;
use caracal_ipam::{Collector, NodeId, Request};
use k8s_openapi::api::core::v1::Node;
use kube::{Client, ResourceExt};
use tracing::{info, warn};

use crate::cluster::blocks::Blocks;
use crate::cluster::{Snapshot, SnapshotReceiver};

/// How often the blocks are looked at, at most: more seldom than this and an answer about a Node would be too old.
const LOOK: Duration = Duration::from_secs(10);

/// Frees blocks of removed nodes after `quarantine`. Runs until cancelled.
pub async fn keep(
    client: Client,
    blocks: SnapshotReceiver<IpamBlock>,
    nodes: SnapshotReceiver<Node>,
    quarantine: Duration,
) {
    let api = Blocks::new(&client, "", None);
    let mut collector = Collector::new(quarantine);
    let mut told: Vec<NodeId> = Vec::new();
    let mut ticks = tokio::time::interval(LOOK.min(quarantine / 4).max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (now_blocks, now_nodes) = (blocks.borrow().clone(), nodes.borrow().clone());
        if !now_blocks.synced || !now_nodes.synced {
            continue;
        }
        for node in collector.look(now_blocks.values().map(AsRef::as_ref), |node| lists(&now_nodes, node)) {
            let found = api.node_uid(&node.name).await;
            collector.answered(Instant::now(), &node, found);
        }
        tell(&collector, &mut told, quarantine);
        for (node, request) in collector.due(Instant::now(), now_blocks.values().map(AsRef::as_ref)) {
            carry_out(&api, &node, request).await;
        }
    }
}

/// Whether the list of Nodes has this very Node.
fn lists(nodes: &Snapshot<Node>, node: &NodeId) -> bool {
    nodes.get(&node.name).is_some_and(|found| found.uid().as_deref() == Some(node.uid.as_str()))
}

/// Says once of each Node that is certainly gone what becomes of its blocks.
fn tell(collector: &Collector, told: &mut Vec<NodeId>, quarantine: Duration) {
    let gone: Vec<NodeId> =
        collector.departed().into_iter().filter(|d| d.due.is_some()).map(|d| d.node).collect();
    for node in gone.iter().filter(|node| !told.contains(node)) {
        info!(
            node = node.name,
            uid = node.uid,
            seconds = quarantine.as_secs(),
            "the Node is gone: its blocks are freed unless it comes back within the quarantine"
        );
    }
    *told = gone;
}

async fn carry_out(api: &Blocks, node: &NodeId, request: Request) {
    let (block, what) = match &request {
        Request::Delete { name, .. } => (name.clone(), "freed a block of a removed node"),
        Request::Replace(block) => (block.name_any(), "took back what a removed node had borrowed"),
        Request::Create(_) | Request::Read(_) | Request::ListNames | Request::ReadNode => return,
    };
    match api.perform(request).await {
        Ok(_) => info!(block, node = node.name, uid = node.uid, "{what}"),
        Err(error) => warn!(block, node = node.name, %error, "a removed node's addresses are not free yet"),
    }
}
