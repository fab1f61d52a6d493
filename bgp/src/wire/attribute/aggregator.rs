//! AGGREGATOR (type 7, RFC 4271 §5.1.7, RFC 6793): who made this aggregate.

use std::net::Ipv4Addr;

use crate::config::Asn;

/// The last speaker that aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub router: Ipv4Addr,
}
