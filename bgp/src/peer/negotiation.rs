//! What two OPEN messages agree on.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Asn, Families, HoldTime, RouterId};

/// The terms of an established session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The AS shown to the peer.
    pub local_as: Asn,
    /// The peer's AS.
    pub peer_as: Asn,
    /// The own BGP identifier.
    pub local_id: RouterId,
    /// The peer's BGP identifier.
    pub peer_id: RouterId,
    /// The smaller of both hold times.
    pub hold_time: HoldTime,
    /// How often KEEPALIVE is sent; `None` with a hold time of zero.
    pub keepalive: Option<Duration>,
    /// The families both sides offered.
    pub families: Families,
    /// AS numbers are four octets wide on this session (RFC 6793).
    pub four_octet: bool,
    /// The peer answers ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// The own end of the connection.
    pub local: SocketAddr,
    /// The peer's end of the connection.
    pub remote: SocketAddr,
}

impl Negotiated {
    /// Whether this is iBGP.
    pub fn is_internal(&self) -> bool {
        self.local_as == self.peer_as
    }

    /// The octets an UPDATE may have (RFC 4271 §4.1).
    pub fn max_message(&self) -> usize {
        4096
    }
}
