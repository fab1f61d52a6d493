//! What becomes of a path on its way in: checked for loops, put to the import policy, changed by it.
//!
//! Nothing is dropped here. A path that is refused keeps its place with the reason, and is judged again when the policy
//! or this speaker's identity changes; the peer is asked for nothing.
//!
//! Followed: RFC 4271 §5.1.3, §5.1.5, §9.1.2 (loops); RFC 4456 §8; RFC 8212; RFC 8326 §4 (a path that carries
//! GRACEFUL_SHUTDOWN is the last to be used, whoever sent it); RFC 9494 §4.2 (what is kept of a peer long away carries
//! LLGR_STALE, and goes where it carries NO_LLGR).

use std::net::IpAddr;

use smallvec::SmallVec;

use super::attributes::AttrId;
use super::next_hops::NextHopId;
use super::peers::{PeerFacts, PeerSlot, Source};
use super::reason::{Standing, WhyRejected};
use super::{Af, Rib};
use crate::config::{Family, Interface};
use crate::policy::{AnyCommunity, Edits, NextHopChange, PeerType, Policy, Subject, Verdict};
use crate::wire::attribute::{AttributeSet, Community};

/// LOCAL_PREF of a path whose way is about to go.
const LAST_RESORT: u32 = 0;

/// A path as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Arrival {
    pub(super) peer: PeerSlot,
    pub(super) received: AttrId,
    pub(super) next_hop: NextHopId,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Imported {
    pub(super) standing: Standing,
    pub(super) used: AttrId,
    pub(super) used_hop: NextHopId,
}

/// What edits made of arrivals, remembered for the length of one change: the prefixes of an UPDATE share it. Each entry
/// holds what it names until [`Rib::forget`].
#[derive(Debug, Default)]
pub(super) struct Memo(SmallVec<[(Arrival, Edits, Imported); 2]>);

/// How a session looks to policies.
pub(super) fn peer_type(source: Source) -> PeerType {
    match source {
        Source::Ebgp => PeerType::External,
        Source::Ibgp | Source::Local => PeerType::Internal,
    }
}

/// Why a policy's refusal is one: because it says so, or because there is none where one must be.
pub(super) fn refusal(policy: &Policy) -> WhyRejected {
    if policy.is_given() { WhyRejected::ImportPolicy } else { WhyRejected::NoPolicy }
}

impl<A: Af> Rib<A> {
    /// Judges a path by its attributes alone, the same for every prefix of an UPDATE.
    pub(super) fn loops(&self, peer: &PeerFacts, set: &AttributeSet) -> Standing {
        if peer.source == Source::Local {
            return Standing::Eligible;
        }
        if set.as_path.count(peer.local_as) > usize::from(peer.allow_own_as) {
            return Standing::Rejected(WhyRejected::AsLoop);
        }
        if set.originator_id == Some(self.identity.router_id) {
            return Standing::Rejected(WhyRejected::OriginatorLoop);
        }
        if set.cluster_list.contains(&self.identity.cluster_id) {
            return Standing::Rejected(WhyRejected::ClusterLoop);
        }
        Standing::Eligible
    }

    /// Judges a path to one prefix. What is returned is held by `memo`; a path that keeps it must count itself.
    pub(super) fn import(
        &mut self,
        prefix: A::Prefix,
        arrival: Arrival,
        loops: Standing,
        memo: &mut Memo,
    ) -> Imported {
        let refused = |why| Imported {
            standing: Standing::Rejected(why),
            used: arrival.received,
            used_hop: arrival.next_hop,
        };
        if let Standing::Rejected(why) = loops {
            return refused(why);
        }
        let (Some(peer), Some(set)) = (self.peers.get(arrival.peer), self.attributes.get(arrival.received))
        else {
            return refused(WhyRejected::SessionEnded);
        };
        let never_long = AnyCommunity::Standard(Community::NO_LLGR);
        if peer.long_lived && never_long.is_in(set) {
            return refused(WhyRejected::NotKeptLong);
        }
        let subject = Subject {
            attributes: set,
            next_hop: self.next_hops.address(arrival.next_hop),
            interface: self.next_hops.interface(arrival.next_hop),
            source: peer.facts.source,
            peer: peer_type(peer.facts.source),
        };
        let decision = peer.facts.import.decide(prefix, &subject);
        if decision.verdict == Verdict::Reject {
            return refused(refusal(&peer.facts.import));
        }
        let known = memo.0.iter().find(|(of, edits, _)| *of == arrival && *edits == decision.edits);
        match known {
            Some((_, _, made)) => *made,
            None => {
                let made = self.change(arrival, &decision.edits);
                memo.0.push((arrival, decision.edits, made));
                made
            }
        }
    }

