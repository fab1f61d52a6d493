//! AGGREGATOR (type 7, RFC 4271 §5.1.7, RFC 6793): who made this aggregate.

use super::{Draft, OPTIONAL, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error, Fault};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::net::Ipv4Addr;

use crate::config::Asn;

/// The last speaker that aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router: Ipv4Addr,
}

fn read(value: &mut Reader<'_>, four_octet: bool) -> Result<Aggregator, Error> {
    value.exactly(if four_octet { 8 } else { 6 })?;
    let at = *value;
    let asn = Asn(if four_octet { value.u32()? } else { u32::from(value.u16()?) });
    if asn.0 == 0 {
        return Err(at.error(Fault::ZeroAs));
    }
    Ok(Aggregator { asn, router: value.ipv4()? })
}

pub(super) const ROW: Row = Row {
    code: code::AGGREGATOR,
    name: "AGGREGATOR",
    flags: OPTIONAL | TRANSITIVE,
    malformed: Disposition::AttributeDiscard,
    rfc: "RFC 7606 §7.7",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    draft.set.aggregator = Some(read(value, context.four_octet)?);
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let Some(aggregator) = outgoing.set.aggregator else { return };
    super::put(code::AGGREGATOR, out, |out| {
        if outgoing.context.four_octet {
            out.put_u32(aggregator.asn.0);
        } else {
            out.put_u16(aggregator.asn.two_octets());
        }
        out.put_slice(&aggregator.router.octets());
    });
}

pub(super) const AS4_ROW: Row = Row {
    code: code::AS4_AGGREGATOR,
    name: "AS4_AGGREGATOR",
    flags: OPTIONAL | TRANSITIVE,
    malformed: Disposition::AttributeDiscard,
    rfc: "RFC 6793 §6",
    decode: decode_as4,
    encode: encode_as4,
};

/// AS4_AGGREGATOR (type 18, RFC 6793 §3).
///
/// Between two speakers that know four octets it has no place and is dropped, however it looks (RFC 6793 §6).
pub(super) fn decode_as4(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    if !context.four_octet {
        draft.as4_aggregator = Some(read(value, true)?);
    }
    Ok(())
}

pub(super) fn encode_as4(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let Some(aggregator) = outgoing.set.aggregator else { return };
    if !outgoing.context.four_octet && aggregator.asn.0 > u32::from(u16::MAX) {
        super::put(code::AS4_AGGREGATOR, out, |out| {
            out.put_u32(aggregator.asn.0);
            out.put_slice(&aggregator.router.octets());
        });
    }
}
