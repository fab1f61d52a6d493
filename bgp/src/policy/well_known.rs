//! Communities that mean the same to everybody.

use crate::wire::attribute::{AttributeSet, Community};

impl Community {
    /// Prefer every other path to this one: its way is about to go (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);
    /// Not to be kept over a long restart (RFC 9494).
    pub const NO_LLGR: Community = Community(0xffff_0007);
    /// Discard the traffic (RFC 7999). Carried, and left to filters.
    pub const BLACKHOLE: Community = Community(0xffff_029a);
    /// Not beyond this AS (RFC 1997).
    pub const NO_EXPORT: Community = Community(0xffff_ff01);
    /// To nobody (RFC 1997).
    pub const NO_ADVERTISE: Community = Community(0xffff_ff02);
    /// Not beyond this member of a confederation (RFC 1997); there are none here, so it is as `NO_EXPORT`.
    pub const NO_EXPORT_SUBCONFED: Community = Community(0xffff_ff03);
}

/// Whether a set of attributes carries a community.
pub fn carries(set: &AttributeSet, community: Community) -> bool {
    // The list is sorted, and everything well-known lies at its end.
    set.communities.binary_search(&community).is_ok()
}
