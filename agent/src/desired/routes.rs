//! What becomes of one prefix in the kernel: a route, or a reason why there is none.

use std::collections::BTreeSet;
use std::net::IpAddr;

use caracal_api::network_node::TunnelDevice;
use caracal_bgp::PeerKey;
use caracal_bgp::speaker::BestPaths;
use caracal_linux::kernel::Gateways;
use caracal_linux::object::link::IfName;
use caracal_linux::object::route::{Hop, Route, RouteKind, Scope};
use ipnetwork::IpNetwork;

use super::encapsulation::{Tunnel, Way, is_link_local, way};
use super::surroundings::{Remote, Surroundings};
use super::tunnels;

/// The most next hops whose way is looked for among the host's own routes.
const MOST_GATEWAYS: usize = 4096;

/// What a route depends on besides its paths.
#[derive(Clone, Copy, Debug)]
pub struct Terrain<'a> {
    /// This node, the others, the pools.
    pub around: &'a Surroundings,
    /// By which of the host's own routes the next hops lie that are on no subnet of this node.
    pub gateways: &'a Gateways,
    /// The protocol number of our routes.
    pub protocol: u8,
}

/// What becomes of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The route in the kernel, if there is to be one.
    pub route: Option<Route>,
    /// Why it is not the one that the best paths ask for.
    pub why: Option<NotInstalled>,
}

/// Why a best path is not in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotInstalled {
    /// It is this node's own announcement: pods and blackholes have their own routes.
    #[error("this node announces the prefix itself")]
    Originated,
    /// Plain forwarding needs the next hop on a subnet of this node, or behind a gateway of the host's.
    #[error(
        "next hop {next_hop} is on no subnet of this node and behind no route of the host's, and no pool allows a tunnel to it"
    )]
    NextHopOffSubnet {
        /// The next hop.
        next_hop: IpAddr,
    },
    /// A tunnel leads only to nodes.
    #[error("next hop {next_hop} belongs to no known node, so no tunnel can lead there")]
    NextHopNotNode {
        /// The next hop.
        next_hop: IpAddr,
    },
    /// The tunnel the pool asks for cannot be had.
    #[error("the pool asks for {tunnel} to {next_hop}, which cannot be had: {why}")]
    NoTunnel {
        /// Which tunnel.
        tunnel: Tunnel,
        /// The next hop.
        next_hop: IpAddr,
        /// What stands in its way.
        why: String,
    },
    /// The other end is not there, or not yet. What stood before stays meanwhile.
    #[error(
        "the pool asks for {tunnel} to {next_hop}, but node {node} does not take packets by it yet: its agent may just be \
         making the device, or its conditions say what its kernel lacks"
    )]
    TunnelNotReady {
        /// Which tunnel.
        tunnel: Tunnel,
        /// The next hop.
        next_hop: IpAddr,
        /// The node at the other end.
        node: String,
    },
}

impl NotInstalled {
    /// The reason as a code, for conditions, JSON and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Originated => "Originated",
            Self::NextHopOffSubnet { .. } => "NextHopOffSubnet",
            Self::NextHopNotNode { .. } => "NextHopNotNode",
            Self::NoTunnel { .. } => "NoTunnel",
            Self::TunnelNotReady { .. } => "TunnelNotReady",
        }
    }
}

/// What becomes of a prefix with these best paths where `standing` is in the kernel; none where it is not ours to decide,
/// since this node announces it.
pub fn outcome(
    prefix: IpNetwork,
    best: &BestPaths,
    standing: Option<&Route>,
    terrain: Terrain<'_>,
) -> Option<Outcome> {
    let of_others = best.paths.first().is_some_and(|path| path.next_hop.is_some());
    if of_others && terrain.around.is_of_services(prefix) {
        // Every node serves Services itself, by kube-proxy. What others announce of them is here to be reflected.
        return Some(Outcome { route: None, why: None });
    }
    match route(prefix, best, terrain) {
        Ok(route) => Some(Outcome { route: Some(route), why: None }),
        Err(NotInstalled::Originated) => None,
        Err(why @ NotInstalled::TunnelNotReady { .. }) => {
            let stays = standing.filter(|route| leads_to(route, best, terrain));
            let route = stays.cloned().or_else(|| in_place_of(prefix, terrain));
            Some(Outcome { route, why: Some(why) })
        }
        Err(why) => Some(Outcome { route: in_place_of(prefix, terrain), why: Some(why) }),
    }
}

