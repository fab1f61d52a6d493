//! COMMUNITIES (type 8, RFC 1997).

use super::{Draft, OPTIONAL, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::fmt;

/// One community, written `high:low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// Planned maintenance: prefer any other path (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);
    /// Kept long after its peer was lost (RFC 9494).
    pub const LLGR_STALE: Community = Community(0xffff_0006);
    /// Not to be kept long after its peer was lost (RFC 9494).
    pub const NO_LLGR: Community = Community(0xffff_0007);
    /// Packets to this prefix are to be dropped (RFC 7999).
    pub const BLACKHOLE: Community = Community(0xffff_029a);
    /// Not to be told outside the AS (RFC 1997).
    pub const NO_EXPORT: Community = Community(0xffff_ff01);
    /// Not to be told anybody (RFC 1997).
    pub const NO_ADVERTISE: Community = Community(0xffff_ff02);
    /// Not to be told outside the AS, confederations being outside too (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Community = Community(0xffff_ff03);

    /// The community written `high:low`.
    pub const fn new(high: u16, low: u16) -> Community {
        Community(((high as u32) << 16) | low as u32)
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

pub(super) const ROW: Row = Row {
    code: code::COMMUNITIES,
    name: "COMMUNITIES",
    flags: OPTIONAL | TRANSITIVE,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.8",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, _: &Context, draft: &mut Draft) -> Result<(), Error> {
    value.elements_of(4)?;
    let mut list = Vec::with_capacity(value.len() / 4);
    while !value.is_empty() {
        list.push(Community(value.u32()?));
    }
    list.sort_unstable();
    list.dedup();
    draft.set.communities = list;
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let list = &outgoing.set.communities;
    if !list.is_empty() {
        super::put(code::COMMUNITIES, out, |out| list.iter().for_each(|community| out.put_u32(community.0)));
    }
}
