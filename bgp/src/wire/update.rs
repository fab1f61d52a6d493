//! The UPDATE message (RFC 4271 §4.3, RFC 4760), revised error handling (RFC 7606) included.
//!
//! Both encodings of IPv4 unicast are read, whatever was negotiated, since old speakers offer one and send the other.
//! Written is the classic one, but for IPv6 and for IPv6 next hops (RFC 8950), which only the multiprotocol one has.

mod encode;
#[cfg(test)]
mod vectors;

pub use encode::{Unannounceable, announce, end_of_rib, withdraw};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::Context;
use super::attribute::{self, AttributeSet, Draft, NextHop};
use super::code_points::attribute as code;
use super::error::{Disposition, Error, Fault, Section};
use super::nlri::{Field, Ipv4Prefix, Ipv6Prefix, NlriList, Prefix};
use super::reader::Reader;
use crate::config::{Asn, Family};

/// A decoded UPDATE, the two encodings of IPv4 unicast already made one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The attributes of everything announced; absent if nothing is.
    pub attributes: Option<AttributeSet>,
    /// What concerns IPv4 unicast.
    pub ipv4: Routes<Ipv4Prefix>,
    /// What concerns IPv6 unicast.
    pub ipv6: Routes<Ipv6Prefix>,
    /// Faults that did not cost the session, for the log and the counters.
    pub faults: SmallVec<[Error; 1]>,
}

/// What an UPDATE says of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes<P: Prefix> {
    /// To be applied before the announcements (a prefix in both is announced, RFC 4271 §4.3).
    pub withdrawn: NlriList<P>,
    /// By next hop: more than one only where the message uses both encodings of IPv4.
    pub announced: SmallVec<[Reach<P>; 1]>,
    /// This is the End-of-RIB marker (RFC 4724 §2).
    pub end_of_rib: bool,
}

/// Prefixes reachable by one next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach<P: Prefix> {
    /// Where packets go.
    pub next_hop: NextHop,
    /// The prefixes.
    pub prefixes: NlriList<P>,
}

impl<P: Prefix> Default for Routes<P> {
    fn default() -> Self {
        Routes { withdrawn: NlriList::default(), announced: SmallVec::new(), end_of_rib: false }
    }
}

impl<P: Prefix> Routes<P> {
    /// Whether the message says nothing of this family.
    pub fn is_empty(&self) -> bool {
        self.withdrawn.is_empty() && self.announced.is_empty() && !self.end_of_rib
    }

    /// Adds announced prefixes, or takes them back if the message is to be treated as a withdrawal of them.
    fn announce(&mut self, body: &Bytes, next_hop: NextHop, prefixes: Field<'_>, usable: bool) {
        if prefixes.count == 0 {
            return;
        }
        if usable {
            self.announced.push(Reach { next_hop, prefixes: NlriList::of(body, prefixes) });
        } else {
            self.withdrawn.add(body, prefixes);
        }
    }
}

/// What MP_REACH_NLRI says.
#[derive(Debug)]
pub(super) struct MpReach<'a> {
    pub(super) family: Family,
    pub(super) next_hop: NextHop,
    pub(super) prefixes: Field<'a>,
}

/// What MP_UNREACH_NLRI says.
#[derive(Debug)]
pub(super) struct MpUnreach<'a> {
    pub(super) family: Family,
    pub(super) prefixes: Field<'a>,
}

/// Reads the body of an UPDATE. An `Err` costs the session; lesser faults have already had their effect and are
/// listed in the result. The prefixes found stay where they are: the result shares `body`.
pub fn decode(body: &Bytes, context: &Context) -> Result<Update, Error> {
    let mut reader = Reader::new(Section::Attributes, 0, body);
    let structure = |mut error: Error| {
        // Lengths that contradict the message's length leave nothing to hold on to (RFC 4271 §6.3).
        error.fault = Fault::AttributeLength(body.len());
        error
    };
    let mut withdrawn = field(&mut reader, Section::Withdrawn).map_err(structure)?;
    let mut list = field(&mut reader, Section::Attributes).map_err(structure)?;
    let mut prefixes = Reader::new(Section::Nlri, reader.offset(), reader.rest());

    let marker = withdrawn.is_empty() && list.is_empty() && prefixes.is_empty();
    let path_ids = context.add_path_receive.contains(Family::Ipv4Unicast);
    let withdrawn = Field::read::<Ipv4Prefix>(&mut withdrawn, path_ids)?;
    let announced = Field::read::<Ipv4Prefix>(&mut prefixes, path_ids)?;
    let (mut draft, mut faults) = (Draft::default(), SmallVec::new());
    attribute::decode_all(&mut list, context, &mut draft, &mut faults)?;
    merge_two_octets(&mut draft, context);
    check(&draft, announced, context, &mut faults);

    let worst = faults.iter().map(Error::disposition).max();
    // Prefixes of a family that was not negotiated were found, too, and passed over.
    let passed_over = draft.seen.contains(code::MP_REACH) && draft.mp_reach.is_none();
    let reachable = announced.count > 0
        || passed_over
        || draft.mp_reach.as_ref().is_some_and(|reach| reach.prefixes.count > 0);
    let usable = worst.is_none_or(|worst| worst < Disposition::TreatAsWithdraw);
    if !usable && !reachable && draft.announces() {
        // RFC 7606 §5.2: the fault may have hidden the very prefixes that should be withdrawn.
        let first = faults.into_iter().find(|fault| fault.disposition() == Disposition::TreatAsWithdraw);
        let mut first = first.unwrap_or_else(|| reader.error(Fault::NoPrefixes));
        first.section = Section::Attributes;
        first.fault = Fault::NoPrefixes;
        return Err(first);
    }
    let mut update = assemble(body, draft, [withdrawn, announced], usable);
    update.ipv4.end_of_rib |= marker;
    update.faults = faults;
    Ok(update)
}

