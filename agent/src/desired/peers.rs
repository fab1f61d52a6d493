//! The speaker's configuration, from the resources: who this node peers with, and how.
//!
//! The mesh holds one session per pair of nodes, over IPv4 where both have it, carrying both families: the next hop of
//! each family is the node's address in that family. Reflectors (nodes with a cluster id) are not part of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::time::Duration;

use caracal_api::bgp_configuration::DEFAULT_PORT;
use caracal_api::bgp_peer::{self, MaxPrefixes, SourceAddress, parse_peer_ip};
use caracal_api::restart_time::{DEFAULT_RESTART_TIME, parse_restart_time};
use caracal_api::secret_key_ref::BgpPassword;
use caracal_api::{BgpFilter, BgpPeer, BgpPeerSpec, NetworkNode, Selector};
use caracal_bgp::bfd::Timers as BfdTimers;
use caracal_bgp::config::Password;
use caracal_bgp::{
    Asn, BfdOptions, Config, Families, Family, LimitAction, LocalNextHops, NextHopMode, PathsSent,
    PeerConfig, PeerKey, PeerOrigin, PrefixLimit, PrefixLimits, RouterId, SessionOptions,
};
use kube::ResourceExt;

use super::filters::{self, FilterRules};
use super::passwords::Secrets;
use super::policies::{Other, Policies};
use super::restart::Comeback;
use super::speaker::{SpeakerSettings, bfd_timers, hold_time, router_id};
use crate::cluster::Snapshot;
use crate::node::NodeFacts;

/// How long a session stays down that ended for too many prefixes, when the peer does not say.
const LIMIT_RESTART: Duration = Duration::from_secs(300);
/// TTL of sessions with external peers, which may be several hops away.
const EXTERNAL_TTL: u8 = 255;

/// What a configuration is made from.
pub struct Inputs<'a> {
    /// This node.
    pub facts: &'a NodeFacts,
    /// What the `BGPConfiguration`s say for it.
    pub settings: &'a SpeakerSettings,
    /// All nodes.
    pub nodes: &'a Snapshot<NetworkNode>,
    /// Sessions beside the mesh.
    pub peers: &'a Snapshot<BgpPeer>,
    /// What peers name to say what passes.
    pub filters: &'a Snapshot<BgpFilter>,
    /// Where passwords are.
    pub secrets: &'a Secrets,
    /// What the run before left.
    pub comeback: Comeback,
    /// What is accepted and announced.
    pub policies: &'a Policies,
}

/// Why a peer, or the speaker, is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The node has no address yet.
    #[error(
        "this node has no BGP address: its Node lists no InternalIP that one of its links has; set the kubelet's \
         --node-ip to an address of the machine"
    )]
    NoAddress,
    /// A `BGPPeer` cannot be read.
    #[error("BGPPeer {peer} is left out: {why}")]
    Malformed {
        /// Its name.
        peer: String,
        /// What is wrong.
        why: String,
    },
    /// What a `BGPPeer` filters by cannot be used.
    #[error("BGPPeer {peer}: {why}")]
    Filter {
        /// Its name.
        peer: String,
        /// What is wrong.
        why: String,
    },
    /// The password of the mesh cannot be had.
    #[error(
        "sessions with other nodes of the mesh are closed (nodeMeshPassword of the BGPConfiguration): {why}"
    )]
    MeshPassword {
        /// What is wrong.
        why: String,
    },
    /// A prefix advertisement cannot be read.
    #[error("a prefixAdvertisement of the BGPConfiguration is left out: {why}")]
    Advertisement {
        /// What is wrong.
        why: String,
    },
    /// Two definitions name the same peer.
    #[error("BGPPeer {peer} is left out: the session with {address} is {other}'s")]
    Twice {
        /// The later definition.
        peer: String,
        /// The address.
        address: IpAddr,
        /// The definition that has it.
        other: String,
    },
}

