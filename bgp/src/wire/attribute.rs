//! Path attributes (RFC 4271 §4.3, §5): one file an attribute, one table of them.

pub mod aggregator;
pub mod as_path;
mod atomic_aggregate;
pub mod cluster_list;
pub mod communities;
pub mod extended_communities;
pub mod large_communities;
mod local_pref;
mod med;
mod mp_reach;
mod mp_unreach;
pub mod next_hop;
pub mod opaque;
pub mod origin;
mod originator_id;

pub use aggregator::Aggregator;
pub use as_path::{AsPath, Segment, SegmentKind};
pub use cluster_list::ClusterList;
pub use communities::Community;
pub use extended_communities::ExtendedCommunity;
pub use large_communities::LargeCommunity;
pub use next_hop::NextHop;
pub use opaque::Opaque;
pub use origin::Origin;

use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::Context;
use super::code_points::attribute as code;
use super::error::{Disposition, Error, Fault, Section};
use super::header;
use super::reader::Reader;
use super::update::MpReach;

/// The attributes of a path, without its next hop: next hops differ by peer and by encoding, all else is shared by
/// many paths. Owned, comparable and hashable, so that equal sets are stored once.
///
/// Lists whose order says nothing (communities, unknown attributes) are sorted and without repetition, so that
/// equal meaning is equal value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttributeSet {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, four octets an AS.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<Community>,
    /// EXTENDED COMMUNITIES (RFC 4360).
    pub extended_communities: Vec<ExtendedCommunity>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456).
    pub cluster_list: ClusterList,
    /// Optional transitive attributes this speaker does not know, to be passed on (RFC 4271 §5).
    pub unknown: Vec<Opaque>,
}

/// Flag: not well-known.
pub const OPTIONAL: u8 = 0x80;
/// Flag: passed on by those that do not know it.
pub const TRANSITIVE: u8 = 0x40;
/// Flag: somebody on the way did not know it.
pub const PARTIAL: u8 = 0x20;
/// Flag: the length has two octets.
pub const EXTENDED_LENGTH: u8 = 0x10;

/// What the attributes of one UPDATE have said so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) set: AttributeSet,
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) mp_reach: Option<MpReach>,
    pub(super) mp_unreach: Option<super::update::MpUnreach>,
    pub(super) as4_path: Option<AsPath>,
    pub(super) as4_aggregator: Option<Aggregator>,
    seen: [u64; 4],
}

impl Draft {
    pub(super) fn has_seen(&self, code: u8) -> bool {
        self.seen.get(usize::from(code >> 6)).is_some_and(|word| word >> (code & 63) & 1 == 1)
    }

    fn see(&mut self, code: u8) {
        if let Some(word) = self.seen.get_mut(usize::from(code >> 6)) {
            *word |= 1 << (code & 63);
        }
    }

    /// Whether any attribute but MP_UNREACH_NLRI has come.
    pub(super) fn announces(&self) -> bool {
        let mut others = Draft { seen: self.seen, ..Draft::default() };
        if let Some(word) = others.seen.get_mut(0) {
            *word &= !(1 << code::MP_UNREACH);
        }
        others.seen != [0; 4]
    }
}

type Decode = fn(&mut Reader<'_>, &Context, &mut Draft) -> Result<(), Error>;
type Encode = fn(&Outgoing<'_>, &mut BytesMut);

/// What is encoded into one attribute list.
pub(super) struct Outgoing<'a> {
    pub(super) set: &'a AttributeSet,
    /// For NEXT_HOP; absent where MP_REACH_NLRI carries the prefixes.
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) context: &'a Context,
}

/// One row: all this speaker knows of an attribute.
struct Row {
    code: u8,
    name: &'static str,
    /// Optional and Transitive as they must be.
    flags: u8,
    decode: Decode,
    encode: Encode,
}

