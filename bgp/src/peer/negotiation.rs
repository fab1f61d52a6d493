//! What two OPEN messages agree on.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Asn, Families, HoldTime, RouterId};
use crate::wire::{Context, header};

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

    /// What the codec must know of this session.
    pub fn context(&self) -> Context {
        Context {
            external_peer: (!self.is_internal()).then_some(self.peer_as),
            four_octet: self.four_octet,
            families: self.families,
            max_message: header::MAX_MESSAGE,
        }
    }
}
