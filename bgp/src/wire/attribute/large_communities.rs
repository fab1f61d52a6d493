//! LARGE_COMMUNITY (type 32, RFC 8092).

use std::fmt;

/// One large community, written `global:first:second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// The global administrator: an AS.
    pub global: u32,
    /// The first value.
    pub first: u32,
    /// The second value.
    pub second: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.first, self.second)
    }
}
