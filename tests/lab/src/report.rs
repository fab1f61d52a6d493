//! What the lab shows in the end, gathered from the real sources: the API, `caracalctl` on each node, the kernels.

mod figures;
mod ways;

use std::net::IpAddr;

use anyhow::Context;
use futures::future::try_join_all;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::lab::Lab;
use crate::node::Node;
use crate::probe::{self, Cell, Source, Target};
use crate::route::Route;
use crate::witness::{self, Sight};

pub use figures::{Figures, Spread, of as figures};
pub use ways::lack_of_route;

/// Everything worth a table.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nodes with addresses and pods.
    pub nodes: Vec<NodeLine>,
    /// Peers by node.
    pub peers: Vec<(String, Peer)>,
    /// Blocks.
    pub blocks: Vec<Block>,
    /// Routes of the product by node.
    pub routes: Vec<(String, Route)>,
    /// What routers' daemons have put into their kernels.
    pub router_routes: Vec<(String, Route)>,
    /// The pings.
    pub pings: Vec<Cell>,
    /// What the outside host sees of pods.
    pub outside: Vec<Sight>,
    /// Which node and rack each source and target of a ping belongs to.
    pub places: Vec<Place>,
    /// Times and sizes.
    pub figures: Figures,
}

/// Where something that pings or is pinged stands.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its node; its own name, if it is on none.
    pub node: String,
    /// Its rack; its own name, if it is in none.
    pub rack: String,
}

/// A node, or a pod below its node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeLine {
    /// Node name.
    pub node: String,
    /// Its rack.
    pub rack: String,
    /// Pod name, for a pod.
    pub pod: Option<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// A BGP peer as `caracalctl bgp peers -o json` tells it.
#[derive(Debug, Clone, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
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
    if lab.topology().design.tells_routers() {
        let outside = lab.outside();
        sources.push(Source { label: outside.name().to_owned(), netns: outside.netns().clone() });
    }
    probe::matrix(&sources, &targets).await
}

/// What was measured before the report is gathered.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The pings.
    pub pings: Vec<Cell>,
    /// What the outside host sees of pods.
    pub outside: Vec<Sight>,
    /// Times and sizes.
    pub figures: Figures,
}

/// Gathers everything else from the lab.
pub async fn gather(lab: &Lab, measured: Measured) -> anyhow::Result<Report> {
    let Measured { pings, outside, figures } = measured;
    let rack_of = |node: &str| {
        let plan = lab.topology().nodes.iter().find(|plan| plan.name == node);
        let rack = plan.and_then(|plan| lab.topology().racks.get(plan.rack));
        rack.map_or_else(|| node.to_owned(), |rack| rack.name.clone())
    };
    let (mut nodes, mut places) = (Vec::new(), Vec::new());
    for node in lab.nodes() {
        let (name, rack) = (node.name().to_owned(), rack_of(node.name()));
        let line = |pod: Option<&str>, addresses| NodeLine {
            node: name.clone(),
            rack: rack.clone(),
            pod: pod.map(str::to_owned),
            addresses,
        };
        let place = |of: &str| Place { name: of.to_owned(), node: name.clone(), rack: rack.clone() };
        nodes.push(line(None, node.machine().addresses().iter().map(IpNetwork::ip).collect()));
        places.push(place(&name));
        for pod in lab.pods().iter().filter(|pod| pod.node() == name) {
            nodes.push(line(Some(pod.name()), pod.addresses().to_vec()));
            places.push(place(pod.name()));
        }
    }
    let peers = lab.nodes().iter().map(|node| async move {
        let peers = peers(node).await?;
        anyhow::Ok(peers.into_iter().map(|peer| (node.name().to_owned(), peer)).collect::<Vec<_>>())
    });
    let peers = try_join_all(peers).await?.into_iter().flatten().collect();
    let machines = lab.nodes().iter().map(Node::machine);
    let routes = routes_of(machines, |route| route.protocol.as_deref() == Some("67")).await?;
    let routers = lab.routers().iter().map(crate::Router::machine);
    let own = |route: &Route| route.protocol.as_deref() != Some("kernel") && route.dst != "default";
    let router_routes = routes_of(routers, own).await?;
    let blocks = blocks(lab.cluster()).await?;
    Ok(Report { nodes, peers, blocks, routes, router_routes, pings, outside, places, figures })
}

async fn routes_of(
    machines: impl Iterator<Item = &crate::machine::Machine>,
    wanted: impl Fn(&Route) -> bool,
) -> anyhow::Result<Vec<(String, Route)>> {
    let all = machines.map(|machine| async move {
        anyhow::Ok((machine.name().to_owned(), machine.netns().routes().await?))
    });
    let mut found = Vec::new();
    for (name, routes) in try_join_all(all).await? {
        found.extend(routes.into_iter().filter(|route| wanted(route)).map(|route| (name.clone(), route)));
    }
    Ok(found)
}

/// Everything that did not work, in words.
pub fn failures(measured: &Measured) -> Vec<String> {
    let pings = measured.pings.iter().filter_map(|cell| {
        let why = cell.failure.as_ref()?;
        Some(format!("{} -> {} ({}): {why}", cell.from, cell.to.label, cell.to.address))
    });
    let sights = measured.outside.iter().filter(|sight| !sight.is_right()).map(witness::Sight::in_words);
    pings.chain(sights).collect()
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
