//! Writing UPDATEs: as many prefixes a message as fit beside one set of attributes.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

use super::super::attribute::{self, AttributeSet, NextHop, Outgoing};
use super::super::code_points::{attribute as code, message};
use super::super::nlri::{self, Prefix};
use super::super::{Context, header};
use crate::config::Family;

/// The attributes leave no room for a single prefix. Such routes must be withdrawn instead, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "writing an UPDATE: {attributes} octets of attributes leave no room for a prefix in {limit}: shorten them"
)]
pub struct TooBig {
    /// The octets of the attributes.
    pub attributes: usize,
    /// The octets a message may have.
    pub limit: usize,
}

/// How one message of a family is built around its prefixes.
enum Shape<'a> {
    /// IPv4: prefixes at the end of the message.
    Classic,
    /// Any family: prefixes inside an attribute, before the others.
    Multiprotocol { family: Family, next_hop: &'a NextHop },
}

/// Appends messages that announce `prefixes`. On `Err` nothing was written.
pub fn announce<P: Prefix>(
    set: &AttributeSet,
    next_hop: &NextHop,
    prefixes: &[P],
    context: &Context,
    out: &mut BytesMut,
) -> Result<(), TooBig> {
    let (shape, classic) = match (P::FAMILY, next_hop.address) {
        (Family::Ipv4Unicast, IpAddr::V4(address)) => (Shape::Classic, Some(address)),
        (family, _) => (Shape::Multiprotocol { family, next_hop }, None),
    };
    let mut list = BytesMut::with_capacity(128);
    attribute::encode_all(&Outgoing { set, next_hop: classic, context }, &mut list);
    // Header, two lengths; for MP_REACH_NLRI its head of 4, family and next hop of 4 + 32, reserved.
    let fixed = header::LENGTH + 4 + list.len() + if classic.is_some() { 0 } else { 4 + 4 + 32 + 1 };
    let longest = 1 + usize::from(P::MAX_LENGTH).div_ceil(8);
    let limit = context.max_message;
    let Some(room) = limit.checked_sub(fixed).filter(|room| *room >= longest) else {
        return Err(TooBig { attributes: list.len(), limit });
    };
    for part in Parts::new(prefixes, room) {
        let start = header::begin(out, message::UPDATE);
        out.put_u32(0);
        let begin = out.len();
        if let Shape::Multiprotocol { family, next_hop } = &shape {
            attribute::put(code::MP_REACH, out, |out| put_reach(*family, next_hop, part, out));
        }
        out.put_slice(&list);
        let length = out.len() - begin;
        header::put_length(out, begin - 2, length);
        if classic.is_some() {
            part.iter().for_each(|prefix| nlri::encode(*prefix, out));
        }
        header::finish(out, start);
    }
    Ok(())
}

fn put_reach<P: Prefix>(family: Family, next_hop: &NextHop, prefixes: &[P], out: &mut BytesMut) {
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
    prefixes.iter().for_each(|prefix| nlri::encode(*prefix, out));
}

/// Appends messages that withdraw `prefixes`.
pub fn withdraw<P: Prefix>(prefixes: &[P], context: &Context, out: &mut BytesMut) {
    let multiprotocol = match P::FAMILY {
        Family::Ipv4Unicast => None,
        Family::Ipv6Unicast => Some(P::FAMILY),
    };
    let room = context.max_message.saturating_sub(header::LENGTH + 4 + 4 + 3);
    for part in Parts::new(prefixes, room) {
        let start = header::begin(out, message::UPDATE);
        let put_part = |out: &mut BytesMut| part.iter().for_each(|prefix| nlri::encode(*prefix, out));
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
    rest: &'a [P],
    room: usize,
}

impl<'a, P> Parts<'a, P> {
    fn new(rest: &'a [P], room: usize) -> Self {
        Parts { rest, room }
    }
}

impl<'a, P: Prefix> Iterator for Parts<'a, P> {
    type Item = &'a [P];

    fn next(&mut self) -> Option<&'a [P]> {
        let mut used = 0;
        let fits = |prefix: &&P| {
            used += nlri::encoded_length(**prefix);
            used <= self.room
        };
        let count = self.rest.iter().take_while(fits).count();
        // A caller leaves room for at least one, so that this cannot go on for ever.
        let (part, rest) = self.rest.split_at_checked(count).filter(|(part, _)| !part.is_empty())?;
        self.rest = rest;
        Some(part)
    }
}