/// Every attribute known, by type. MP_REACH_NLRI and MP_UNREACH_NLRI are written by [`super::update`], before all
/// others (RFC 7606 §5.1).
const TABLE: [Row; 16] = [
    Row {
        code: code::ORIGIN,
        name: "ORIGIN",
        flags: TRANSITIVE,
        decode: origin::decode,
        encode: origin::encode,
    },
    Row {
        code: code::AS_PATH,
        name: "AS_PATH",
        flags: TRANSITIVE,
        decode: as_path::decode,
        encode: as_path::encode,
    },
    Row {
        code: code::NEXT_HOP,
        name: "NEXT_HOP",
        flags: TRANSITIVE,
        decode: next_hop::decode,
        encode: next_hop::encode,
    },
    Row {
        code: code::MED,
        name: "MULTI_EXIT_DISC",
        flags: OPTIONAL,
        decode: med::decode,
        encode: med::encode,
    },
    Row {
        code: code::LOCAL_PREF,
        name: "LOCAL_PREF",
        flags: TRANSITIVE,
        decode: local_pref::decode,
        encode: local_pref::encode,
    },
    Row {
        code: code::ATOMIC_AGGREGATE,
        name: "ATOMIC_AGGREGATE",
        flags: TRANSITIVE,
        decode: atomic_aggregate::decode,
        encode: atomic_aggregate::encode,
    },
    Row {
        code: code::AGGREGATOR,
        name: "AGGREGATOR",
        flags: OPTIONAL | TRANSITIVE,
        decode: aggregator::decode,
        encode: aggregator::encode,
    },
    Row {
        code: code::COMMUNITIES,
        name: "COMMUNITIES",
        flags: OPTIONAL | TRANSITIVE,
        decode: communities::decode,
        encode: communities::encode,
    },
    Row {
        code: code::ORIGINATOR_ID,
        name: "ORIGINATOR_ID",
        flags: OPTIONAL,
        decode: originator_id::decode,
        encode: originator_id::encode,
    },
    Row {
        code: code::CLUSTER_LIST,
        name: "CLUSTER_LIST",
        flags: OPTIONAL,
        decode: cluster_list::decode,
        encode: cluster_list::encode,
    },
    Row {
        code: code::MP_REACH,
        name: "MP_REACH_NLRI",
        flags: OPTIONAL,
        decode: mp_reach::decode,
        encode: written_elsewhere,
    },
    Row {
        code: code::MP_UNREACH,
        name: "MP_UNREACH_NLRI",
        flags: OPTIONAL,
        decode: mp_unreach::decode,
        encode: written_elsewhere,
    },
    Row {
        code: code::EXTENDED_COMMUNITIES,
        name: "EXTENDED_COMMUNITIES",
        flags: OPTIONAL | TRANSITIVE,
        decode: extended_communities::decode,
        encode: extended_communities::encode,
    },
    Row {
        code: code::AS4_PATH,
        name: "AS4_PATH",
        flags: OPTIONAL | TRANSITIVE,
        decode: as_path::decode_as4,
        encode: as_path::encode_as4,
    },
    Row {
        code: code::AS4_AGGREGATOR,
        name: "AS4_AGGREGATOR",
        flags: OPTIONAL | TRANSITIVE,
        decode: aggregator::decode_as4,
        encode: aggregator::encode_as4,
    },
    Row {
        code: code::LARGE_COMMUNITIES,
        name: "LARGE_COMMUNITY",
        flags: OPTIONAL | TRANSITIVE,
        decode: large_communities::decode,
        encode: large_communities::encode,
    },
];

fn written_elsewhere(_: &Outgoing<'_>, _: &mut BytesMut) {}

fn row(code: u8) -> Option<&'static Row> {
    TABLE.binary_search_by_key(&code, |row| row.code).ok().and_then(|index| TABLE.get(index))
}

/// The name of an attribute type, as the RFC that defines it writes it.
pub fn name(code: u8) -> String {
    row(code).map_or_else(|| format!("of type {code}"), |row| row.name.to_owned())
}

