//! MP_UNREACH_NLRI (type 15, RFC 4760 §4): withdrawn prefixes of any family; empty, the End-of-RIB marker.

use super::Draft;
use crate::config::Family;
use crate::wire::Context;
use crate::wire::error::Error;
use crate::wire::nlri;
use crate::wire::reader::Reader;
use crate::wire::update::{MpUnreach, Prefixes};

pub(super) fn decode(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    let (afi, safi) = (value.u16()?, value.u8()?);
    let Some(family) = Family::from_code(afi, safi).filter(|family| context.families.contains(*family))
    else {
        return Ok(());
    };
    draft.mp_unreach = Some(MpUnreach {
        prefixes: match family {
            Family::Ipv4Unicast => Prefixes::Ipv4(nlri::decode_all(value)?),
            Family::Ipv6Unicast => Prefixes::Ipv6(nlri::decode_all(value)?),
        },
    });
    Ok(())
}
