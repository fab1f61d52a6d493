//! One peer as a pure machine: both its connections, no sockets, no clock (RFC 4271 §8).

pub mod negotiation;

pub use negotiation::Negotiated;

use std::time::Instant;

/// What becomes of the routes of a peer whose session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They are withdrawn.
    Nothing,
    /// They are kept, marked stale, until then.
    Stale {
        /// When they go if the peer has not come back.
        until: Instant,
    },
}
