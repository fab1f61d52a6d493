//! Sessions whose password cannot be had: nothing else lets their peers in without.

use std::collections::{BTreeMap, BTreeSet};

use caracal_bgp::{PeerConfig, PeerKey, PeerRange};
use ipnetwork::IpNetwork;

use super::Problem;

/// What is to have a password that cannot be had.
#[derive(Default)]
pub(super) struct Closed {
    peers: BTreeMap<PeerKey, PeerConfig>,
    ranges: BTreeSet<IpNetwork>,
}

impl Closed {
    /// A peer is, for this reason.
    pub(super) fn peer(&mut self, key: PeerKey, config: PeerConfig, why: &str) {
        self.peers.insert(key, PeerConfig { waits: Some(why.into()), ..config });
    }

    /// Whoever comes from this range is.
    pub(super) fn range(&mut self, range: IpNetwork) {
        self.ranges.insert(range);
    }

    /// Takes away what would let them in.
    ///
    /// A closed peer within a range stays, and waits: whoever has its address is then nobody else. A range around a closed one
    /// goes.
    pub(super) fn close(
        self,
        peers: &mut BTreeMap<PeerKey, PeerConfig>,
        ranges: &mut BTreeMap<IpNetwork, PeerRange>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        ranges.retain(|network, range| {
            let inner = self.ranges.iter().find(|closed| {
                network.contains(closed.network()) && network.prefix() <= closed.prefix()
            });
            if let Some(inner) = inner {
                let why = format!(
                    "the password of the range {inner} cannot be had, and whoever is kept out there would be let in by this one"
                );
                problems.push(Problem::Malformed { peer: range.terms.name.clone(), why });
            }
            inner.is_none()
        });
        for (key, waiting) in self.peers {
            peers.remove(&key);
            if ranges.keys().any(|network| network.contains(key.address())) {
                peers.insert(key, waiting);
            }
        }
        problems
    }
}
