//! What one `BGPPeer` gives this node: sessions with routers and nodes, or a range of addresses from which peers may come.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use caracal_api::bgp_peer::{self, AsNumbers, AsType, MaxPrefixes, PeerAddress, SourceAddress, Whom};
use caracal_api::restart_time::{parse_duration, parse_restart_time};
use caracal_api::{BgpPeer, BgpPeerSpec, NetworkNode, Selector};
use caracal_bgp::config::RemoteAs;
use caracal_bgp::{
    Asn, Families, Family, Interface, LimitAction, LocalNextHops, NextHopMode, PathsSent, PeerConfig,
    PeerKey, PeerOrigin, PeerRange, PrefixLimit, PrefixLimits,
};
use ipnetwork::IpNetwork;
use kube::ResourceExt;

use super::{EXTERNAL_TTL, Inputs, base, bfd, is_client, node_address};
use crate::desired::filters::FilterRules;
use crate::desired::policies::{Other, OwnNextHop};
use crate::desired::speaker::{bfd_timers, hold_time};

/// How long a session stays down that ended for too many prefixes, when the peer does not say.
const LIMIT_RESTART: Duration = Duration::from_secs(300);

/// Whether a node with this name and these labels holds sessions.
type Holds<'a> = &'a dyn Fn(&str, &BTreeMap<String, String>) -> bool;

/// What a definition gives a node.
pub(super) enum Wanted {
    /// A session with this peer.
    Peer(PeerKey, PeerConfig),
    /// Sessions with whoever connects from this network.
    Range(IpNetwork, PeerRange),
}

impl Wanted {
    /// What sessions are like.
    pub(super) fn terms(&mut self) -> &mut PeerConfig {
        match self {
            Wanted::Peer(_, peer) => peer,
            Wanted::Range(_, range) => &mut range.terms,
        }
    }
}

/// The sessions that one `BGPPeer` gives this node.
pub(super) fn wanted(
    inputs: &Inputs<'_>,
    peer: &BgpPeer,
    filters: &FilterRules,
) -> Result<Vec<Wanted>, String> {
    let spec = &peer.spec;
    let whom = spec.whom().map_err(|error| error.to_string())?;
    let holders = spec.node_selector.as_deref().unwrap_or("all()").parse::<Selector>();
    let holders = holders.map_err(|e| format!("nodeSelector: {e}"))?;
    let holds = |name: &str, labels: &BTreeMap<String, String>| match &spec.node {
        Some(node) => node == name,
        None => holders.matches(labels),
    };
    let here = holds(&inputs.facts.name, &inputs.facts.labels);
    if let Whom::Nodes(chosen) = &whom {
        return Ok(with_nodes(inputs, peer, filters, (here, chosen, &holds)));
    }
    if !here {
        return Ok(Vec::new());
    }
    let remote_as = remote_as(spec)?;
    let of = |remote: SocketAddr, place: Place, node: Option<&NetworkNode>| {
        let config = base(inputs, peer.name_any(), PeerOrigin::Configured, remote, remote_as.clone());
        overlaid(inputs, config, (spec, filters), place, node)
    };
    Ok(match whom {
        Whom::Nodes(_) => Vec::new(),
        Whom::At(PeerAddress { address, port, device: None }) => {
            if inputs.facts.addresses.iter().any(|a| a.network.ip() == address) {
                return Ok(Vec::new());
            }
            let node = inputs.nodes.values().find(|n| n.spec.addresses().any(|a| a.ip() == address));
            let config = of(SocketAddr::new(address, port), Place::Anywhere, node.map(AsRef::as_ref));
            vec![Wanted::Peer(PeerKey::Address(address), config)]
        }
        Whom::At(PeerAddress { address, port, device: Some(device) }) => {
            let key: PeerKey = format!("{address}%{device}").parse().map_err(|e| format!("peerIP: {e}"))?;
            vec![Wanted::Peer(key, of(SocketAddr::new(address, port), Place::OnLink, None))]
        }
        Whom::OnLinkOf(device) => {
            let interface = Interface::new(&device).map_err(|e| format!("interface: {e}"))?;
            let nowhere =
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), caracal_api::bgp_configuration::DEFAULT_PORT);
            let mut config = of(nowhere, Place::OnLink, None);
            // There need be no IPv4 address on such a link.
            config.session.extended_next_hop = [Family::Ipv4Unicast].into_iter().collect();
            vec![Wanted::Peer(PeerKey::Interface(interface), config)]
        }
        Whom::Within(network) => {
            let terms = of(SocketAddr::new(network.network(), 0), Place::Range(network), None);
            let max_peers = spec.max_peers.and_then(NonZeroU16::new).unwrap_or(PeerRange::MAX_PEERS);
            vec![Wanted::Range(network, PeerRange { max_peers, ..PeerRange::new(terms) })]
        }
    })
}

