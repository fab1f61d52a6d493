//! A prefix with the lengths that count as inside it.

use ipnetwork::IpNetwork;

/// Matches the routes inside a network whose length lies in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixMatch {
    network: IpNetwork,
    ge: u8,
    le: u8,
}

/// Lengths that can match nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no route inside {network} can have a length from {ge} to {le}: \
    the range must lie between the length of the network and {max}"
)]
pub struct IllegalLengths {
    /// The network.
    pub network: IpNetwork,
    /// The shortest length asked for.
    pub ge: u8,
    /// The longest length asked for.
    pub le: u8,
    /// The longest length of the family.
    pub max: u8,
}

fn longest(network: &IpNetwork) -> u8 {
    match network {
        IpNetwork::V4(_) => 32,
        IpNetwork::V6(_) => 128,
    }
}

impl PrefixMatch {
    /// The routes inside `network` of lengths `ge` to `le`.
    pub fn new(network: IpNetwork, ge: u8, le: u8) -> Result<Self, IllegalLengths> {
        let max = longest(&network);
        if ge < network.prefix() || ge > le || le > max {
            return Err(IllegalLengths { network, ge, le, max });
        }
        Ok(PrefixMatch { network, ge, le })
    }

    /// The network itself and nothing inside it.
    pub fn exact(network: IpNetwork) -> Self {
        PrefixMatch { network, ge: network.prefix(), le: network.prefix() }
    }

    /// The network and everything inside it.
    pub fn within(network: IpNetwork) -> Self {
        PrefixMatch { network, ge: network.prefix(), le: longest(&network) }
    }

    /// Everything strictly inside the network; `None` for a host's prefix.
    pub fn inside(network: IpNetwork) -> Option<Self> {
        PrefixMatch::new(network, network.prefix() + 1, longest(&network)).ok()
    }

    /// The network.
    pub fn network(&self) -> IpNetwork {
        self.network
    }

    /// The shortest and the longest length that match.
    pub fn lengths(&self) -> (u8, u8) {
        (self.ge, self.le)
    }

    /// Whether a network lies inside and has one of the lengths.
    pub fn matches(&self, network: &IpNetwork) -> bool {
        self.takes(network.prefix()) && self.network.contains(network.network())
    }

    pub(super) fn takes(&self, length: u8) -> bool {
        (self.ge..=self.le).contains(&length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_can_match_nothing_are_refused() {
        let network = "10.0.0.0/8".parse().unwrap();
        assert!(PrefixMatch::new(network, 7, 24).is_err());
        assert!(PrefixMatch::new(network, 24, 16).is_err());
        assert!(PrefixMatch::new(network, 8, 33).is_err());
        assert!(PrefixMatch::inside("192.0.2.1/32".parse().unwrap()).is_none());
    }
}
