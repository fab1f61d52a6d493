//! The numbers of BGP that have rules: AS numbers, BGP identifiers, hold times.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// An autonomous system number, four octets wide (RFC 6793).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// What a four-octet AS number is shown as where only two octets fit (RFC 6793 §9).
    pub const TRANS: Asn = Asn(23456);

    /// Whether it is for private use (RFC 6996) or the last of its width, which is never used (RFC 7300).
    pub fn is_private(self) -> bool {
        matches!(self.0, 64_512..=65_535 | 4_200_000_000..=u32::MAX)
    }

    /// The number in two octets, [`Asn::TRANS`] where it does not fit.
    pub fn two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP identifier: unique within an AS and never zero (RFC 6286 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(Ipv4Addr);

/// A BGP identifier of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a BGP identifier must not be 0.0.0.0 (RFC 6286 §2.1): give the router an id of its own")]
pub struct ZeroRouterId;

impl RouterId {
    /// The lowest there is: 0.0.0.1.
    pub const LOWEST: RouterId = RouterId(Ipv4Addr::new(0, 0, 0, 1));

    /// The identifier as it is written.
    pub fn address(self) -> Ipv4Addr {
        self.0
    }
}

impl TryFrom<Ipv4Addr> for RouterId {
    type Error = ZeroRouterId;

    fn try_from(address: Ipv4Addr) -> Result<Self, ZeroRouterId> {
        if address.is_unspecified() { Err(ZeroRouterId) } else { Ok(RouterId(address)) }
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A hold time in whole seconds: zero (no keepalives, the session never times out) or at least three
/// (RFC 4271 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldTime(u16);

/// A hold time of one or two seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hold time of {0} s is not allowed (RFC 4271 §4.2): use 0 or at least 3")]
pub struct IllegalHoldTime(pub u16);

impl HoldTime {
    /// Neither keepalives nor a time-out.
    pub const NEVER: HoldTime = HoldTime(0);
    /// The default of RFC 4271 §10.
    pub const DEFAULT: HoldTime = HoldTime(90);

    /// In seconds.
    pub fn seconds(self) -> u16 {
        self.0
    }

    /// How long to wait for a sign of life; `None`: for ever.
    pub fn duration(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(u64::from(self.0)))
    }
}

impl TryFrom<u16> for HoldTime {
    type Error = IllegalHoldTime;

    fn try_from(seconds: u16) -> Result<Self, IllegalHoldTime> {
        match seconds {
            1 | 2 => Err(IllegalHoldTime(seconds)),
            0 | 3.. => Ok(HoldTime(seconds)),
        }
    }
}

impl Default for HoldTime {
    fn default() -> Self {
        HoldTime::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hold_times_of_one_and_two_seconds_are_refused() {
        assert_eq!(HoldTime::try_from(1), Err(IllegalHoldTime(1)));
        assert_eq!(HoldTime::try_from(2), Err(IllegalHoldTime(2)));
        assert_eq!(HoldTime::try_from(0).unwrap().duration(), None);
        assert_eq!(HoldTime::try_from(3).unwrap().duration(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_router_id_of_zero_is_refused() {
        assert_eq!(RouterId::try_from(Ipv4Addr::UNSPECIFIED), Err(ZeroRouterId));
    }

    #[test]
    fn an_as_number_that_needs_four_octets_is_shown_as_as_trans_in_two() {
        assert_eq!(Asn(65535).two_octets(), 65535);
        assert_eq!(Asn(65536).two_octets(), 23456);
    }
}