    /// Carries out what import does to the attributes; the result is counted once.
    fn change(&mut self, arrival: Arrival, edits: &Edits) -> Imported {
        let as_it_came =
            Imported { standing: Standing::Eligible, used: arrival.received, used_hop: arrival.next_hop };
        let (Some(peer), Some(set)) = (self.peers.get(arrival.peer), self.attributes.get(arrival.received))
        else {
            return as_it_came;
        };
        // LOCAL_PREF from an external peer means nothing (RFC 4271 §5.1.5).
        let foreign = peer.facts.source == Source::Ebgp && set.local_pref.is_some();
        let leaving = AnyCommunity::Standard(Community::GRACEFUL_SHUTDOWN).is_in(set);
        let long_lived = peer.long_lived;
        let mut made = as_it_came;
        if foreign || leaving || long_lived || !edits.is_empty() {
            let mut used = AttributeSet::clone(set);
            if foreign {
                used.local_pref = None;
            }
            if leaving {
                used.local_pref = Some(LAST_RESORT);
            }
            let hop = peer.facts.import.edit(edits, &mut used);
            if long_lived {
                used.communities.push(Community::LLGR_STALE);
                used.communities.sort_unstable();
                used.communities.dedup();
            }
            let of_link = peer.facts.link.map(|link| IpAddr::V6(link.peer));
            let of_peer = of_link.or(peer.facts.key.map(|key| key.address()));
            let link = peer.facts.link.map(|link| link.interface);
            made.used = self.attributes.intern_made(used);
            made.used_hop = match hop {
                Some(NextHopChange::Address(address)) => self.set_hop(arrival, Some(address), link),
                Some(NextHopChange::OwnSide) => self.set_hop(arrival, of_peer, link),
                Some(NextHopChange::Unchanged) | None => self.set_hop(arrival, None, link),
            };
        } else {
            self.attributes.retain(made.used);
            self.next_hops.retain(made.used_hop);
        }
        if self.is_own(arrival.peer, made.used_hop) {
            made.standing = Standing::Rejected(WhyRejected::OwnNextHop);
        }
        made
    }

    /// Whether a next hop is an address of our own: a link-local one on the very link.
    fn is_own(&self, peer: PeerSlot, hop: NextHopId) -> bool {
        let Some(address) = self.next_hops.address(hop) else { return false };
        match self.next_hops.zone(hop) {
            Some(_) => {
                let link = self.peers.get(peer).and_then(|peer| peer.facts.link);
                link.is_some_and(|link| address == link.own)
            }
            None => self.identity.own.contains(&address),
        }
    }

    /// The next hop to use, counted once: the one given, where it is of this table's family, else the one that came.
    fn set_hop(&mut self, arrival: Arrival, address: Option<IpAddr>, link: Option<Interface>) -> NextHopId {
        match address.filter(|address| Family::of_address(address) == A::FAMILY) {
            Some(address) => self.next_hops.intern(Some(address), link),
            None => {
                self.next_hops.retain(arrival.next_hop);
                arrival.next_hop
            }
        }
    }

    /// Lets go of what a memo holds.
    pub(super) fn forget(&mut self, memo: Memo) {
        for (_, _, made) in memo.0 {
            self.attributes.release(made.used);
            self.next_hops.release(made.used_hop);
        }
    }
}
