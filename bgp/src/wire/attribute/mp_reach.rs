//! MP_REACH_NLRI (type 14, RFC 4760 §3, RFC 2545 §3, RFC 8950 §3): announced prefixes of any family with their next hop.
//!
//! A family that was not negotiated is passed over. A fault here costs the session: what the attribute announces
//! cannot be told, so that it cannot be withdrawn either (RFC 7606 §7.11).

use std::net::{IpAddr, Ipv6Addr};

use super::{Draft, NextHop, OPTIONAL, Row};
use crate::config::Family;
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error, Fault, Section};
use crate::wire::nlri::{Field, Ipv4Prefix, Ipv6Prefix};
use crate::wire::reader::Reader;
use crate::wire::update::MpReach;

pub(super) const ROW: Row = Row {
    code: code::MP_REACH,
    name: "MP_REACH_NLRI",
    flags: OPTIONAL,
    malformed: Disposition::SessionReset,
    rfc: "RFC 7606 §7.11",
    decode,
    encode: super::written_elsewhere,
};

pub(super) fn decode<'a>(
    value: &mut Reader<'a>,
    context: &Context,
    draft: &mut Draft<'a>,
) -> Result<(), Error> {
    let (afi, safi, length) = (value.u16()?, value.u8()?, value.u8()?);
    let mut address = value.section(Section::Attribute(code::MP_REACH), usize::from(length))?;
    value.u8()?; // reserved (RFC 4760 §3)
    let Some(family) = Family::from_code(afi, safi).filter(|family| context.families.contains(*family))
    else {
        return Ok(());
    };
    let next_hop = next_hop(family, context, &mut address)?;
    let path_ids = context.add_path_receive.contains(family);
    let prefixes = match family {
        Family::Ipv4Unicast => Field::read::<Ipv4Prefix>(value, path_ids)?,
        Family::Ipv6Unicast => Field::read::<Ipv6Prefix>(value, path_ids)?,
    };
    draft.mp_reach = Some(MpReach { family, next_hop, prefixes });
    Ok(())
}

fn next_hop(family: Family, context: &Context, address: &mut Reader<'_>) -> Result<NextHop, Error> {
    let other_family = context.extended_next_hop.contains(family);
    match (family, address.len()) {
        (Family::Ipv4Unicast, 4) => Ok(NextHop::from(IpAddr::from(address.ipv4()?))),
        (Family::Ipv4Unicast, 16) if other_family => Ok(NextHop::from(IpAddr::from(address.ipv6()?))),
        (Family::Ipv4Unicast, 32) if other_family => Ok(both(address.ipv6()?, address.ipv6()?)),
        // A mapped address means the IPv4 address in it (RFC 4798 §2).
        (Family::Ipv6Unicast, 16) => Ok(NextHop::from(IpAddr::from(address.ipv6()?).to_canonical())),
        (Family::Ipv6Unicast, 32) => Ok(both(address.ipv6()?, address.ipv6()?)),
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
