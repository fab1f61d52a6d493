//! What a rule may do to the attributes of a route.

use std::net::IpAddr;

use super::community::AnyCommunity;
use crate::config::Asn;
use crate::wire::attribute::{AttributeSet, Origin};

/// A change to the attributes of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Sets LOCAL_PREF. Towards an external peer it is not sent (RFC 4271 §5.1.5).
    LocalPref(u32),
    /// Sets MULTI_EXIT_DISC, or takes it away.
    Med(Option<u32>),
    /// Sets ORIGIN.
    Origin(Origin),
    /// Adds a community.
    AddCommunity(AnyCommunity),
    /// Takes a community away, if it is there.
    RemoveCommunity(AnyCommunity),
    /// Replaces all communities of every kind by these.
    SetCommunities(Vec<AnyCommunity>),
    /// Puts these in front of AS_PATH, so that it begins with them in this order. Towards an external peer our own AS
    /// comes before them all the same (RFC 4271 §5.1.2).
    Prepend(Vec<Asn>),
    /// Sets the next hop.
    NextHop(NextHopChange),
}

/// Which next hop a rule sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextHopChange {
    /// Export: our own address towards the peer. Import: the address of the peer, where it is of the route's family.
    OwnSide,
    /// The next hop as the route came, whatever the peer's next-hop mode says.
    Unchanged,
    /// This address; it is for routes of its own family only.
    Address(IpAddr),
}

impl Operation {
    /// Carries it out; a change of the next hop is left in `next_hop`, which is kept apart from the attributes.
    pub(super) fn apply(&self, set: &mut AttributeSet, next_hop: &mut Option<NextHopChange>) {
        match self {
            Operation::LocalPref(value) => set.local_pref = Some(*value),
            Operation::Med(value) => set.med = *value,
            Operation::Origin(origin) => set.origin = *origin,
            Operation::AddCommunity(community) => community.add_to(set),
            Operation::RemoveCommunity(community) => community.remove_from(set),
            Operation::SetCommunities(communities) => {
                set.communities.clear();
                set.large_communities.clear();
                set.extended_communities.clear();
                communities.iter().for_each(|community| community.add_to(set));
            }
            Operation::Prepend(asns) => asns.iter().rev().for_each(|asn| set.as_path.prepend(*asn)),
            Operation::NextHop(change) => *next_hop = Some(*change),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attribute::{AsPath, Community};

    fn after(set: &AttributeSet, operations: &[Operation]) -> AttributeSet {
        let (mut set, mut next_hop) = (set.clone(), None);
        operations.iter().for_each(|operation| operation.apply(&mut set, &mut next_hop));
        set
    }

    #[test]
    fn a_path_begins_with_what_was_prepended_in_its_order() {
        let set = AttributeSet { as_path: AsPath::sequence([Asn(3)]), ..AttributeSet::default() };
        let prepended = after(&set, &[Operation::Prepend(vec![Asn(1), Asn(2)])]);
        assert_eq!(prepended.as_path.to_string(), "1 2 3");
    }

    #[test]
    fn communities_are_added_taken_away_and_replaced() {
        let of = |text: &str| text.parse::<AnyCommunity>().unwrap();
        let set = AttributeSet { communities: vec![Community::new(1, 1)], ..AttributeSet::default() };
        let both = after(&set, &[Operation::AddCommunity(of("2:2")), Operation::AddCommunity(of("9:9:9"))]);
        assert_eq!((both.communities.len(), both.large_communities.len()), (2, 1));
        let one = after(&both, &[Operation::RemoveCommunity(of("1:1"))]);
        assert_eq!(one.communities, [Community::new(2, 2)]);
        let only = after(&both, &[Operation::SetCommunities(vec![of("3:3")])]);
        assert_eq!((only.communities, only.large_communities), (vec![Community::new(3, 3)], vec![]));
    }
}
