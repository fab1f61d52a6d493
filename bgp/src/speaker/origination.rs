//! Own routes.

use ipnetwork::IpNetwork;

use crate::wire::attribute::{AttributeSet, Community};

/// A change to what this speaker originates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origination {
    /// Announce a prefix; one that is announced already gets these communities instead.
    Announce {
        /// The prefix; host bits are cleared.
        prefix: IpNetwork,
        /// Communities to announce it with.
        communities: Vec<Community>,
    },
    /// Announce it no longer.
    Withdraw {
        /// The prefix.
        prefix: IpNetwork,
    },
}

impl Origination {
    /// The prefix.
    pub fn prefix(&self) -> IpNetwork {
        match self {
            Origination::Announce { prefix, .. } | Origination::Withdraw { prefix } => *prefix,
        }
    }
}

/// The attributes of an own route: ORIGIN IGP and an empty AS_PATH (RFC 4271 §5.1.1, §5.1.2).
pub(super) fn attributes(communities: &[Community]) -> AttributeSet {
    let mut communities = communities.to_vec();
    communities.sort_unstable();
    communities.dedup();
    AttributeSet { communities, ..AttributeSet::default() }
}
