//! The UPDATE message (RFC 4271 §4.3, RFC 4760).

use smallvec::SmallVec;

use super::attribute::{AttributeSet, NextHop};
use super::nlri::{Ipv4Prefix, Ipv6Prefix};

/// A decoded UPDATE, the two encodings of IPv4 unicast already made one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The attributes of everything announced; absent if nothing is.
    pub attributes: Option<AttributeSet>,
    /// What concerns IPv4 unicast.
    pub ipv4: Routes<Ipv4Prefix>,
    /// What concerns IPv6 unicast.
    pub ipv6: Routes<Ipv6Prefix>,
}

/// What an UPDATE says of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes<P> {
    /// To be applied before the announcements (a prefix in both is announced, RFC 4271 §4.3).
    pub withdrawn: Vec<P>,
    /// By next hop: more than one only where the message uses both encodings of IPv4.
    pub announced: SmallVec<[Reach<P>; 1]>,
    /// This is the End-of-RIB marker (RFC 4724 §2).
    pub end_of_rib: bool,
}

/// Prefixes reachable by one next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach<P> {
    /// Where packets go.
    pub next_hop: NextHop,
    /// The prefixes.
    pub prefixes: Vec<P>,
}

impl<P> Default for Routes<P> {
    fn default() -> Self {
        Routes { withdrawn: Vec::new(), announced: SmallVec::new(), end_of_rib: false }
    }
}

impl<P> Routes<P> {
    /// Whether the message says nothing of this family.
    pub fn is_empty(&self) -> bool {
        self.withdrawn.is_empty() && self.announced.is_empty() && !self.end_of_rib
    }
}
