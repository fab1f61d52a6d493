//! CLUSTER_LIST (type 10, RFC 4456 §8): the reflectors a route went through, the last first.

use super::{Draft, OPTIONAL, Outgoing, Row};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::net::Ipv4Addr;

use smallvec::SmallVec;

/// The clusters; empty is the same as absent.
pub type ClusterList = SmallVec<[Ipv4Addr; 4]>;

pub(super) const ROW: Row = Row {
    code: code::CLUSTER_LIST,
    name: "CLUSTER_LIST",
    flags: OPTIONAL,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.10",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    // From an external peer it is ignored, however it looks (RFC 7606 §7.10).
    if context.external_peer.is_some() {
        return Ok(());
    }
    value.elements_of(4)?;
    while !value.is_empty() {
        draft.set.cluster_list.push(value.ipv4()?);
    }
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if outgoing.set.cluster_list.is_empty() {
        return;
    }
    super::put(code::CLUSTER_LIST, out, |out| {
        outgoing.set.cluster_list.iter().for_each(|cluster| out.put_slice(&cluster.octets()));
    });
}
