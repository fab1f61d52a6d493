//! MULTI_EXIT_DISC (type 4, RFC 4271 §5.1.4): which of several links into one AS is preferred, the smallest first.

use super::{Draft, OPTIONAL, Outgoing, Row};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

pub(super) const ROW: Row = Row {
    code: code::MED,
    name: "MULTI_EXIT_DISC",
    flags: OPTIONAL,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.4",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, _: &Context, draft: &mut Draft) -> Result<(), Error> {
    value.exactly(4)?;
    draft.set.med = Some(value.u32()?);
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(med) = outgoing.set.med {
        super::put(code::MED, out, |out| out.put_u32(med));
    }
}
