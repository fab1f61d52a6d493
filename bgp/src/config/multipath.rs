//! Equal paths used side by side.

use std::num::NonZeroU16;

/// Which paths as good as the best are used beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Multipath {
    /// How many paths of a prefix are used at most; 1 turns it off.
    pub max: NonZeroU16,
    /// Whether AS paths need only be equally long. Otherwise they must be the same.
    pub relax: bool,
}

impl Multipath {
    /// Nothing but the best.
    pub const OFF: Multipath = Multipath { max: NonZeroU16::MIN, relax: false };
}

impl Default for Multipath {
    /// Sixteen, of AS paths equally long: two routers of a rack, each with an AS of its own, share the load.
    fn default() -> Self {
        Multipath { max: NonZeroU16::MIN.saturating_add(15), relax: true }
    }
}
