//! Writing UPDATEs: as many prefixes a message as fit beside one set of attributes.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

use super::super::attribute::{self, AttributeSet, NextHop, Outgoing};
use super::super::code_points::{attribute as code, message};
use super::super::nlri::{self, Nlri, Prefix};
use super::super::{Context, header};
use crate::config::Family;

/// Routes that cannot be announced on this session. They must be withdrawn instead, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unannounceable {
    /// The attributes leave no room for a single prefix.
    #[error(
        "writing an UPDATE: {attributes} octets of attributes leave no room for a prefix in {limit}: shorten them"
    )]
    TooBig {
        /// The octets of the attributes.
        attributes: usize,
        /// The octets a message may have.
        limit: usize,
    },
    /// IPv4 prefixes by an IPv6 next hop need an agreement with the peer (RFC 8950).
    #[error(
        "writing an UPDATE: {family} prefixes have the next hop {next_hop}, and the peer did not agree to next hops \
         of the other family (RFC 8950): give them an own next hop of theirs, or enable extended next hops at both ends"
    )]
    NextHopFamily {
        /// Of the prefixes.
        family: Family,
        /// Of the other family.
        next_hop: IpAddr,
    },
}

/// How one message of a family is built around its prefixes.
enum Shape<'a> {
    /// IPv4: prefixes at the end of the message.
    Classic,
    /// Any family: prefixes inside an attribute, before the others.
    Multiprotocol { family: Family, next_hop: &'a NextHop },
}

/// Appends messages that announce `prefixes`, with their path identifiers where the session has them. On `Err`
/// nothing was written.
pub fn announce<P: Prefix>(
    set: &AttributeSet,
    next_hop: &NextHop,
    prefixes: &[Nlri<P>],
    context: &Context,
    out: &mut BytesMut,
) -> Result<(), Unannounceable> {
    let path_ids = context.add_path_send.contains(P::FAMILY);
    let (shape, classic) = match (P::FAMILY, next_hop.address) {
        (Family::Ipv4Unicast, IpAddr::V4(address)) => (Shape::Classic, Some(address)),
        (Family::Ipv4Unicast, IpAddr::V6(_)) if !context.extended_next_hop.contains(Family::Ipv4Unicast) => {
            let next_hop = next_hop.address;
            return Err(Unannounceable::NextHopFamily { family: Family::Ipv4Unicast, next_hop });
        }
        (family, _) => (Shape::Multiprotocol { family, next_hop }, None),
    };
    let mut list = BytesMut::with_capacity(128);
    attribute::encode_all(&Outgoing { set, next_hop: classic, context }, &mut list);
    // Header, two lengths; for MP_REACH_NLRI its head of 4, family and next hop of 4 + 32, reserved.
    let fixed = header::LENGTH + 4 + list.len() + if classic.is_some() { 0 } else { 4 + 4 + 32 + 1 };
    let longest = if path_ids { 5 } else { 1 } + usize::from(P::MAX_LENGTH).div_ceil(8);
    let limit = context.max_message;
    let Some(room) = limit.checked_sub(fixed).filter(|room| *room >= longest) else {
        return Err(Unannounceable::TooBig { attributes: list.len(), limit });
    };
    for part in Parts::new(prefixes, room, path_ids) {
        let start = header::begin(out, message::UPDATE);
        out.put_u32(0);
        let begin = out.len();
        if let Shape::Multiprotocol { family, next_hop } = &shape {
            attribute::put(code::MP_REACH, out, |out| put_reach(*family, next_hop, (part, path_ids), out));
        }
        out.put_slice(&list);
        let length = out.len() - begin;
        header::put_length(out, begin - 2, length);
        if classic.is_some() {
            part.iter().for_each(|nlri| nlri::encode(*nlri, path_ids, out));
        }
        header::finish(out, start);
    }
    Ok(())
}

