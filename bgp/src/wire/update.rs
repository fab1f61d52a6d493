//! The UPDATE message (RFC 4271 §4.3, RFC 4760), revised error handling (RFC 7606) included.
//!
//! Both encodings of IPv4 unicast are read, whatever was negotiated, since old speakers offer one and send the other.
//! Written is always the classic one, for IPv6 the multiprotocol one.

mod encode;
#[cfg(test)]
mod vectors;

pub use encode::{TooBig, announce, end_of_rib, withdraw};

use smallvec::{SmallVec, smallvec};

use super::Context;
use super::attribute::{self, AttributeSet, Draft, NextHop};
use super::code_points::attribute as code;
use super::error::{Disposition, Error, Fault, Section};
use super::nlri::{self, Ipv4Prefix, Ipv6Prefix};
use super::reader::Reader;

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
pub struct Routes<P> {
    /// To be applied before the announcements (a prefix in both is announced, RFC 4271 §4.3).
    pub withdrawn: Vec<P>,
    /// By next hop: more than one only where the message uses both encodings of IPv4.
    pub announced: SmallVec<[Reach<P>; 1]>,
    /// This is the End-of-RIB marker (RFC 4724 §2).
    pub end_of_rib: bool,
}

/// Prefixes reachable by one next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach<P> {
    /// Where packets go.
    pub next_hop: NextHop,
    /// The prefixes.
    pub prefixes: Vec<P>,
}

impl<P> Default for Routes<P> {
    fn default() -> Self {
        Routes { withdrawn: Vec::new(), announced: SmallVec::new(), end_of_rib: false }
    }
}

impl<P> Routes<P> {
    /// Whether the message says nothing of this family.
    pub fn is_empty(&self) -> bool {
        self.withdrawn.is_empty() && self.announced.is_empty() && !self.end_of_rib
    }

    /// Adds announced prefixes, or takes them back if the message is to be treated as a withdrawal of them.
    fn announce(&mut self, reach: Reach<P>, usable: bool) {
        if reach.prefixes.is_empty() {
            return;
        }
        if usable {
            self.announced.push(reach);
        } else {
            self.withdrawn.extend(reach.prefixes);
        }
    }
}

/// The prefixes of a multiprotocol attribute.
#[derive(Debug)]
pub(super) enum Prefixes {
    Ipv4(Vec<Ipv4Prefix>),
    Ipv6(Vec<Ipv6Prefix>),
}

impl Prefixes {
    fn is_empty(&self) -> bool {
        match self {
            Prefixes::Ipv4(prefixes) => prefixes.is_empty(),
            Prefixes::Ipv6(prefixes) => prefixes.is_empty(),
        }
    }
}

/// What MP_REACH_NLRI says.
#[derive(Debug)]
pub(super) struct MpReach {
    pub(super) next_hop: NextHop,
    pub(super) prefixes: Prefixes,
}

/// What MP_UNREACH_NLRI says.
#[derive(Debug)]
pub(super) struct MpUnreach {
    pub(super) prefixes: Prefixes,
}

