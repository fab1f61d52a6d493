//! LARGE_COMMUNITY (type 32, RFC 8092).

use super::{Draft, OPTIONAL, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::fmt;

/// One large community, written `global:first:second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// The global administrator: an AS.
    pub global: u32,
    /// The first value.
    pub first: u32,
    /// The second value.
    pub second: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.first, self.second)
    }
}

pub(super) const ROW: Row = Row {
    code: code::LARGE_COMMUNITIES,
    name: "LARGE_COMMUNITY",
    flags: OPTIONAL | TRANSITIVE,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 8092 §6",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, _: &Context, draft: &mut Draft) -> Result<(), Error> {
    value.elements_of(12)?;
    let mut list = Vec::with_capacity(value.len() / 12);
    while !value.is_empty() {
        list.push(LargeCommunity { global: value.u32()?, first: value.u32()?, second: value.u32()? });
    }
    list.sort_unstable();
    list.dedup();
    draft.set.large_communities = list;
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let list = &outgoing.set.large_communities;
    if !list.is_empty() {
        super::put(code::LARGE_COMMUNITIES, out, |out| {
            for community in list {
                out.put_u32(community.global);
                out.put_u32(community.first);
                out.put_u32(community.second);
            }
        });
    }
}
