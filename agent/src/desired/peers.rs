//! The speaker's configuration, from the resources: who this node peers with, and how.
//!
//! The mesh holds one session per pair of nodes, over IPv4 where both have it, carrying both families: the next hop of
//! each family is the node's address in that family. Reflectors (nodes with a cluster id) are not part of the mesh.

mod closed;
mod definition;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use caracal_api::bgp_configuration::DEFAULT_PORT;
use caracal_api::restart_time::DEFAULT_RESTART_TIME;
use caracal_api::secret_key_ref::BgpPassword;
use caracal_api::{BgpFilter, BgpPeer, NetworkNode};
use caracal_bgp::bfd::Timers as BfdTimers;
use caracal_bgp::config::{Password, RemoteAs, Subject};
use caracal_bgp::{
    Asn, BfdOptions, Config, Families, Family, LocalNextHops, PeerConfig, PeerKey, PeerOrigin, RouterId,
    SessionOptions,
};
use ipnetwork::IpNetwork;
use kube::ResourceExt;

use super::filters;
use super::passwords::Secrets;
use super::policies::{Other, OwnNextHop, Policies};
use super::restart::Comeback;
use super::speaker::{SpeakerSettings, router_id};
use crate::cluster::Snapshot;
use crate::node::NodeFacts;
use closed::Closed;
use definition::Wanted;

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
    #[error("BGPPeer {peer} is left out: the session with {whom} is {other}'s")]
    Twice {
        /// The later definition.
        peer: String,
        /// The address, the device or the range.
        whom: String,
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
    let (mut peers, mut ranges) = (BTreeMap::new(), BTreeMap::new());
    let mut closed = Closed::default();
    for peer in inputs.peers.values() {
        let (filters, wrong) = filters::rules(&peer.spec.filters, inputs.filters);
        match definition::wanted(inputs, peer, &filters) {
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
                for mut wanted in found {
                    if let Ok(password) = &password {
                        wanted.terms().password.clone_from(password);
                    }
                    match (wanted, &password) {
                        (Wanted::Peer(key, peer), Err(why)) => closed.peer(key, peer, why),
                        (Wanted::Range(range, _), Err(_)) => closed.range(range),
                        (Wanted::Peer(key, config), Ok(_)) => {
                            problems.extend(add(&mut peers, key, config, |one| &one.name));
                        }
                        (Wanted::Range(network, range), Ok(_)) => {
                            problems.extend(add(&mut ranges, network, range, |one| &one.terms.name));
                        }
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
            Err(why) => {
                for config in inputs.nodes.values().filter_map(|node| meshed(inputs, node)) {
                    let key = PeerKey::Address(config.remote.ip());
                    if !peers.contains_key(&key) {
                        closed.peer(key, config, &why);
                    }
                }
                problems.push(Problem::MeshPassword { why });
            }
        }
    }
    problems.extend(closed.close(&mut peers, &mut ranges));
    let listen =
        inputs.facts.addresses.iter().map(|a| SocketAddr::new(a.network.ip(), inputs.settings.listen_port));
    let mut config = Config {
        cluster_id: inputs.facts.cluster_id.and_then(|id| RouterId::try_from(id).ok()),
        listen: listen.collect(),
        peers,
        ranges,
        ..Config::new(inputs.settings.local_as, router_id)
    };
    problems.extend(without_what_is_refused(&mut config));
    (Some(config), problems)
}

/// Takes out what the speaker would refuse, since it refuses a configuration as a whole.
fn without_what_is_refused(config: &mut Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    while let Err(error) = config.validate() {
        let name = match error.subject() {
            Some(Subject::Peer(key)) => config.peers.remove(&key).map(|peer| peer.name),
            Some(Subject::Range(network)) => config.ranges.remove(&network).map(|range| range.terms.name),
            None => None,
        };
        // It is the speaker's own: the speaker says so.
        let Some(peer) = name else { break };
        problems.push(Problem::Malformed { peer, why: error.to_string() });
    }
    problems
}

/// The password of a definition; `None` where it has none.
fn password(inputs: &Inputs<'_>, wanted: Option<&BgpPassword>) -> Result<Option<Password>, String> {
    wanted.map(|password| inputs.secrets.password(&password.secret_key_ref)).transpose()
}

fn add<K: Copy + Ord + ToString, T>(
    all: &mut BTreeMap<K, T>,
    whom: K,
    one: T,
    name: impl Fn(&T) -> &String,
) -> Option<Problem> {
    match all.get(&whom) {
        Some(other) => {
            let (peer, other) = (name(&one).clone(), name(other).clone());
            Some(Problem::Twice { peer, whom: whom.to_string(), other })
        }
        None => {
            all.insert(whom, one);
            None
        }
    }
}

/// The session with another node of the mesh.
fn meshed(inputs: &Inputs<'_>, node: &NetworkNode) -> Option<PeerConfig> {
    if node.name_any() == inputs.facts.name || node.spec.route_reflector_cluster_id.is_some() {
        return None;
    }
    let remote = node_address(inputs.facts, node)?;
    let mut config = base(inputs, node.name_any(), PeerOrigin::Mesh, remote, Asn(node.spec.as_number).into());
    if let Some(restart) = &mut config.session.graceful_restart {
        restart.long_lived = inputs.settings.mesh_long_lived;
    }
    Some(config)
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
    remote_as: RemoteAs,
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
    let internal = remote_as.is_internal(local_as);
    PeerConfig {
        name,
        origin,
        local_address: source.map(|a| a.network.ip()),
        hold_time: inputs.settings.hold_time,
        families: families(inputs.facts),
        local_next_hops: next_hops(inputs.facts),
        multihop: (!internal).then_some(EXTERNAL_TTL),
        bfd: inputs.settings.bfd.map(|timers| bfd(inputs.facts, remote.ip().into(), internal, timers)),
        import: inputs.policies.import(other, &[]),
        export: inputs.policies.export(OwnNextHop::Node, &[]),
        session: SessionOptions {
            graceful_restart: inputs.comeback.options(restart_time),
            ..SessionOptions::default()
        },
        ..PeerConfig::new(remote, local_as, remote_as)
    }
}

/// Between ASes on one subnet BFD goes over one hop, as routers expect it; all else may be anywhere.
fn bfd(facts: &NodeFacts, remote: IpNetwork, internal: bool, timers: BfdTimers) -> BfdOptions {
    let around = |subnet: IpNetwork| subnet.contains(remote.network()) && subnet.prefix() <= remote.prefix();
    let mut own = facts.addresses.iter().chain(facts.underlay.iter().copied());
    let near = own.any(|address| around(address.network));
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

/// Whether a peer is a client of this node as a reflector: every node that is not a reflector of the same cluster.
fn is_client(ours: Option<Ipv4Addr>, theirs: Option<Ipv4Addr>) -> bool {
    ours.is_some() && ours != theirs
}

#[cfg(test)]
mod tests;
