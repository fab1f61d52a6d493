//! What a configuration and the terms of a session mean to the RIB.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::config::{Config, Family, PeerConfig, PeerKey};
use crate::peer::Negotiated;
use crate::policy::Policy;
use crate::rib::{EgressProfile, Identity, Link, PeerFacts, Source};

/// What paths are held against. Own addresses are those configured and those sessions run over.
pub(super) fn identity(config: &Config, sessions: impl IntoIterator<Item = IpAddr>) -> Identity {
    let listen = config.listen.iter().map(|address| address.ip()).filter(|address| !address.is_unspecified());
    let peers = config.peers.values().flat_map(|peer| {
        let next_hops = peer.local_next_hops;
        [peer.local_address, next_hops.v4.map(IpAddr::V4), next_hops.v6.map(IpAddr::V6)].into_iter().flatten()
    });
    Identity {
        router_id: config.router_id.address(),
        cluster_id: config.cluster_id().address(),
        own: listen.chain(peers).chain(sessions).filter(|own| link_local(*own).is_none()).collect(),
        multipath: config.multipath,
    }
}

/// What the RIB must know of a session.
pub(super) fn facts(config: &Config, key: PeerKey, peer: &PeerConfig, negotiated: &Negotiated) -> PeerFacts {
    PeerFacts {
        key: Some(key),
        source: if negotiated.is_internal() { Source::Ibgp } else { Source::Ebgp },
        router_id: negotiated.peer_id.address().to_bits(),
        client: peer.reflector_client,
        local_as: negotiated.local_as,
        allow_own_as: peer.allow_own_as,
        link: link(key, negotiated),
        import: in_force(config, &peer.import, negotiated),
    }
}

/// The link of a session over link-local addresses.
fn link(key: PeerKey, negotiated: &Negotiated) -> Option<Link> {
    let (own, peer) = (link_local(negotiated.local.ip())?, link_local(negotiated.remote.ip())?);
    Some(Link { interface: key.interface()?, own, peer })
}

/// An address that says nothing without its link.
fn link_local(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// The policy in force: an external peer without one passes nothing where policies are required (RFC 8212).
fn in_force(config: &Config, policy: &Arc<Policy>, negotiated: &Negotiated) -> Arc<Policy> {
    if config.require_policies && !negotiated.is_internal() && !policy.is_given() {
        return Arc::new(Policy::required());
    }
    Arc::clone(policy)
}

/// How a peer is told of one family; `None` where the family was not negotiated.
///
/// Without a configured next hop the own end of the session serves: for its own family, and for the other where the
/// peer takes such next hops (RFC 8950).
pub(super) fn profile(
    config: &Config,
    peer: &PeerConfig,
    negotiated: &Negotiated,
    family: Family,
) -> Option<EgressProfile> {
    if !negotiated.families.contains(family) {
        return None;
    }
    let configured = match family {
        Family::Ipv4Unicast => peer.local_next_hops.v4.map(IpAddr::V4),
        Family::Ipv6Unicast => peer.local_next_hops.v6.map(IpAddr::V6),
    };
    let local = negotiated.local.ip();
    let serves = Family::of_address(&local) == family || negotiated.extended_next_hop.contains(family);
    Some(EgressProfile {
        context: negotiated.context().for_writing(),
        external: negotiated.context().external_peer.is_some(),
        local_as: negotiated.local_as,
        client: peer.reflector_client,
        cluster_id: config.cluster_id().address(),
        next_hop: peer.next_hop,
        own_next_hop: configured.or_else(|| serves.then_some(local)),
        own_link_local: link_local(local),
        paths: negotiated.add_path_send.contains(family).then_some(peer.paths_sent),
        as_override: negotiated.context().external_peer.filter(|_| peer.as_override),
        remove_private_as: peer.remove_private_as,
        long_lived: negotiated.long_lived,
        export: in_force(config, &peer.export, negotiated),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Asn, RouterId};
    use crate::peer::negotiation::tests::sample;

    fn told(peer_as: Asn, as_override: bool) -> EgressProfile {
        let config = Config::new(Asn(1), RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 0, 1)).unwrap());
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 179));
        let peer = PeerConfig { as_override, ..PeerConfig::new(address, Asn(1), peer_as) };
        let negotiated = Negotiated { peer_as, ..sample() };
        profile(&config, &peer, &negotiated, Family::Ipv4Unicast).unwrap()
    }

    #[test]
    fn over_link_local_addresses_both_own_addresses_are_told_or_the_one_there_is() {
        let config = Config::new(Asn(1), RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 0, 1)).unwrap());
        let link = |text: &str| std::net::SocketAddr::new(text.parse().unwrap(), 179);
        let mut peer = PeerConfig::new(link("fe80::2"), Asn(1), Asn(2));
        let extended_next_hop = [Family::Ipv4Unicast].into_iter().collect();
        let negotiated = Negotiated { local: link("fe80::1"), extended_next_hop, ..sample() };
        let told = |peer: &PeerConfig, family| {
            let profile = profile(&config, peer, &negotiated, family).unwrap();
            let text =
                |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
            [text(profile.own_next_hop), text(profile.own_link_local.map(IpAddr::V6))]
        };
        assert_eq!(told(&peer, Family::Ipv4Unicast), ["fe80::1", "fe80::1"]);
        assert_eq!(told(&peer, Family::Ipv6Unicast), ["fe80::1", "fe80::1"]);
        peer.local_next_hops.v6 = "2001:db8::1".parse().ok();
        assert_eq!(told(&peer, Family::Ipv6Unicast), ["2001:db8::1", "fe80::1"]);
    }

    #[test]
    fn peers_of_many_ases_are_told_alike_and_so_decided_and_encoded_for_once() {
        assert_eq!(told(Asn(2), false), told(Asn(3), false));
        assert_ne!(told(Asn(1), false), told(Asn(2), false), "one is of our own AS");
        assert_ne!(told(Asn(2), true), told(Asn(3), true), "each has its own AS overridden");
    }
}
