//! MP_REACH_NLRI (type 14, RFC 4760 §3, RFC 2545 §3): announced prefixes of any family with their next hop.
//!
//! A family that was not negotiated is passed over. A fault here costs the session: what the attribute announces
//! cannot be told, so that it cannot be withdrawn either (RFC 7606 §7.11).

use std::net::{IpAddr, Ipv6Addr};

use super::{Draft, NextHop};
use crate::config::Family;
use crate::wire::Context;
use crate::wire::error::{Error, Fault};
use crate::wire::nlri;
use crate::wire::reader::Reader;
use crate::wire::update::{MpReach, Prefixes};

pub(super) fn decode(value: &mut Reader<'_>, context: &Context, draft: &mut Draft) -> Result<(), Error> {
    let (afi, safi, length) = (value.u16()?, value.u8()?, value.u8()?);
    let mut address = value.section(crate::wire::error::Section::Attribute(14), usize::from(length))?;
    value.u8()?; // reserved (RFC 4760 §3)
    let Some(family) = Family::from_code(afi, safi).filter(|family| context.families.contains(*family))
    else {
        return Ok(());
    };
    let next_hop = next_hop(family, &mut address)?;
    let prefixes = match family {
        Family::Ipv4Unicast => Prefixes::Ipv4(nlri::decode_all(value)?),
        Family::Ipv6Unicast => Prefixes::Ipv6(nlri::decode_all(value)?),
    };
    draft.mp_reach = Some(MpReach { next_hop, prefixes });
    Ok(())
}

fn next_hop(family: Family, address: &mut Reader<'_>) -> Result<NextHop, Error> {
    match (family, address.len()) {
        (Family::Ipv4Unicast, 4) => Ok(NextHop::from(IpAddr::from(address.ipv4()?))),
        (Family::Ipv6Unicast, 16) => Ok(NextHop::from(IpAddr::from(address.ipv6()?))),
        (Family::Ipv6Unicast, 32) => {
            let (global, link_local) = (address.ipv6()?, address.ipv6()?);
            Ok(both(global, link_local))
        }
        (Family::Ipv4Unicast | Family::Ipv6Unicast, other) => Err(address.error(Fault::NextHopLength(other))),
    }
}

/// Some peers leave the global address out, some write the link-local one twice.
fn both(global: Ipv6Addr, link_local: Ipv6Addr) -> NextHop {
    if global.is_unspecified() || global == link_local {
        return NextHop::from(IpAddr::from(link_local));
    }
    let link_local = link_local.is_unicast_link_local().then_some(link_local);
    NextHop { address: IpAddr::from(global), link_local }
}
