//! ORIGIN (type 1, RFC 4271 §5.1.1): how the prefix came into BGP.

use super::{Draft, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error, Fault};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

/// The value; the order is that of preference (RFC 4271 §9.1.2.2 b).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// From the interior of its AS.
    #[default]
    Igp,
    /// Learnt by EGP.
    Egp,
    /// By other means, as redistribution.
    Incomplete,
}

impl Origin {
    fn number(self) -> u8 {
        match self {
            Origin::Igp => 0,
            Origin::Egp => 1,
            Origin::Incomplete => 2,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}

pub(super) const ROW: Row = Row {
    code: code::ORIGIN,
    name: "ORIGIN",
    flags: TRANSITIVE,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.1",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, _: &Context, draft: &mut Draft) -> Result<(), Error> {
    value.exactly(1)?;
    let at = *value;
    draft.set.origin = match value.u8()? {
        0 => Origin::Igp,
        1 => Origin::Egp,
        2 => Origin::Incomplete,
        undefined => return Err(at.error(Fault::Origin(undefined))),
    };
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    super::put(code::ORIGIN, out, |out| out.put_u8(outgoing.set.origin.number()));
}
