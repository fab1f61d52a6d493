//! COMMUNITIES (type 8, RFC 1997).

use super::{Draft, Outgoing};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::Error;
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::fmt;

/// One community, written `high:low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
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