/// Reads the list of attributes into `draft`. Faults that cost less than the session are collected, and reading goes
/// on behind the attribute (RFC 7606 §3); an `Err` is a session reset.
pub(super) fn decode_all(
    list: &mut Reader<'_>,
    context: &Context,
    draft: &mut Draft,
    faults: &mut SmallVec<[Error; 1]>,
) -> Result<(), Error> {
    while !list.is_empty() {
        let (code, flags, mut value) = match next(list) {
            Ok(attribute) => attribute,
            // The rest of the list cannot be read; what came before counts (RFC 7606 §4).
            Err(truncated) => {
                faults.push(truncated);
                return Ok(());
            }
        };
        if let Err(error) = decode_one(code, flags, &mut value, context, draft) {
            if error.disposition() == Disposition::SessionReset {
                return Err(error);
            }
            faults.push(error);
        }
    }
    Ok(())
}

fn next<'a>(list: &mut Reader<'a>) -> Result<(u8, u8, Reader<'a>), Error> {
    let (flags, code) = (list.u8()?, list.u8()?);
    let length =
        if flags & EXTENDED_LENGTH == 0 { usize::from(list.u8()?) } else { usize::from(list.u16()?) };
    let whole = *list;
    let value = list.section(Section::Attribute(code), length).map_err(|_| whole.error(Fault::Truncated))?;
    Ok((code, flags, value))
}

fn decode_one(
    code: u8,
    flags: u8,
    value: &mut Reader<'_>,
    context: &Context,
    draft: &mut Draft,
) -> Result<(), Error> {
    if draft.has_seen(code) {
        return Err(value.error(Fault::Duplicate));
    }
    draft.see(code);
    match row(code) {
        Some(row) => {
            let result = (row.decode)(&mut *value, context, draft);
            let contradiction = flags & (OPTIONAL | TRANSITIVE) != row.flags;
            match result {
                // The value is read all the same: a multiprotocol attribute holds what must be withdrawn.
                Ok(()) if contradiction => Err(value.error(Fault::Flags(flags))),
                Err(error) if contradiction && error.disposition() < Disposition::SessionReset => {
                    Err(value.error(Fault::Flags(flags)))
                }
                other => other,
            }
        }
        None => opaque::decode(code, flags, value, context, draft),
    }
}

/// Writes the list of attributes, in the order of their types, without MP_REACH_NLRI and MP_UNREACH_NLRI.
pub(super) fn encode_all(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let mut unknown = outgoing.set.unknown.iter().peekable();
    for row in &TABLE {
        while let Some(earlier) = unknown.next_if(|attribute| attribute.code < row.code) {
            opaque::encode(earlier, out);
        }
        (row.encode)(outgoing, out);
    }
    for later in unknown {
        opaque::encode(later, out);
    }
}

/// Writes one attribute with whatever length its value turns out to have.
pub(super) fn put(code: u8, out: &mut BytesMut, value: impl FnOnce(&mut BytesMut)) {
    let flags = row(code).map_or(OPTIONAL | TRANSITIVE, |row| row.flags);
    put_with(code, flags, out, value);
}

pub(super) fn put_with(code: u8, flags: u8, out: &mut BytesMut, value: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_slice(&[flags, code, 0]);
    let begin = out.len();
    value(out);
    let length = out.len() - begin;
    if let Ok(short) = u8::try_from(length) {
        if let Some(field) = out.get_mut(start + 2) {
            *field = short;
        }
        return;
    }
    // The value outgrew one octet of length: make room for the second.
    out.put_u8(0);
    let end = out.len();
    if let Some(moved) = out.get_mut(begin..end) {
        moved.rotate_right(1);
    }
    if let Some(field) = out.get_mut(start) {
        *field |= EXTENDED_LENGTH;
    }
    header::put_length(out, start + 2, length);
}
