//! ATOMIC_AGGREGATE (type 6, RFC 4271 §5.1.6): some AS numbers of the aggregate were left out.

use super::{Draft, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::reader::Reader;
use bytes::BytesMut;

pub(super) const ROW: Row = Row {
    code: code::ATOMIC_AGGREGATE,
    name: "ATOMIC_AGGREGATE",
    flags: TRANSITIVE,
    malformed: Disposition::AttributeDiscard,
    rfc: "RFC 7606 §7.6",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, _: &Context, draft: &mut Draft) -> Result<(), Error> {
    value.exactly(0)?;
    draft.set.atomic_aggregate = true;
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if outgoing.set.atomic_aggregate {
        super::put(code::ATOMIC_AGGREGATE, out, |_| ());
    }
}
