//! A bundle as bytes, once for all the peers of a group.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::rib::{Audience, Bundle, EgressProfile, PeerSlot};
use crate::wire::attribute::{AttributeSet, NextHop};
use crate::wire::nlri::{Nlri, Prefix};
use crate::wire::route_refresh::{Kind, RouteRefresh};
use crate::wire::update;

/// Whole UPDATE messages with what they are about, so that who misses them can be told later.
#[derive(Debug)]
pub(super) struct Message<P> {
    /// For whom.
    pub(super) audience: Audience,
    /// It is part of the feed of members that have just come, and of use to nobody else.
    pub(super) feed: bool,
    /// The messages.
    pub(super) bytes: Bytes,
    /// Their prefixes, each with the identifier of its path.
    pub(super) prefixes: Vec<Nlri<P>>,
    /// It tells of no prefix but how far the telling has come.
    pub(super) mark: Option<Mark>,
}

/// A word on how far the telling has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The first table is complete (RFC 4724 §2).
    EndOfRib,
    /// Everything is told again from here on (RFC 7313 §4, BoRR).
    RefreshBegins,
    /// Everything has been told again (EoRR).
    RefreshEnds,
}

/// Octets that are allocated at once: a message is seldom longer than a hundred.
const BUFFER: usize = 16 << 10;

/// Where messages are written one behind the other, so that most of them allocate nothing.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// What is left of the buffer; each message has a share in it.
    rest: BytesMut,
}

impl Encoder {
    /// Encodes a bundle. Attributes that leave no room for a prefix make it a withdrawal: the peers must not go on using
    /// what they were told before.
    pub(super) fn encode<P: Prefix>(&mut self, profile: &EgressProfile, bundle: Bundle<P>) -> Message<P> {
        if self.rest.capacity() == 0 {
            self.rest = BytesMut::with_capacity(BUFFER);
        }
        let Bundle { audience, attributes, prefixes } = bundle;
        write(profile, attributes.as_ref(), &prefixes, &mut self.rest);
        Message { audience, feed: false, bytes: self.rest.split().freeze(), prefixes, mark: None }
    }
}

fn write<P: Prefix>(
    profile: &EgressProfile,
    attributes: Option<&(Arc<AttributeSet>, IpAddr)>,
    prefixes: &[Nlri<P>],
    out: &mut BytesMut,
) {
    let context = &profile.context;
    match attributes {
        None => update::withdraw(prefixes, context, out),
        Some((set, next_hop)) => {
            // Beside our own global address stands the one that the peer has on its link (RFC 2545 §3).
            let own = profile.own_next_hop == Some(*next_hop) && next_hop.is_ipv6();
            let beside =
                profile.own_link_local.filter(|link_local| own && IpAddr::V6(*link_local) != *next_hop);
            let next_hop = NextHop { address: *next_hop, link_local: beside };
            if let Err(error) = update::announce(set, &next_hop, prefixes, context, out) {
                tracing::warn!(%error, prefixes = prefixes.len(), "routes are withdrawn instead of announced");
                update::withdraw(prefixes, context, out);
            }
        }
    }
}

/// A mark for one peer.
pub(super) fn marked<P: Prefix>(mark: Mark, slot: PeerSlot) -> Message<P> {
    let mut out = BytesMut::new();
    match mark {
        Mark::EndOfRib => update::end_of_rib(P::FAMILY, &mut out),
        Mark::RefreshBegins => RouteRefresh::new(Kind::Begin, P::FAMILY).encode(&mut out),
        Mark::RefreshEnds => RouteRefresh::new(Kind::End, P::FAMILY).encode(&mut out),
    }
    let (audience, bytes) = (Audience::Only(slot), out.freeze());
    Message { audience, feed: false, bytes, prefixes: Vec::new(), mark: Some(mark) }
}
