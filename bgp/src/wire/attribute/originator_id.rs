//! ORIGINATOR_ID (type 9, RFC 4456 §8): the router that brought a reflected route into the AS.

use super::{Draft, OPTIONAL, Outgoing, Row};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

pub(super) const ROW: Row = Row {
    code: code::ORIGINATOR_ID,
    name: "ORIGINATOR_ID",
    flags: OPTIONAL,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.9",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    // From an external peer it is ignored, however it looks (RFC 7606 §7.9).
    if context.external_peer.is_some() {
        return Ok(());
    }
    value.exactly(4)?;
    draft.set.originator_id = Some(value.ipv4()?);
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(originator) = outgoing.set.originator_id {
        super::put(code::ORIGINATOR_ID, out, |out| out.put_slice(&originator.octets()));
    }
}
