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
use super::update::{MpReach, MpUnreach};
use crate::config::AttributeCodes;

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
pub(super) struct Draft<'a> {
    pub(super) set: AttributeSet,
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) mp_reach: Option<MpReach<'a>>,
    pub(super) mp_unreach: Option<MpUnreach<'a>>,
    /// Where a good AS_PATH lay.
    pub(super) as_path_at: Option<usize>,
    pub(super) as4_path: Option<AsPath>,
    pub(super) as4_aggregator: Option<Aggregator>,
    pub(super) seen: AttributeCodes,
}

impl Draft<'_> {
    /// Whether any attribute but MP_UNREACH_NLRI has come.
    pub(super) fn announces(&self) -> bool {
        self.seen.has_others_than(code::MP_UNREACH)
    }
}

type Decode = for<'a> fn(&mut Reader<'a>, &Context, &mut Draft<'a>) -> Result<(), Error>;
type Encode = fn(&Outgoing<'_>, &mut BytesMut);

/// What is encoded into one attribute list.
pub(super) struct Outgoing<'a> {
    pub(super) set: &'a AttributeSet,
    /// For NEXT_HOP; absent where MP_REACH_NLRI carries the prefixes.
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) context: &'a Context,
}

/// One row: all this speaker knows of an attribute. Each attribute's file has its own.
struct Row {
    code: u8,
    name: &'static str,
    /// Optional and Transitive as they must be.
    flags: u8,
    /// What a malformed value costs.
    malformed: Disposition,
    /// The section that says so.
    rfc: &'static str,
    decode: Decode,
    encode: Encode,
}

/// Every attribute known, by type. MP_REACH_NLRI and MP_UNREACH_NLRI are written by [`super::update`], before all
/// others (RFC 7606 §5.1).
const TABLE: [Row; 16] = [
    origin::ROW,
    as_path::ROW,
    next_hop::ROW,
    med::ROW,
    local_pref::ROW,
    atomic_aggregate::ROW,
    aggregator::ROW,
    communities::ROW,
    originator_id::ROW,
    cluster_list::ROW,
    mp_reach::ROW,
    mp_unreach::ROW,
    extended_communities::ROW,
    as_path::AS4_ROW,
    aggregator::AS4_ROW,
    large_communities::ROW,
];

fn written_elsewhere(_: &Outgoing<'_>, _: &mut BytesMut) {}

fn row(code: u8) -> Option<&'static Row> {
    const ROWS: &[Row] = &TABLE;
    ROWS.binary_search_by_key(&code, |row| row.code).ok().and_then(|index| ROWS.get(index))
}

/// What a malformed value of this attribute costs; unknown attributes have no value that could be malformed, but a
/// well-known one that nobody knows makes its prefixes unusable.
pub(super) fn malformed(code: u8) -> Disposition {
    row(code).map_or(Disposition::TreatAsWithdraw, |row| row.malformed)
}

/// The section of the RFC that says what a malformed value costs.
pub(super) fn rfc(code: u8) -> &'static str {
    row(code).map_or("RFC 4271 §6.3", |row| row.rfc)
}

/// The name of an attribute type, as the RFC that defines it writes it.
pub fn name(code: u8) -> String {
    row(code).map_or_else(|| format!("of type {code}"), |row| row.name.to_owned())
}

/// Reads the list of attributes into `draft`. Faults that cost less than the session are collected, and reading goes
/// on behind the attribute (RFC 7606 §3); an `Err` is a session reset.
pub(super) fn decode_all<'a>(
    list: &mut Reader<'a>,
    context: &Context,
    draft: &mut Draft<'a>,
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

fn decode_one<'a>(
    code: u8,
    flags: u8,
    value: &mut Reader<'a>,
    context: &Context,
    draft: &mut Draft<'a>,
) -> Result<(), Error> {
    if draft.seen.contains(code) {
        return Err(value.error(Fault::Duplicate));
    }
    draft.seen.insert(code);
    // What must be read to know which prefixes a message is about cannot be refused.
    if context.refused_attributes.contains(code) && row(code).is_none() {
        return Ok(());
    }
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
        None => opaque::decode(code, flags, value, draft),
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
