//! The choice among the paths to one destination (RFC 4271 §9.1.2, RFC 4456 §9).
//!
//! It is made by elimination, as the RFC writes it: each step strikes out what is worse than the best of what is
//! left, and never looks at what is gone. So the outcome depends on the set of paths alone and not on the order in
//! which they came, although MED, compared only within one neighbour AS, makes the pairwise relation intransitive.
//!
//! Departures, each to make the order total and independent of time: a path originated here wins before all else; an
//! absent MED is 0; age is never looked at; the last step after the peer address is the path identifier.

use std::cmp::{Ordering, Reverse};

use smallvec::SmallVec;

use super::reason::WhyNot;
use crate::config::PeerKey;

/// LOCAL_PREF of a path that carries none (RFC 4271 leaves the value to the speaker).
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// What the steps compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank<'a> {
    /// Kept for the return of a peer that is away (RFC 4724 §4.2).
    pub stale: bool,
    /// Kept somewhere for a speaker that has been away for long: the least preferred of all (RFC 9494 §4.3).
    pub long_lived_stale: bool,
    /// Originated by this speaker.
    pub local: bool,
    /// LOCAL_PREF, or the default.
    pub local_pref: u32,
    /// Length of AS_PATH.
    pub as_path_length: u32,
    /// ORIGIN.
    pub origin: u8,
    /// The group in which MEDs compare.
    pub neighbour_as: Option<u32>,
    /// MED.
    pub med: u32,
    /// Learned by eBGP.
    pub external: bool,
    /// Distance of the next hop.
    pub metric: u32,
    /// Originator id, else the peer's router id.
    pub router_id: u32,
    /// Length of CLUSTER_LIST.
    pub cluster_list_length: u32,
    /// The peer; `None` sorts first and is only ever this speaker.
    pub peer: Option<&'a PeerKey>,
    /// Path identifier.
    pub path_id: u32,
}

/// The steps after MED, all of which compare any two paths.
const AFTER_MED: [WhyNot; 6] = [
    WhyNot::InternalPeer,
    WhyNot::IgpMetric,
    WhyNot::RouterId,
    WhyNot::ClusterListLength,
    WhyNot::PeerAddress,
    WhyNot::PathId,
];

/// The steps before MED.
const BEFORE_MED: [WhyNot; 6] = [
    WhyNot::LongLivedStale,
    WhyNot::Stale,
    WhyNot::LocalOrigination,
    WhyNot::LocalPref,
    WhyNot::AsPathLength,
    WhyNot::Origin,
];

impl Rank<'_> {
    /// How two paths compare at one step: `Less` is better. MED compares as a number here; that it counts only within
    /// one neighbour AS is the business of the elimination.
    fn at(&self, step: WhyNot, other: &Self) -> Ordering {
        match step {
            WhyNot::LongLivedStale => self.long_lived_stale.cmp(&other.long_lived_stale),
            WhyNot::Stale => self.stale.cmp(&other.stale),
            WhyNot::LocalOrigination => Reverse(self.local).cmp(&Reverse(other.local)),
            WhyNot::LocalPref => Reverse(self.local_pref).cmp(&Reverse(other.local_pref)),
            WhyNot::AsPathLength => self.as_path_length.cmp(&other.as_path_length),
            WhyNot::Origin => self.origin.cmp(&other.origin),
            WhyNot::Med => self.med.cmp(&other.med),
            WhyNot::InternalPeer => Reverse(self.external).cmp(&Reverse(other.external)),
            WhyNot::IgpMetric => self.metric.cmp(&other.metric),
            WhyNot::RouterId => self.router_id.cmp(&other.router_id),
            WhyNot::ClusterListLength => self.cluster_list_length.cmp(&other.cluster_list_length),
            WhyNot::PeerAddress => self.peer.cmp(&other.peer),
            WhyNot::PathId => self.path_id.cmp(&other.path_id),
        }
    }

    /// The order of two paths of *one* neighbour AS, with the step that decided: a total order.
    pub fn compare(&self, other: &Self) -> (Ordering, Option<WhyNot>) {
        let steps = BEFORE_MED.iter().chain(&[WhyNot::Med]).chain(&AFTER_MED);
        for &step in steps {
            match self.at(step, other) {
                Ordering::Equal => {}
                decided @ (Ordering::Less | Ordering::Greater) => return (decided, Some(step)),
            }
        }
        (Ordering::Equal, None)
    }
}

/// What became of each candidate.
pub type Verdicts = SmallVec<[Option<WhyNot>; 4]>;

/// Chooses among candidates: for each the step at which it lost, `None` for the one that won.
pub fn eliminate(ranks: &[Rank<'_>]) -> Verdicts {
    let mut verdicts: Verdicts = SmallVec::from_elem(None, ranks.len());
    if ranks.len() < 2 {
        return verdicts;
    }
    for step in BEFORE_MED {
        strike(ranks, &mut verdicts, step);
    }
    strike_by_med(ranks, &mut verdicts);
    for step in AFTER_MED {
        strike(ranks, &mut verdicts, step);
    }
    verdicts
}

/// Strikes out what is worse at one step than the best that is left.
fn strike(ranks: &[Rank<'_>], verdicts: &mut Verdicts, step: WhyNot) {
    let left = |verdicts: &Verdicts, i: usize| verdicts[i].is_none();
    let best = (0..ranks.len()).filter(|&i| left(verdicts, i)).min_by(|&a, &b| ranks[a].at(step, &ranks[b]));
    let Some(best) = best else { return };
    for i in 0..ranks.len() {
        if left(verdicts, i) && ranks[i].at(step, &ranks[best]).is_gt() {
            verdicts[i] = Some(step);
        }
    }
}

/// RFC 4271 §9.1.2.2 c: strikes out what has a higher MED than another path of the same neighbour AS.
fn strike_by_med(ranks: &[Rank<'_>], verdicts: &mut Verdicts) {
    let mut left: SmallVec<[usize; 4]> = (0..ranks.len()).filter(|&i| verdicts[i].is_none()).collect();
    left.sort_by_key(|&i| (ranks[i].neighbour_as, ranks[i].med));
    let mut lowest: Option<usize> = None;
    for i in left {
        match lowest {
            Some(first) if ranks[first].neighbour_as == ranks[i].neighbour_as => {
                if ranks[i].med > ranks[first].med {
                    verdicts[i] = Some(WhyNot::Med);
                }
            }
            Some(_) | None => lowest = Some(i),
        }
    }
}