/// The kernel route of a prefix, from its best paths. Several paths of equal cost become one route of several hops;
/// hops that cannot be used are left out while one can.
///
/// # Errors
/// [`NotInstalled`], of the first path, when none can be used.
fn route(prefix: IpNetwork, best: &BestPaths, terrain: Terrain<'_>) -> Result<Route, NotInstalled> {
    let mut all = Vec::with_capacity(best.paths.len());
    let (mut refusal, mut mtu) = (None, None);
    for path in &best.paths {
        let next_hop = path.next_hop.ok_or(NotInstalled::Originated);
        match next_hop.and_then(|next_hop| Ok((next_hop, hops(prefix, (next_hop, path.peer), terrain)?))) {
            Ok((next_hop, hops)) => {
                mtu = mtu.into_iter().chain(smaller_mtu(&hops, next_hop, terrain.around)).min();
                all.extend(hops);
            }
            Err(NotInstalled::Originated) => return Err(NotInstalled::Originated),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    if all.is_empty() {
        return Err(refusal.unwrap_or(NotInstalled::Originated));
    }
    all.sort();
    all.dedup();
    let (scope, protocol) = (Scope::Universe, terrain.protocol);
    let source = source(prefix, &all, terrain.around);
    Ok(Route { kind: RouteKind::Unicast(all), source, scope, protocol, mtu })
}

/// What this node's own packets come from, where its address is on none of the uplinks that they may leave by: an address of
/// one uplink would be cut off with it. Tunnels have addresses of their own, by which answers come back through them.
fn source(prefix: IpNetwork, hops: &[Hop], around: &Surroundings) -> Option<IpAddr> {
    let own = around.single.iter().find(|own| own.network.is_ipv4() == prefix.is_ipv4())?;
    let tunnel = |hop: &Hop| tunnels::ALL.iter().any(|end| tunnels::device(*end) == hop.device);
    let elsewhere = hops.iter().any(|hop| hop.device != own.device) && !hops.iter().any(tunnel);
    elsewhere.then(|| own.network.ip())
}

/// The largest packet for a node that takes less than this node's own uplink carries, in bytes. Between two machines of one
/// segment there is nobody to tell that a packet is too large: it is lost in silence, unless the route says it beforehand.
fn smaller_mtu(hops: &[Hop], next_hop: IpAddr, around: &Surroundings) -> Option<u32> {
    let theirs = around.nodes.get(&next_hop)?.mtu.filter(|theirs| *theirs < around.uplink_mtu)?;
    let device = hops.first()?.device;
    let end = tunnels::ALL.into_iter().find(|end| tunnels::device(*end) == device);
    Some(end.map_or(theirs, |end| tunnels::mtu(theirs, end)))
}

/// What stands in the kernel in place of a route that cannot be: inside a pool `unreachable`, since the default route
/// would carry pods' packets to where nobody knows them; elsewhere nothing.
fn in_place_of(prefix: IpNetwork, terrain: Terrain<'_>) -> Option<Route> {
    terrain.around.pool_of(prefix)?;
    let (scope, protocol) = (Scope::Universe, terrain.protocol);
    Some(Route { kind: RouteKind::Unreachable, source: None, scope, protocol, mtu: None })
}

/// The hops by a next hop that this peer told. There are several where the host itself reaches it by several.
fn hops(
    prefix: IpNetwork,
    (next_hop, peer): (IpAddr, Option<PeerKey>),
    terrain: Terrain<'_>,
) -> Result<Vec<Hop>, NotInstalled> {
    let around = terrain.around;
    let way = match way(prefix, next_hop, around) {
        Way::Through(_) if is_router_on_link(next_hop, terrain) => Way::Plain,
        way => way,
    };
    match way {
        Way::Plain if is_link_local(next_hop) => {
            // It is on the peer's link.
            let device = peer.and_then(|peer| IfName::new(peer.interface()?.as_str()).ok());
            let device = device.ok_or(NotInstalled::NextHopOffSubnet { next_hop })?;
            Ok(vec![Hop::via(next_hop, device)])
        }
        Way::Plain => match (around.subnet_of(next_hop), terrain.gateways.get(&next_hop)) {
            (Some(subnet), _) => Ok(vec![Hop::via(next_hop, subnet.device)]),
            (None, Some(hops)) => Ok(hops.clone()),
            (None, None) => Err(NotInstalled::NextHopOffSubnet { next_hop }),
        },
        Way::Through(tunnel) => {
            let remote = around.nodes.get(&next_hop).ok_or(NotInstalled::NextHopNotNode { next_hop })?;
            let (end, hop) = through(tunnel, prefix, next_hop, remote, around)
                .map_err(|why| NotInstalled::NoTunnel { tunnel, next_hop, why })?;
            let receives = if prefix.is_ipv4() { &remote.receives_v4 } else { &remote.receives_v6 };
            if !receives.contains(&end) {
                let node = remote.name.clone();
                return Err(NotInstalled::TunnelNotReady { tunnel, next_hop, node });
            }
            Ok(vec![hop])
        }
    }
}

/// Whether a next hop is a router on a link of this node by a route of the host's own, as where the node's address is a single
/// one (/32, /128): it is on no subnet then, but there is no other way than to hand it packets as they are.
fn is_router_on_link(next_hop: IpAddr, terrain: Terrain<'_>) -> bool {
    let hops = terrain.gateways.get(&next_hop).map(Vec::as_slice).unwrap_or_default();
    let on_link = !hops.is_empty() && hops.iter().all(|hop| hop.via == Some(next_hop));
    on_link && !terrain.around.nodes.contains_key(&next_hop)
}

/// The hop through a tunnel to a node, and the end it leads to.
fn through(
    tunnel: Tunnel,
    prefix: IpNetwork,
    next_hop: IpAddr,
    remote: &Remote,
    around: &Surroundings,
) -> Result<(TunnelDevice, Hop), String> {
    match tunnel {
        Tunnel::Ipip => {
            around.ability.ipip.clone()?;
            // Any of the node's addresses will do, and the session's own is the one that is known to be reached.
            let named = Some(next_hop).filter(IpAddr::is_ipv4).or(remote.v4);
            let gateway = named.ok_or_else(|| format!("node {} has no IPv4 address", remote.name))?;
            let end = TunnelDevice::Ipip;
            Ok((end, Hop::via(gateway, tunnels::device(end)).onlink()))
        }
        Tunnel::Vxlan => {
            let vtep = tunnels::vtep(&around.ability, remote)?;
            let (gateway, onlink) = vtep.gateway(prefix.is_ipv4());
            let hop = Hop::via(gateway, vtep.device);
            Ok((vtep.end, if onlink { hop.onlink() } else { hop }))
        }
    }
}

/// Whether a route that stands leads to the next hops of these paths, by whatever way: then it carries packets to the right
/// node until the other way is ready.
fn leads_to(route: &Route, best: &BestPaths, terrain: Terrain<'_>) -> bool {
    let ends: Vec<IpAddr> = best
        .paths
        .iter()
        .filter_map(|path| path.next_hop)
        .flat_map(|next_hop| {
            let remote = terrain.around.nodes.get(&next_hop);
            let own = remote.into_iter().flat_map(|remote| [remote.v4, remote.v6]).flatten();
            let own: Vec<IpAddr> = own.chain([next_hop]).collect();
            let tunnels = own.iter().map(|end| tunnels::link_local(tunnels::vtep_mac(*end)).into());
            let behind = terrain.gateways.get(&next_hop).into_iter().flatten().filter_map(|hop| hop.via);
            tunnels.chain(own.iter().copied()).chain(behind).collect::<Vec<_>>()
        })
        .collect();
    let hops = route.hops();
    !hops.is_empty() && hops.iter().all(|hop| hop.via.is_some_and(|via| ends.contains(&via)))
}

/// The next hops on no subnet of this node: their ways have to be looked for among the host's own routes. Those that are
/// reached through a tunnel are among them, since a change of encapsulation may leave them on a route by such a way.
pub fn off_subnet<'a>(known: impl Iterator<Item = &'a BestPaths>, around: &Surroundings) -> BTreeSet<IpAddr> {
    let next_hops = known.flat_map(|best| best.paths.iter().filter_map(|path| path.next_hop));
    let mut found = BTreeSet::new();
    for next_hop in next_hops {
        let elsewhere = !is_link_local(next_hop) && around.subnet_of(next_hop).is_none();
        if elsewhere && found.len() < MOST_GATEWAYS {
            found.insert(next_hop);
        }
    }
    found
}

#[cfg(test)]
mod tests;