fn put_reach<P: Prefix>(
    family: Family,
    next_hop: &NextHop,
    (prefixes, path_ids): (&[Nlri<P>], bool),
    out: &mut BytesMut,
) {
    let (afi, safi) = family.code();
    out.put_u16(afi);
    out.put_u8(safi);
    match (next_hop.address, next_hop.link_local) {
        (IpAddr::V4(address), _) => {
            // IPv6 prefixes by an IPv4 next hop travel with the mapped address (RFC 4798 §2).
            match family {
                Family::Ipv4Unicast => {
                    out.put_u8(4);
                    out.put_slice(&address.octets());
                }
                Family::Ipv6Unicast => {
                    out.put_u8(16);
                    out.put_slice(&address.to_ipv6_mapped().octets());
                }
            }
        }
        (IpAddr::V6(address), None) => {
            out.put_u8(16);
            out.put_slice(&address.octets());
        }
        (IpAddr::V6(address), Some(link_local)) => {
            out.put_u8(32);
            out.put_slice(&address.octets());
            out.put_slice(&link_local.octets());
        }
    }
    out.put_u8(0);
    prefixes.iter().for_each(|nlri| nlri::encode(*nlri, path_ids, out));
}

/// Appends messages that withdraw `prefixes`.
pub fn withdraw<P: Prefix>(prefixes: &[Nlri<P>], context: &Context, out: &mut BytesMut) {
    let path_ids = context.add_path_send.contains(P::FAMILY);
    let multiprotocol = match P::FAMILY {
        Family::Ipv4Unicast => None,
        Family::Ipv6Unicast => Some(P::FAMILY),
    };
    let room = context.max_message.saturating_sub(header::LENGTH + 4 + 4 + 3);
    for part in Parts::new(prefixes, room, path_ids) {
        let start = header::begin(out, message::UPDATE);
        let put_part = |out: &mut BytesMut| part.iter().for_each(|nlri| nlri::encode(*nlri, path_ids, out));
        let begin = out.len();
        match multiprotocol {
            None => {
                out.put_u16(0);
                put_part(out);
                let length = out.len() - begin - 2;
                header::put_length(out, begin, length);
                out.put_u16(0);
            }
            Some(family) => {
                out.put_u32(0);
                put_unreach(family, out, put_part);
                let length = out.len() - begin - 4;
                header::put_length(out, begin + 2, length);
            }
        }
        header::finish(out, start);
    }
}

fn put_unreach(family: Family, out: &mut BytesMut, prefixes: impl FnOnce(&mut BytesMut)) {
    let (afi, safi) = family.code();
    attribute::put(code::MP_UNREACH, out, |out| {
        out.put_u16(afi);
        out.put_u8(safi);
        prefixes(out);
    });
}

/// Appends the End-of-RIB marker of a family (RFC 4724 §2).
pub fn end_of_rib(family: Family, out: &mut BytesMut) {
    let start = header::begin(out, message::UPDATE);
    out.put_u32(0);
    match family {
        Family::Ipv4Unicast => (),
        Family::Ipv6Unicast => {
            let begin = out.len();
            put_unreach(family, out, |_| ());
            let length = out.len() - begin;
            header::put_length(out, begin - 2, length);
        }
    }
    header::finish(out, start);
}

/// Cuts prefixes into runs whose encoding fits in `room` octets.
struct Parts<'a, P> {
    rest: &'a [Nlri<P>],
    room: usize,
    path_ids: bool,
}

impl<'a, P> Parts<'a, P> {
    fn new(rest: &'a [Nlri<P>], room: usize, path_ids: bool) -> Self {
        Parts { rest, room, path_ids }
    }
}

impl<'a, P: Prefix> Iterator for Parts<'a, P> {
    type Item = &'a [Nlri<P>];

    fn next(&mut self) -> Option<&'a [Nlri<P>]> {
        let mut used = 0;
        let fits = |nlri: &&Nlri<P>| {
            used += nlri::encoded_length(nlri.prefix, self.path_ids);
            used <= self.room
        };
        let count = self.rest.iter().take_while(fits).count();
        // A caller leaves room for at least one, so that this cannot go on for ever.
        let (part, rest) = self.rest.split_at_checked(count).filter(|(part, _)| !part.is_empty())?;
        self.rest = rest;
        Some(part)
    }
}