/// Reads the body of an UPDATE. An `Err` costs the session; lesser faults have already had their effect and are
/// listed in the result.
pub fn decode(body: &[u8], context: &Context) -> Result<Update, Error> {
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
    let withdrawn = nlri::decode_all(&mut withdrawn)?;
    let announced = nlri::decode_all(&mut prefixes)?;
    let (mut draft, mut faults) = (Draft::default(), SmallVec::new());
    attribute::decode_all(&mut list, context, &mut draft, &mut faults)?;
    merge_two_octets(&mut draft, context);
    check(&draft, &announced, &mut faults);

    let worst = faults.iter().map(Error::disposition).max();
    let reachable =
        !announced.is_empty() || draft.mp_reach.as_ref().is_some_and(|mp| !mp.prefixes.is_empty());
    let usable = worst.is_none_or(|worst| worst < Disposition::TreatAsWithdraw);
    if !usable && !reachable && draft.announces() {
        // RFC 7606 §5.2: the fault may have hidden the very prefixes that should be withdrawn.
        let first = faults.into_iter().find(|fault| fault.disposition() == Disposition::TreatAsWithdraw);
        let mut first = first.unwrap_or_else(|| reader.error(Fault::NoPrefixes));
        first.section = Section::Attributes;
        first.fault = Fault::NoPrefixes;
        return Err(first);
    }
    let mut update = assemble(draft, withdrawn, announced, usable);
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
fn merge_two_octets(draft: &mut Draft, context: &Context) {
    if context.four_octet {
        return;
    }
    let transit = draft.as4_aggregator.take();
    if let Some(aggregator) = &mut draft.set.aggregator {
        // Whoever aggregated without knowing four octets did so last: the older information is void.
        if aggregator.asn != crate::config::Asn::TRANS {
            return;
        }
        if let Some(true_one) = transit {
            *aggregator = true_one;
        }
    }
    if let Some(as4) = draft.as4_path.take() {
        let path = std::mem::take(&mut draft.set.as_path);
        draft.set.as_path = attribute::as_path::merge(path, as4);
    }
}

/// What must be there if prefixes are announced (RFC 4271 §5, RFC 7606 §3 d), and whether its next hops can be used.
fn check(draft: &Draft, announced: &[Ipv4Prefix], faults: &mut SmallVec<[Error; 1]>) {
    let mut fault = |code, fault| faults.push(Error { section: Section::Attribute(code), offset: 0, fault });
    if announced.is_empty() && draft.mp_reach.is_none() {
        return;
    }
    for code in [code::ORIGIN, code::AS_PATH] {
        if !draft.has_seen(code) {
            fault(code, Fault::Missing);
        }
    }
    if !announced.is_empty() {
        let next_hop = draft.next_hop.map(|address| NextHop::from(std::net::IpAddr::from(address)));
        match next_hop.map(|next_hop| next_hop.check()) {
            None if draft.has_seen(code::NEXT_HOP) => (),
            None => fault(code::NEXT_HOP, Fault::Missing),
            Some(Err(impossible)) => fault(code::NEXT_HOP, impossible),
            Some(Ok(())) => (),
        }
    }
    if let Some(Err(impossible)) = draft.mp_reach.as_ref().map(|mp| mp.next_hop.check()) {
        fault(code::MP_REACH, impossible);
    }
}

fn assemble(draft: Draft, withdrawn: Vec<Ipv4Prefix>, announced: Vec<Ipv4Prefix>, usable: bool) -> Update {
    let alone = !draft.announces() && withdrawn.is_empty() && announced.is_empty();
    let mut update = Update::default();
    update.ipv4.withdrawn = withdrawn;
    match draft.mp_unreach.map(|mp| mp.prefixes) {
        // An MP_UNREACH_NLRI without prefixes and without company marks the end (RFC 4724 §2).
        Some(Prefixes::Ipv4(prefixes)) => {
            update.ipv4.end_of_rib = alone && prefixes.is_empty();
            update.ipv4.withdrawn.extend(prefixes);
        }
        Some(Prefixes::Ipv6(prefixes)) => {
            update.ipv6.end_of_rib = alone && prefixes.is_empty();
            update.ipv6.withdrawn.extend(prefixes);
        }
        None => (),
    }
    // Without NEXT_HOP the message is not usable, and the address does not matter.
    let next_hop = draft.next_hop.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
    let next_hop = NextHop::from(std::net::IpAddr::from(next_hop));
    update.ipv4.announce(Reach { next_hop, prefixes: announced }, usable);
    match draft.mp_reach {
        Some(MpReach { next_hop, prefixes: Prefixes::Ipv4(prefixes) }) => {
            update.ipv4.announce(Reach { next_hop, prefixes }, usable);
        }
        Some(MpReach { next_hop, prefixes: Prefixes::Ipv6(prefixes) }) => {
            update.ipv6.announce(Reach { next_hop, prefixes }, usable);
        }
        None => (),
    }
    let announces = !update.ipv4.announced.is_empty() || !update.ipv6.announced.is_empty();
    update.attributes = announces.then_some(draft.set);
    update
}

impl<P> From<Reach<P>> for Routes<P> {
    fn from(reach: Reach<P>) -> Self {
        Routes { announced: smallvec![reach], ..Routes::default() }
    }
}
