//! NEXT_HOP (type 3, RFC 4271 §5.1.3) and the next hop inside MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3).

use super::{Draft, Outgoing, Row, TRANSITIVE};
use crate::wire::Context;
use crate::wire::code_points::attribute as code;
use crate::wire::error::{Disposition, Error, Fault};
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

use std::net::{IpAddr, Ipv6Addr};

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The address; a link-local one only if the peer gave nothing else.
    pub address: IpAddr,
    /// The link-local address that may stand beside a global IPv6 one.
    pub link_local: Option<Ipv6Addr>,
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        NextHop { address, link_local: None }
    }
}

impl NextHop {
    /// Whether packets can be sent there at all (RFC 4271 §6.3).
    pub(in crate::wire) fn check(&self) -> Result<(), Fault> {
        let possible = match self.address {
            IpAddr::V4(address) => {
                let first = address.octets()[0];
                first != 0 && first != 127 && first < 224
            }
            IpAddr::V6(address) => {
                !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
            }
        };
        if possible { Ok(()) } else { Err(Fault::NextHop(self.address)) }
    }
}

pub(super) const ROW: Row = Row {
    code: code::NEXT_HOP,
    name: "NEXT_HOP",
    flags: TRANSITIVE,
    malformed: Disposition::TreatAsWithdraw,
    rfc: "RFC 7606 §7.3",
    decode,
    encode,
};

pub(super) fn decode(value: &mut Reader<'_>, _: &Context, draft: &mut Draft) -> Result<(), Error> {
    value.exactly(4)?;
    // Whether it can be used is looked at only if it is needed: beside MP_REACH_NLRI it says nothing.
    draft.next_hop = Some(value.ipv4()?);
    Ok(())
}

pub(super) fn encode(outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    if let Some(next_hop) = outgoing.next_hop {
        super::put(code::NEXT_HOP, out, |out| out.put_slice(&next_hop.octets()));
    }
}
