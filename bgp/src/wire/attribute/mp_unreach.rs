//! MP_UNREACH_NLRI (type 15, RFC 4760 §4): withdrawn prefixes of any family; empty, the End-of-RIB marker.

use super::{Draft, OPTIONAL, Row};
use crate::config::Family;
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error};
use crate::wire::nlri::{Field, Ipv4Prefix, Ipv6Prefix};
use crate::wire::reader::Reader;
use crate::wire::update::MpUnreach;

pub(super) const ROW: Row = Row {
    code: code::MP_UNREACH,
    name: "MP_UNREACH_NLRI",
    flags: OPTIONAL,
    malformed: Disposition::SessionReset,
    rfc: "RFC 7606 §7.12",
    decode,
    encode: super::written_elsewhere,
};

pub(super) fn decode<'a>(
    value: &mut Reader<'a>,
    context: &Context,
    draft: &mut Draft<'a>,
) -> Result<(), Error> {
    let (afi, safi) = (value.u16()?, value.u8()?);
    let Some(family) = Family::from_code(afi, safi).filter(|family| context.families.contains(*family))
    else {
        return Ok(());
    };
    let path_ids = context.add_path_receive.contains(family);
    let prefixes = match family {
        Family::Ipv4Unicast => Field::read::<Ipv4Prefix>(value, path_ids)?,
        Family::Ipv6Unicast => Field::read::<Ipv6Prefix>(value, path_ids)?,
    };
    draft.mp_unreach = Some(MpUnreach { family, prefixes });
    Ok(())
}
