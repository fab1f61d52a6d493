//! Whether and how the path to a peer is watched by BFD.

use std::net::IpAddr;
use std::time::Duration;

use super::PeerConfig;
use crate::bfd::{Hops, Timers};

/// BFD for one peer (RFC 5882 §4.3): when packets no longer pass, the session ends at once and its routes go, without
/// graceful restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BfdOptions {
    /// How often packets are sent and taken.
    pub timers: Timers,
    /// The peer is not on the same link: packets go to the port for many hops (RFC 5883), whose TTL nobody checks.
    /// `None`: as [`PeerConfig::multihop`] has it, and an internal peer may be anywhere.
    pub multihop: Option<bool>,
}

impl BfdOptions {
    /// The least interval.
    pub const LEAST: Duration = Duration::from_millis(10);
    /// The greatest interval.
    pub const GREATEST: Duration = Duration::from_secs(60);

    /// The first interval that is out of bounds.
    pub(super) fn illegal(&self) -> Option<Duration> {
        let Timers { min_tx, min_rx, multiplier: _ } = self.timers;
        [min_tx, min_rx].into_iter().find(|time| !(Self::LEAST..=Self::GREATEST).contains(time))
    }
}

impl PeerConfig {
    /// How far the peer is, for BFD: both ends must think the same of it. A link-local address is always near.
    pub fn bfd_hops(&self) -> Hops {
        if matches!(self.remote.ip(), IpAddr::V6(address) if address.is_unicast_link_local()) {
            return Hops::One;
        }
        let told = self.bfd.and_then(|bfd| bfd.multihop);
        let near = match (self.ttl_security, self.multihop) {
            (Some(hops), _) => hops.get() == 1,
            (None, Some(ttl)) => ttl == 1,
            (None, None) => !self.is_internal(),
        };
        if told.unwrap_or(!near) { Hops::Many } else { Hops::One }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;
    use crate::peer::negotiation::tests::config as peer;

    #[test]
    fn the_hops_follow_from_the_peer_unless_they_are_told() {
        let hops = |local: u32, change: fn(&mut PeerConfig)| {
            let mut config = peer(local, 1);
            change(&mut config);
            config.bfd_hops()
        };
        assert_eq!(hops(2, |_| ()), Hops::One, "external");
        assert_eq!(hops(1, |_| ()), Hops::Many, "internal");
        assert_eq!(hops(2, |peer| peer.multihop = Some(2)), Hops::Many);
        assert_eq!(hops(1, |peer| peer.multihop = Some(1)), Hops::One);
        assert_eq!(hops(1, |peer| peer.ttl_security = NonZeroU8::new(1)), Hops::One);
        assert_eq!(hops(2, |peer| peer.ttl_security = NonZeroU8::new(3)), Hops::Many);
        let told = |peer: &mut PeerConfig| {
            peer.bfd = Some(BfdOptions { multihop: Some(false), ..BfdOptions::default() });
        };
        assert_eq!(hops(1, told), Hops::One);
        let on_the_link = |peer: &mut PeerConfig| peer.remote = "[fe80::1%3]:179".parse().unwrap();
        assert_eq!(hops(1, on_the_link), Hops::One, "internal, and on the link");
    }
}
