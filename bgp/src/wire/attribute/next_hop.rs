//! NEXT_HOP (type 3, RFC 4271 §5.1.3) and the next hop inside MP_REACH_NLRI (RFC 4760 §3, RFC 2545 §3).

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
