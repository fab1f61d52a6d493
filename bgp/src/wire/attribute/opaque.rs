//! Attributes this speaker does not know: optional transitive ones are kept as they came and passed on with the
//! Partial bit set (RFC 4271 §5), others are ignored.

use super::Draft;
use super::{OPTIONAL, PARTIAL, TRANSITIVE};
use crate::wire::error::{Error, Fault};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use bytes::Bytes;

/// An unknown optional transitive attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opaque {
    /// Its type.
    pub code: u8,
    /// Its value, within the limits of the message only.
    pub value: Bytes,
}

pub(super) fn decode(
    code: u8,
    flags: u8,
    value: &mut Reader<'_>,
    draft: &mut Draft<'_>,
) -> Result<(), Error> {
    if flags & OPTIONAL == 0 {
        return Err(value.error(Fault::UnknownWellKnown(code)));
    }
    if flags & TRANSITIVE == 0 {
        return Ok(());
    }
    let attribute = Opaque { code, value: Bytes::copy_from_slice(value.rest()) };
    // No type comes twice, so that sorting by type makes equal sets equal.
    let place = draft.set.unknown.partition_point(|other| other.code < code);
    draft.set.unknown.insert(place, attribute);
    Ok(())
}

pub(super) fn encode(attribute: &Opaque, out: &mut BytesMut) {
    super::put_with(attribute.code, OPTIONAL | TRANSITIVE | PARTIAL, out, |out| {
        out.put_slice(&attribute.value)
    });
}
