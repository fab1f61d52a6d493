//! What the lab shows in the end, gathered from the real sources: the API, `caracalctl` on each node, the kernels.

use std::net::IpAddr;

use anyhow::Context;
use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::lab::Lab;
use crate::node::Node;
use crate::probe::{self, Cell, Source, Target};
use crate::route::Route;

/// Everything worth a table.
#[derive(Debug, Clone)]
pub struct Report {
    /// Nodes with addresses and pods.
    pub nodes: Vec<NodeLine>,
    /// Peers by node.
    pub peers: Vec<(String, Peer)>,
    /// Blocks.
    pub blocks: Vec<Block>,
    /// Routes of the product by node.
    pub routes: Vec<(String, Route)>,
    /// The pings.
    pub matrix: Vec<Cell>,
}

/// A node, or a pod below its node.
#[derive(Debug, Clone)]
pub struct NodeLine {
    /// Node name.
    pub node: String,
    /// Pod name, for a pod.
    pub pod: Option<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// A BGP peer as `caracalctl bgp peers -o json` tells it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its AS number.
    pub remote_as: String,
    /// The session's state.
    pub state: String,
    /// Accepted routes, by family.
    pub accepted: String,
    /// What last went wrong.
    pub last_error: Option<String>,
}

impl Peer {
    /// Whether routes are exchanged.
    pub fn is_established(&self) -> bool {
        self.state.eq_ignore_ascii_case("established")
    }

    /// One clause for messages.
    pub fn in_short(&self) -> String {
        match &self.last_error {
            Some(error) => format!("{} {} ({error})", self.name, self.state),
            None => format!("{} {}", self.name, self.state),
        }
    }
}

/// A block as the API has it.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its range.
    pub cidr: IpNetwork,
    /// The node that owns it.
    pub owner: String,
    /// The pool it was cut from.
    pub pool: String,
}

/// The peers of one node.
pub async fn peers(node: &Node) -> anyhow::Result<Vec<Peer>> {
    let json = node.ctl(&["bgp", "peers"]).await?;
    let list = json.get("peers").unwrap_or(&json).as_array();
    let list = list.with_context(|| format!("`caracalctl bgp peers -o json` gave no list: {json}"))?;
    Ok(list.iter().map(read_peer).collect())
}

fn read_peer(json: &Value) -> Peer {
    let text = |field: &str| match json.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let counts = json.get("counts").and_then(Value::as_array).cloned().unwrap_or_default();
    let accepted: Vec<String> = counts
        .iter()
        .map(|one| {
            one.get("accepted").map_or_else(|| "?".into(), |n| n.as_str().map_or(n.to_string(), Into::into))
        })
        .collect();
    Peer {
        name: text("name"),
        address: text("key"),
        remote_as: text("remoteAs"),
        state: text("state"),
        accepted: accepted.join(" + "),
        last_error: Some(text("lastError")).filter(|error| !error.is_empty()),
    }
}

/// The blocks, sorted.
pub async fn blocks(cluster: &Cluster) -> anyhow::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for block in cluster.blocks().await? {
        let spec = block.spec;
        let cidr = spec.cidr.parse().with_context(|| format!("`{}` is no block", spec.cidr))?;
        blocks.push(Block { cidr, owner: spec.owner.name, pool: spec.pool });
    }
    blocks.sort_by_key(|block| block.cidr);
    Ok(blocks)
}

/// Why `node` cannot reach `block` as it should, in words; nothing when it can.
pub fn lack_of_route(lab: &Lab, node: &Node, block: &Block, routes: &[Route]) -> Option<String> {
    let found = routes.iter().find(|route| route.destination() == Some(block.cidr));
    let Some(route) = found else {
        return Some(format!("{} has no route to {} of {}", node.name(), block.cidr, block.owner));
    };
    if block.owner == node.name() {
        return (route.kind != "blackhole")
            .then(|| format!("{}: {} is not a blackhole", node.name(), route.words()));
    }
    let owner = match lab.node(&block.owner) {
        Ok(owner) => owner,
        Err(error) => return Some(format!("{}: {error}", block.cidr)),
    };
    let via = owner.machine().addresses().iter().any(|address| Some(address.ip()) == route.gateway);
    (!via).then(|| format!("{}: {} does not go through {}", node.name(), route.words(), block.owner))
}

/// The matrix of pings: every pod and every node to every pod.
pub async fn ping_all(lab: &Lab) -> anyhow::Result<Vec<Cell>> {
    let mut sources = Vec::new();
    let mut targets = Vec::new();
    for node in lab.nodes() {
        sources.push(Source { label: node.name().to_owned(), netns: node.netns().clone() });
    }
    for pod in lab.pods() {
        sources.push(Source { label: pod.name().to_owned(), netns: pod.netns().clone() });
        for v6 in [false, true] {
            targets.push(Target { label: pod.name().to_owned(), address: pod.address(v6)? });
        }
    }
    Ok(probe::matrix(&sources, &targets).await)
}

/// Gathers everything but the matrix, which is pinged before.
pub async fn gather(lab: &Lab, matrix: Vec<Cell>) -> anyhow::Result<Report> {
    let mut report =
        Report { nodes: Vec::new(), peers: Vec::new(), blocks: Vec::new(), routes: Vec::new(), matrix };
    report.blocks = blocks(lab.cluster()).await?;
    for node in lab.nodes() {
        let name = node.name().to_owned();
        let addresses = node.machine().addresses().map(|address| address.ip()).to_vec();
        report.nodes.push(NodeLine { node: name.clone(), pod: None, addresses });
        for pod in lab.pods().iter().filter(|pod| pod.node() == name) {
            let addresses = pod.addresses().to_vec();
            report.nodes.push(NodeLine { node: name.clone(), pod: Some(pod.name().to_owned()), addresses });
        }
        report.peers.extend(peers(node).await?.into_iter().map(|peer| (name.clone(), peer)));
        let routes = node.netns().routes().await?;
        let ours = routes.into_iter().filter(|route| route.protocol.as_deref() == Some("67"));
        report.routes.extend(ours.map(|route| (name.clone(), route)));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_peer_is_read() {
        let peer = read_peer(&json!({
            "key": "172.30.0.12", "name": "n2", "remoteAs": 64512, "state": "Established",
            "counts": [{"family": "ipv4", "accepted": "1"}, {"family": "ipv6", "accepted": 2}]
        }));
        assert!(peer.is_established());
        assert_eq!((peer.remote_as.as_str(), peer.accepted.as_str()), ("64512", "1 + 2"));
        assert_eq!(peer.in_short(), "n2 Established");
    }

    #[test]
    fn a_peer_that_is_down_tells_why() {
        let peer = read_peer(&json!({"name": "n2", "state": "Active", "lastError": "connection refused"}));
        assert!(!peer.is_established());
        assert_eq!(peer.in_short(), "n2 Active (connection refused)");
    }
}
