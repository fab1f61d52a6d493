//! EXTENDED COMMUNITIES (type 16, RFC 4360): kept and passed on as the eight octets they are.

use super::{Draft, OPTIONAL, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::fmt;

/// One extended community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// Whether it may leave the AS (RFC 4360 §2: the second highest bit of the type is clear).
    pub fn is_transitive(self) -> bool {
        self.0.first().is_some_and(|kind| kind & 0x40 == 0)
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", u64::from_be_bytes(self.0))
    }
}

pub(super) const ROW: Row = Row {
    code: code::EXTENDED_COMMUNITIES,
    name: "EXTENDED_COMMUNITIES",
    flags: OPTIONAL | TRANSITIVE,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.14",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, _: &Context, draft: &mut Draft) -> Result<(), Error> {
    value.elements_of(8)?;
    let mut list = Vec::with_capacity(value.len() / 8);
    while !value.is_empty() {
        list.push(ExtendedCommunity(value.parse(nom::number::complete::be_u64)?.to_be_bytes()));
    }
    list.sort_unstable();
    list.dedup();
    draft.set.extended_communities = list;
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let list = &outgoing.set.extended_communities;
    if !list.is_empty() {
        super::put(code::EXTENDED_COMMUNITIES, out, |out| {
            list.iter().for_each(|community| out.put_slice(&community.0));
        });
    }
}
