//! LOCAL_PREF (type 5, RFC 4271 §5.1.5): the preference inside an AS, the greatest first.

use super::{Draft, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

pub(super) const ROW: Row = Row {
    code: code::LOCAL_PREF,
    name: "LOCAL_PREF",
    flags: TRANSITIVE,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.5",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    // From an external peer it is ignored, however it looks (RFC 7606 §7.5).
    if context.external_peer.is_some() {
        return Ok(());
    }
    value.exactly(4)?;
    draft.set.local_pref = Some(value.u32()?);
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(preference) = outgoing.set.local_pref {
        super::put(code::LOCAL_PREF, out, |out| out.put_u32(preference));
    }
}