/// The next section, behind its length.
fn field<'a>(reader: &mut Reader<'a>, section: Section) -> Result<Reader<'a>, Error> {
    let length = usize::from(reader.u16()?);
    reader.section(section, length)
}

/// RFC 6793 §4.2.3: what a peer that knows only two octets passed on of those who know four.
fn merge_two_octets(draft: &mut Draft<'_>, context: &Context) {
    if context.four_octet {
        return;
    }
    match (&mut draft.set.aggregator, draft.as4_aggregator.take()) {
        // Whoever aggregated last did not know four octets: what was said before is void.
        (Some(aggregator), Some(_)) if aggregator.asn != Asn::TRANS => return,
        (Some(aggregator), Some(true_one)) => *aggregator = true_one,
        (Some(_) | None, None) | (None, Some(_)) => (),
    }
    if let Some(as4) = draft.as4_path.take() {
        let path = std::mem::take(&mut draft.set.as_path);
        draft.set.as_path = attribute::as_path::merge(path, as4);
    }
}

/// What must be there if prefixes are announced (RFC 4271 §5, RFC 7606 §3 d), and whether its next hops can be used.
fn check(draft: &Draft<'_>, announced: Field<'_>, context: &Context, faults: &mut SmallVec<[Error; 1]>) {
    let mut fault_at =
        |code, offset, fault| faults.push(Error { section: Section::Attribute(code), offset, fault });
    let reach = draft.mp_reach.as_ref().filter(|reach| reach.prefixes.count > 0);
    if announced.count == 0 && reach.is_none() {
        return;
    }
    for code in [code::ORIGIN, code::AS_PATH] {
        if !draft.seen.contains(code) {
            fault_at(code, 0, Fault::Missing);
        }
    }
    // Whoever is outside must have put itself first (RFC 4271 §6.3), in what RFC 6793 makes of the path, too.
    if let (Some(peer), Some(at)) =
        (context.external_peer.filter(|_| context.enforce_first_as), draft.as_path_at)
        && draft.set.as_path.neighbour() != Some(peer)
    {
        fault_at(code::AS_PATH, at, Fault::FirstAs(peer.0));
    }
    let mut fault = |code, fault| fault_at(code, 0, fault);
    if announced.count > 0 {
        let next_hop = draft.next_hop.map(|address| NextHop::from(std::net::IpAddr::from(address)));
        match next_hop.map(|next_hop| next_hop.check()) {
            None if draft.seen.contains(code::NEXT_HOP) => (),
            None => fault(code::NEXT_HOP, Fault::Missing),
            Some(Err(impossible)) => fault(code::NEXT_HOP, impossible),
            Some(Ok(())) => (),
        }
    }
    if let Some(Err(impossible)) = reach.map(|reach| reach.next_hop.check()) {
        fault(code::MP_REACH, impossible);
    }
}

fn assemble(body: &Bytes, draft: Draft<'_>, [withdrawn, announced]: [Field<'_>; 2], usable: bool) -> Update {
    let alone = !draft.announces() && withdrawn.count == 0 && announced.count == 0;
    let mut update = Update::default();
    update.ipv4.withdrawn.add(body, withdrawn);
    if let Some(MpUnreach { family, prefixes }) = draft.mp_unreach {
        // An MP_UNREACH_NLRI without prefixes and without company marks the end (RFC 4724 §2).
        let end = alone && prefixes.count == 0;
        match family {
            Family::Ipv4Unicast => {
                update.ipv4.withdrawn.add(body, prefixes);
                update.ipv4.end_of_rib = end;
            }
            Family::Ipv6Unicast => {
                update.ipv6.withdrawn.add(body, prefixes);
                update.ipv6.end_of_rib = end;
            }
        }
    }
    // Without NEXT_HOP the message is not usable, and the address does not matter.
    let next_hop = draft.next_hop.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
    let next_hop = NextHop::from(std::net::IpAddr::from(next_hop));
    update.ipv4.announce(body, next_hop, announced, usable);
    if let Some(MpReach { family, next_hop, prefixes }) = draft.mp_reach {
        match family {
            Family::Ipv4Unicast => update.ipv4.announce(body, next_hop, prefixes, usable),
            Family::Ipv6Unicast => update.ipv6.announce(body, next_hop, prefixes, usable),
        }
    }
    let announces = !update.ipv4.announced.is_empty() || !update.ipv6.announced.is_empty();
    update.attributes = announces.then_some(draft.set);
    update
}

impl<P: Prefix> From<Reach<P>> for Routes<P> {
    fn from(reach: Reach<P>) -> Self {
        Routes { announced: smallvec![reach], ..Routes::default() }
    }
}