/// The configuration, and what had to be left out. None while the node has no address.
pub fn config(inputs: &Inputs<'_>) -> (Option<Config>, Vec<Problem>) {
    let Some(router_id) = router_id(&inputs.facts.name, &inputs.facts.addresses) else {
        return (None, vec![Problem::NoAddress]);
    };
    let unreadable = inputs.settings.unreadable.iter().cloned();
    let mut problems: Vec<Problem> = unreadable.map(|why| Problem::Advertisement { why }).collect();
    let mut peers = BTreeMap::new();
    // Sessions that have a password which cannot be had: no other definition opens them without.
    let mut closed = BTreeSet::new();
    for peer in inputs.peers.values() {
        let (filters, wrong) = filters::rules(&peer.spec.filters, inputs.filters);
        match configured(inputs, peer, &filters) {
            Ok(found) => {
                if !found.is_empty() {
                    let filter = |why| Problem::Filter { peer: peer.name_any(), why };
                    problems.extend(wrong.into_iter().map(filter));
                }
                let password = password(inputs, peer.spec.password.as_ref());
                if let Err(why) = &password
                    && !found.is_empty()
                {
                    problems.push(Problem::Malformed { peer: peer.name_any(), why: why.clone() });
                }
                for config in found {
                    match &password {
                        Ok(password) => {
                            let config = PeerConfig { password: password.clone(), ..config };
                            add(&mut peers, config, &mut problems);
                        }
                        Err(_) => drop(closed.insert(PeerKey::Address(config.remote.ip()))),
                    }
                }
            }
            Err(why) => problems.push(Problem::Malformed { peer: peer.name_any(), why }),
        }
    }
    if inputs.settings.mesh && inputs.facts.cluster_id.is_none() {
        match inputs.settings.mesh_password.as_ref().map(|place| inputs.secrets.password(place)).transpose() {
            Ok(password) => {
                for config in inputs.nodes.values().filter_map(|node| meshed(inputs, node)) {
                    // A configured session with the same node replaces that of the mesh.
                    let config = PeerConfig { password: password.clone(), ..config };
                    peers.entry(PeerKey::Address(config.remote.ip())).or_insert(config);
                }
            }
            Err(why) => problems.push(Problem::MeshPassword { why }),
        }
    }
    peers.retain(|key, _| !closed.contains(key));
    let listen =
        inputs.facts.addresses.iter().map(|a| SocketAddr::new(a.network.ip(), inputs.settings.listen_port));
    let config = Config {
        cluster_id: inputs.facts.cluster_id.and_then(|id| RouterId::try_from(id).ok()),
        listen: listen.collect(),
        peers,
        ..Config::new(inputs.settings.local_as, router_id)
    };
    (Some(config), problems)
}

/// The password of a definition; `None` where it has none.
fn password(inputs: &Inputs<'_>, wanted: Option<&BgpPassword>) -> Result<Option<Password>, String> {
    wanted.map(|password| inputs.secrets.password(&password.secret_key_ref)).transpose()
}

fn add(peers: &mut BTreeMap<PeerKey, PeerConfig>, config: PeerConfig, problems: &mut Vec<Problem>) {
    let address = config.remote.ip();
    match peers.get(&PeerKey::Address(address)) {
        Some(other) => {
            problems.push(Problem::Twice { peer: config.name, address, other: other.name.clone() });
        }
        None => {
            peers.insert(PeerKey::Address(address), config);
        }
    }
}

/// The session with another node of the mesh.
fn meshed(inputs: &Inputs<'_>, node: &NetworkNode) -> Option<PeerConfig> {
    if node.name_any() == inputs.facts.name || node.spec.route_reflector_cluster_id.is_some() {
        return None;
    }
    let remote = node_address(inputs.facts, node)?;
    Some(base(inputs, node.name_any(), PeerOrigin::Mesh, remote, Asn(node.spec.as_number)))
}

/// Where to reach a node: in the first family that both have, IPv4 before IPv6.
fn node_address(facts: &NodeFacts, node: &NetworkNode) -> Option<SocketAddr> {
    let theirs: Vec<IpAddr> = node.spec.addresses().map(|a| a.ip()).collect();
    let ours = facts.addresses.iter().map(|a| a.network.is_ipv4());
    let address = ours.into_iter().find_map(|v4| theirs.iter().find(|ip| ip.is_ipv4() == v4))?;
    Some(SocketAddr::new(*address, node.spec.bgp_port.unwrap_or(DEFAULT_PORT)))
}

