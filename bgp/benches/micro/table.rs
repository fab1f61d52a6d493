//! A table of routes that is the same in every run: what several peers of other ASes say of the same prefixes.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use caracal_bgp::policy::Policy;
use caracal_bgp::rib::{Attrs, Change, EgressProfile, Identity, Nlri, PeerFacts, PeerSlot, Rib, Source, V4};
use caracal_bgp::wire::Context;
use caracal_bgp::wire::attribute::{AsPath, AttributeSet, Community};
use caracal_bgp::wire::nlri::Ipv4Prefix;
use caracal_bgp::{Asn, Families, Multipath, NextHopMode, PeerKey};

/// The AS of the speaker that has the table.
const OWN: Asn = Asn(64512);

/// A table for one family, empty.
pub(crate) fn empty(now: Instant) -> Rib<V4> {
    let identity = Identity {
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        cluster_id: Ipv4Addr::new(10, 0, 0, 1),
        own: HashSet::new(),
        multipath: Multipath::default(),
    };
    Rib::new(now, identity, OWN)
}

/// Prefixes 0 to `count`: /24s, one beside the other.
pub(crate) fn prefixes(count: usize) -> Vec<Nlri<Ipv4Prefix>> {
    let numbered = |n: usize| Ipv4Prefix::new(Ipv4Addr::from_bits(0x0a00_0000 + ((n as u32) << 8)), 24);
    (0..count).filter_map(numbered).map(Nlri::from).collect()
}

/// The address of a peer.
pub(crate) fn address(peer: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc000_0200 + u32::from(peer))
}

/// A peer of another AS.
pub(crate) fn facts(peer: u16, import: Arc<Policy>) -> PeerFacts {
    PeerFacts {
        key: Some(PeerKey::from(IpAddr::from(address(peer)))),
        source: Source::Ebgp,
        router_id: address(peer).to_bits(),
        client: false,
        local_as: OWN,
        allow_own_as: 0,
        link: None,
        import,
    }
}

/// The attributes of one portion of the prefixes of one peer.
pub(crate) fn attributes(peer: u16, portion: usize) -> AttributeSet {
    let path = [65_000 + u32::from(peer), 1 + (portion % 1000) as u32, 7 + (portion / 1000) as u32];
    AttributeSet {
        as_path: AsPath::sequence(path.map(Asn)),
        communities: vec![Community::new(65_000, peer)],
        ..AttributeSet::default()
    }
}

/// A peer says all these prefixes, `sharing` of them by each set of attributes.
pub(crate) fn announce(
    rib: &mut Rib<V4>,
    now: Instant,
    peer: u16,
    prefixes: &[Nlri<Ipv4Prefix>],
    sharing: usize,
) {
    let next_hop = Some(IpAddr::from(address(peer)));
    for (portion, nlri) in prefixes.chunks(sharing).enumerate() {
        let set = attributes(peer, portion);
        rib.apply(now, Change::Announce(PeerSlot::new(peer), Attrs { set: &set, next_hop }, nlri));
    }
}

/// What peers of other ASes are told alike.
pub(crate) fn group() -> EgressProfile {
    EgressProfile {
        context: Context::new(Some(Asn(65_100)), Families::dual()).for_writing(),
        external: true,
        local_as: OWN,
        client: false,
        cluster_id: Ipv4Addr::LOCALHOST,
        next_hop: NextHopMode::Auto,
        own_next_hop: Some(IpAddr::from([198, 51, 100, 1])),
        own_link_local: None,
        paths: None,
        as_override: None,
        remove_private_as: false,
        long_lived: false,
        export: Arc::new(Policy::accept_all()),
    }
}
