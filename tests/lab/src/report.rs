//! What the lab shows in the end, gathered from the real sources: the API, `caracalctl` on each node, the kernels.

use std::net::IpAddr;

use anyhow::Context;
use ipnetwork::IpNetwork;
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::lab::Lab;
use crate::node::Node;
use crate::probe::{self, Cell, Source, Target};
use crate::route::Route;
use crate::topology::{Design, Tunnel};

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
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address.
    pub key: String,
    /// Its AS number.
    #[serde(rename = "remoteAS")]
    pub remote_as: u32,
    /// The session's state.
    pub state: String,
    /// Routes that were let in.
    pub accepted: Accepted,
    /// What last went wrong.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// Routes by family.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Accepted {
    /// IPv4.
    pub ipv4: u64,
    /// IPv6.
    pub ipv6: u64,
}

#[derive(Deserialize)]
struct Peers {
    peers: Vec<Peer>,
}

impl Peer {
    /// Whether routes are exchanged.
    pub fn is_established(&self) -> bool {
        self.state == "Established"
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
    let found: Peers = serde_json::from_value(json).context("reading `caracalctl bgp peers -o json`")?;
    Ok(found.peers)
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
    match ways(lab, node, &block.owner, block.cidr.is_ipv6()) {
        Err(error) => Some(format!("{}: {error:#}", block.cidr)),
        Ok(ways) if ways.iter().any(|way| way.is_taken_by(route)) => None,
        Ok(ways) => {
            let ways: Vec<String> = ways.iter().map(Way::in_words).collect();
            let owner = &block.owner;
            Some(format!(
                "{}: {} does not lead to {owner}: expected {}",
                node.name(),
                route.words(),
                ways.join(" or ")
            ))
        }
    }
}

/// How packets may go from one node to another's block.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Through this gateway, which is on the node's own subnet.
    Plain(IpAddr),
    /// Inside this tunnel.
    Through(Tunnel),
}

impl Way {
    fn is_taken_by(&self, route: &Route) -> bool {
        let (gateway, device) = (route.gateway, route.dev.as_deref());
        route.kind == "unicast"
            && match self {
                Self::Plain(address) => gateway == Some(*address) && device == Some("eth0"),
                Self::Through(Tunnel::Ipip) => device == Some("tunl0"),
                Self::Through(Tunnel::Vxlan) => device.is_some_and(|name| name.starts_with("vxlan")),
            }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Plain(address) => format!("via {address} dev eth0"),
            Self::Through(Tunnel::Ipip) => "dev tunl0".into(),
            Self::Through(Tunnel::Vxlan) => "dev vxlan…".into(),
        }
    }
}

fn ways(lab: &Lab, from: &Node, to: &str, v6: bool) -> anyhow::Result<Vec<Way>> {
    let topology = lab.topology();
    let rack = |name: &str| topology.nodes.iter().find(|node| node.name == name).map(|node| node.rack);
    let (here, there) = (rack(from.name()), rack(to));
    let lacks = || format!("{to} has no IPv{} address", if v6 { 6 } else { 4 });
    let owner = Way::Plain(lab.node(to)?.machine().address(v6).with_context(lacks)?);
    let router =
        here.and_then(|rack| lab.routers().get(rack)).and_then(|router| router.machine().address(v6));
    Ok(match (topology.design, lab.tunnels().of(v6)) {
        // A router may name the owner itself as next hop to a node of the same rack, or itself.
        (Design::Tor, _) if here == there => [owner].into_iter().chain(router.map(Way::Plain)).collect(),
        (Design::Tor, _) => router.map(Way::Plain).into_iter().collect(),
        (_, Some(tunnel)) if here != there => vec![Way::Through(tunnel)],
        _ => vec![owner],
    })
}

/// The matrix of pings: every pod and every node to every pod, and the outside where it knows pods.
pub async fn ping_all(lab: &Lab) -> anyhow::Result<Vec<Cell>> {
    let mut sources = Vec::new();
    let mut targets = Vec::new();
    for node in lab.nodes() {
        sources.push(Source { label: node.name().to_owned(), netns: node.netns().clone() });
    }
    for pod in lab.pods() {
        sources.push(Source { label: pod.name().to_owned(), netns: pod.netns().clone() });
        for address in pod.addresses() {
            targets.push(Target { label: pod.name().to_owned(), address: *address });
        }
    }
    // Elsewhere nobody outside knows where pods are.
    if lab.topology().design == Design::Tor {
        let outside = lab.outside();
        sources.push(Source { label: outside.name().to_owned(), netns: outside.netns().clone() });
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
        let addresses = node.machine().addresses().iter().map(IpNetwork::ip).collect();
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

    fn peer(state: &str, error: Option<&str>) -> Peer {
        let json = json!({
            "key": "172.30.0.12", "name": "n2", "origin": "Mesh", "remoteAS": 64512, "state": state,
            "accepted": {"ipv4": 1, "ipv6": 2}, "lastError": error
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_established_peer_is_read() {
        let peer = peer("Established", None);
        assert!(peer.is_established());
        assert_eq!((peer.remote_as, peer.accepted.ipv4, peer.accepted.ipv6), (64512, 1, 2));
        assert_eq!(peer.in_short(), "n2 Established");
    }

    #[test]
    fn a_peer_that_is_down_tells_why() {
        let peer = peer("Active", Some("connection refused"));
        assert!(!peer.is_established());
        assert_eq!(peer.in_short(), "n2 Active (connection refused)");
    }
}