fn base(
    inputs: &Inputs<'_>,
    name: String,
    origin: PeerOrigin,
    remote: SocketAddr,
    remote_as: Asn,
) -> PeerConfig {
    let addresses = &inputs.facts.addresses;
    let source = if remote.is_ipv4() { addresses.v4 } else { addresses.v6 };
    let other = match origin {
        PeerOrigin::Mesh => Other::Node,
        PeerOrigin::Configured | PeerOrigin::Range(_) => Other::Outsider,
    };
    let restart_time = match origin {
        PeerOrigin::Mesh => inputs.settings.mesh_restart_time,
        PeerOrigin::Configured | PeerOrigin::Range(_) => DEFAULT_RESTART_TIME,
    };
    let local_as = inputs.settings.local_as;
    PeerConfig {
        name,
        origin,
        local_address: source.map(|a| a.network.ip()),
        hold_time: inputs.settings.hold_time,
        families: families(inputs.facts),
        local_next_hops: next_hops(inputs.facts),
        multihop: (local_as != remote_as).then_some(EXTERNAL_TTL),
        bfd: inputs.settings.bfd.map(|timers| bfd(inputs.facts, remote.ip(), local_as == remote_as, timers)),
        import: inputs.policies.import(other, &[]),
        export: inputs.policies.export(&[]),
        session: SessionOptions {
            graceful_restart: inputs.comeback.options(restart_time),
            ..SessionOptions::default()
        },
        ..PeerConfig::new(remote, local_as, remote_as)
    }
}

/// Between ASes on one subnet BFD goes over one hop, as routers expect it; all else may be anywhere.
fn bfd(facts: &NodeFacts, remote: IpAddr, internal: bool, timers: BfdTimers) -> BfdOptions {
    let near = facts.addresses.iter().any(|address| address.network.contains(remote));
    BfdOptions { timers, multihop: Some(internal || !near) }
}

/// Families this node can forward: those it has an address in.
fn families(facts: &NodeFacts) -> Families {
    let mut families = Families::NONE;
    for address in facts.addresses.iter() {
        families.insert(Family::of(&address.network));
    }
    families
}

fn next_hops(facts: &NodeFacts) -> LocalNextHops {
    let mut hops = LocalNextHops::default();
    for address in facts.addresses.iter() {
        match address.network.ip() {
            IpAddr::V4(v4) => hops.v4 = Some(v4),
            IpAddr::V6(v6) => hops.v6 = Some(v6),
        }
    }
    hops
}

/// The sessions that one `BGPPeer` gives this node.
fn configured(inputs: &Inputs<'_>, peer: &BgpPeer, filters: &FilterRules) -> Result<Vec<PeerConfig>, String> {
    let spec = &peer.spec;
    let selector = |text: &Option<String>| text.as_deref().unwrap_or("all()").parse::<Selector>();
    let holders = selector(&spec.node_selector).map_err(|e| format!("nodeSelector: {e}"))?;
    let holds = |name: &str, labels: &BTreeMap<String, String>| match &spec.node {
        Some(node) => node == name,
        None => holders.matches(labels),
    };
    let here = holds(&inputs.facts.name, &inputs.facts.labels);
    if let Some(text) = &spec.peer_ip {
        let remote = parse_peer_ip(text).map_err(|e| e.to_string())?;
        let own = inputs.facts.addresses.iter().any(|a| a.network.ip() == remote.ip());
        if !here || own {
            return Ok(Vec::new());
        }
        let remote_as = spec.as_number.filter(|n| *n > 0).ok_or("asNumber is missing")?;
        let node = inputs.nodes.values().find(|n| n.spec.addresses().any(|a| a.ip() == remote.ip()));
        let config = base(inputs, peer.name_any(), PeerOrigin::Configured, remote, Asn(remote_as));
        return Ok(vec![overlaid(inputs, config, (spec, filters), node.map(AsRef::as_ref))]);
    }
    // Nodes chosen by label peer in both directions, so that one definition makes the whole session.
    let chosen = selector(&spec.peer_selector).map_err(|e| format!("peerSelector: {e}"))?;
    let chosen_here = chosen.matches(&inputs.facts.labels);
    let sessions =
        inputs.nodes.values().filter(|node| node.name_any() != inputs.facts.name).filter_map(|node| {
            let forward = here && chosen.matches(&node.spec.labels);
            let reverse = chosen_here && holds(&node.name_any(), &node.spec.labels);
            if !forward && !reverse {
                return None;
            }
            let remote = node_address(inputs.facts, node)?;
            let name = format!("{}-{}", peer.name_any(), node.name_any());
            let remote_as = Asn(node.spec.as_number);
            let config = base(inputs, name, PeerOrigin::Configured, remote, remote_as);
            Some(overlaid(inputs, config, (spec, filters), Some(node)))
        });
    Ok(sessions.collect())
}