/// Nodes chosen by label peer in both directions, so that one definition makes the whole session.
fn with_nodes(
    inputs: &Inputs<'_>,
    peer: &BgpPeer,
    filters: &FilterRules,
    (here, chosen, holds): (bool, &Selector, Holds<'_>),
) -> Vec<Wanted> {
    let chosen_here = chosen.matches(&inputs.facts.labels);
    let others = inputs.nodes.values().filter(|node| node.name_any() != inputs.facts.name);
    let session = |node: &NetworkNode| {
        let forward = here && chosen.matches(&node.spec.labels);
        let reverse = chosen_here && holds(&node.name_any(), &node.spec.labels);
        if !forward && !reverse {
            return None;
        }
        let remote = node_address(inputs.facts, node)?;
        let name = format!("{}-{}", peer.name_any(), node.name_any());
        let remote_as = Asn(node.spec.as_number).into();
        let config = base(inputs, name, PeerOrigin::Configured, remote, remote_as);
        let config = overlaid(inputs, config, (&peer.spec, filters), Place::Anywhere, Some(node));
        Some(Wanted::Peer(PeerKey::Address(remote.ip()), config))
    };
    others.filter_map(|node| session(node)).collect()
}

fn remote_as(spec: &BgpPeerSpec) -> Result<RemoteAs, String> {
    Ok(match spec.peer_as().map_err(|error| error.to_string())? {
        AsNumbers::Of(numbers) => match numbers.as_slice() {
            [one] => RemoteAs::Exactly(Asn(*one)),
            several => RemoteAs::AnyOf(several.iter().map(|number| Asn(*number)).collect()),
        },
        AsNumbers::On(AsType::External) => RemoteAs::External,
        AsNumbers::On(AsType::Internal) => RemoteAs::Internal,
    })
}

/// What is known of where a peer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At its address, wherever that is.
    Anywhere,
    /// On the link of a device.
    OnLink,
    /// Somewhere in this network.
    Range(IpNetwork),
}

/// What a definition says, over what all sessions have. With another node the mesh's policies hold.
fn overlaid(
    inputs: &Inputs<'_>,
    mut config: PeerConfig,
    (spec, filters): (&BgpPeerSpec, &FilterRules),
    place: Place,
    node: Option<&NetworkNode>,
) -> PeerConfig {
    if let Some(local_as) = spec.local_as_number {
        config.local_as = Asn(local_as);
    }
    if spec.hold_time.is_some() {
        config.hold_time = hold_time(spec.hold_time);
    }
    config.keepalive = spec.keepalive_time.as_deref().and_then(parse_duration);
    if let Some(seconds) = spec.connect_retry {
        config.connect_retry = Duration::from_secs(seconds.into());
    }
    config.passive = spec.passive.unwrap_or_default();
    config.device = spec.device.as_deref().map(Into::into);
    if let Some(time) = spec.max_restart_time.as_deref().and_then(|text| parse_restart_time(text).ok()) {
        config.session.graceful_restart = inputs.comeback.options(time);
    }
    if let Some(restart) = &mut config.session.graceful_restart {
        restart.long_lived = spec.long_lived_stale_time.map(|time| Duration::from_secs(time.into()));
    }
    // A link has addresses of its own, which are found when it is there; who connects has chosen one already.
    if spec.source_address == Some(SourceAddress::None) || place != Place::Anywhere {
        config.local_address = None;
    }
    if place == Place::OnLink {
        config.local_next_hops = LocalNextHops::default();
    }
    config.next_hop = match spec.next_hop_mode.unwrap_or_default() {
        bgp_peer::NextHopMode::Auto => NextHopMode::Auto,
        bgp_peer::NextHopMode::SelfAlways => NextHopMode::SelfAlways,
        bgp_peer::NextHopMode::Keep => NextHopMode::Keep,
    };
    config.ttl_security = spec.ttl_security.and_then(NonZeroU8::new);
    config.multihop = match (config.ttl_security, spec.multihop) {
        (Some(_), _) => None,
        (None, Some(ttl)) => Some(ttl),
        (None, None) => (!config.is_internal() && place != Place::OnLink).then_some(EXTERNAL_TTL),
    };
    let timers = spec.bfd.as_ref().map(bfd_timers).or(inputs.settings.bfd);
    config.bfd = timers.map(|timers| {
        let network = match place {
            Place::Anywhere | Place::OnLink => IpNetwork::from(config.remote.ip()),
            Place::Range(network) => network,
        };
        let told = spec.ttl_security.is_some() || spec.multihop.is_some() || place == Place::OnLink;
        let usual = bfd(inputs.facts, network, config.is_internal(), timers);
        // What the definition says of the distance holds for BFD, too.
        caracal_bgp::BfdOptions { multihop: usual.multihop.filter(|_| !told), ..usual }
    });
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
    // Inside an AS next hops are looked up, and are this node's own address.
    let by_uplink = node.is_none() && config.local_address.is_none() && !config.is_internal();
    let own = if by_uplink { OwnNextHop::Uplink } else { OwnNextHop::Node };
    config.export = inputs.policies.export(own, &filters.export);
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