/// What a definition says, over what all sessions have. With another node the mesh's policies hold.
fn overlaid(
    inputs: &Inputs<'_>,
    mut config: PeerConfig,
    (spec, filters): (&BgpPeerSpec, &FilterRules),
    node: Option<&NetworkNode>,
) -> PeerConfig {
    if let Some(local_as) = spec.local_as_number {
        config.local_as = Asn(local_as);
        config.multihop = (!config.is_internal()).then_some(EXTERNAL_TTL);
    }
    if spec.hold_time.is_some() {
        config.hold_time = hold_time(spec.hold_time);
    }
    if let Some(seconds) = spec.connect_retry {
        config.connect_retry = Duration::from_secs(seconds.into());
    }
    if let Some(time) = spec.max_restart_time.as_deref().and_then(|text| parse_restart_time(text).ok()) {
        config.session.graceful_restart = inputs.comeback.options(time);
    }
    if spec.source_address == Some(SourceAddress::None) {
        config.local_address = None;
    }
    config.next_hop = match spec.next_hop_mode.unwrap_or_default() {
        bgp_peer::NextHopMode::Auto => NextHopMode::Auto,
        bgp_peer::NextHopMode::SelfAlways => NextHopMode::SelfAlways,
        bgp_peer::NextHopMode::Keep => NextHopMode::Keep,
    };
    let timers = spec.bfd.as_ref().map(bfd_timers).or(inputs.settings.bfd);
    let internal = config.is_internal();
    config.bfd = timers.map(|timers| bfd(inputs.facts, config.remote.ip(), internal, timers));
    config.allow_own_as = spec.num_allowed_local_as_numbers.unwrap_or_default();
    config.session.limits = spec.max_prefixes.as_ref().map(limits).unwrap_or_default();
    if let Some(paths) = &spec.add_paths {
        let of = |wanted: bool| if wanted { config.families } else { Families::NONE };
        config.session.add_path_receive = of(paths.receive);
        config.session.add_path_send = of(paths.send);
        let most = paths.send_max.and_then(NonZeroU8::new);
        config.paths_sent = most.map_or(PathsSent::All, PathsSent::First);
    }
    let other = if node.is_some() { Other::Node } else { Other::Outsider };
    config.import = inputs.policies.import(other, &filters.import);
    config.export = inputs.policies.export(&filters.export);
    if let Some(node) = node {
        let theirs = node.spec.route_reflector_cluster_id.as_deref().and_then(|id| id.parse().ok());
        config.reflector_client = is_client(inputs.facts.cluster_id, theirs) && config.is_internal();
    }
    config
}

fn limits(spec: &MaxPrefixes) -> PrefixLimits {
    let after = spec.restart_seconds.map_or(LIMIT_RESTART, |seconds| Duration::from_secs(seconds.into()));
    let action = match spec.action {
        bgp_peer::LimitAction::Warn => LimitAction::Warn,
        bgp_peer::LimitAction::Restart => LimitAction::Restart(after),
        bgp_peer::LimitAction::Stop => LimitAction::Stop,
    };
    let limit = |prefixes| PrefixLimit { prefixes, action };
    PrefixLimits { ipv4: spec.ipv4.map(limit), ipv6: spec.ipv6.map(limit) }
}

/// Whether a peer is a client of this node as a reflector: every node that is not a reflector of the same cluster.
fn is_client(ours: Option<Ipv4Addr>, theirs: Option<Ipv4Addr>) -> bool {
    ours.is_some() && ours != theirs
}

#[cfg(test)]
mod tests;
