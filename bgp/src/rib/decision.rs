//! The choice among the paths to one destination (RFC 4271 §9.1.2, RFC 4456 §9).
//!
//! It is made by elimination, as the RFC writes it: each step strikes out what is worse than the best of what is
//! left, and never looks at what is gone. So the outcome depends on the set of paths alone and not on the order in
//! which they came, although MED, compared only within one neighbour AS, makes the pairwise relation intransitive.
//!
//! Departures, each to make the order total and independent of time: a path originated here wins before all else; an
//! absent MED is 0; age is never looked at; the last step after the peer address is the path identifier.

use std::cmp::Ordering;

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

/// Steps that compare any two paths, the first first, each with its place in a number that holds them all: that of its lowest
/// bit. One comparison of such numbers stands for all the steps, and the highest bit in which two differ tells which
/// of them decided.
type Steps = [(u32, WhyNot)];

/// The steps before MED.
const BEFORE_MED: &Steps = &[
    (74, WhyNot::LongLivedStale),
    (73, WhyNot::Stale),
    (72, WhyNot::LocalOrigination),
    (40, WhyNot::LocalPref),
    (8, WhyNot::AsPathLength),
    (0, WhyNot::Origin),
];

/// The steps after MED, but for the ties.
const AFTER_MED: &Steps = &[
    (96, WhyNot::InternalPeer),
    (64, WhyNot::IgpMetric),
    (32, WhyNot::RouterId),
    (0, WhyNot::ClusterListLength),
];

impl Rank<'_> {
    /// What [`BEFORE_MED`] compares: less is better.
    fn before_med(&self) -> u128 {
        u128::from(self.long_lived_stale) << 74
            | u128::from(self.stale) << 73
            | u128::from(!self.local) << 72
            | u128::from(!self.local_pref) << 40
            | u128::from(self.as_path_length) << 8
            | u128::from(self.origin)
    }

    /// What [`AFTER_MED`] compares: less is better.
    fn after_med(&self) -> u128 {
        u128::from(!self.external) << 96
            | u128::from(self.metric) << 64
            | u128::from(self.router_id) << 32
            | u128::from(self.cluster_list_length)
    }

    /// What is left to tell two paths apart.
    fn tie(&self) -> (Option<&PeerKey>, u32) {
        (self.peer, self.path_id)
    }

    /// The order of two paths of *one* neighbour AS: a total order.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.before_med()
            .cmp(&other.before_med())
            .then_with(|| self.med.cmp(&other.med))
            .then_with(|| self.after_med().cmp(&other.after_med()))
            .then_with(|| self.tie().cmp(&other.tie()))
    }
}

/// The step that decided between two numbers; `None` if they are the same.
fn decided(one: u128, other: u128, steps: &Steps) -> Option<WhyNot> {
    let highest = (one ^ other).checked_ilog2()?;
    steps.iter().find(|(lowest, _)| highest >= *lowest).map(|(_, step)| *step)
}

/// What became of each candidate.
pub type Verdicts = SmallVec<[Option<WhyNot>; 4]>;

/// Chooses among candidates: for each the step at which it lost, `None` for the one that won.
pub fn eliminate(ranks: &[Rank<'_>]) -> Verdicts {
    let mut verdicts: Verdicts = SmallVec::from_elem(None, ranks.len());
    if ranks.len() < 2 {
        return verdicts;
    }
    strike(ranks, &mut verdicts, Rank::before_med, |one, best| decided(one, best, BEFORE_MED));
    strike_by_med(ranks, &mut verdicts);
    strike(ranks, &mut verdicts, Rank::after_med, |one, best| decided(one, best, AFTER_MED));
    strike(ranks, &mut verdicts, Rank::tie, |one, best| {
        let by_peer = (one.0 != best.0).then_some(WhyNot::PeerAddress);
        by_peer.or((one.1 != best.1).then_some(WhyNot::PathId))
    });
    verdicts
}

/// Strikes out, of what is left, all that is worse than the best in what these steps compare. A step never looks at what an
/// earlier one has struck out: the best of all is in to the end, so that each other goes at the first step
/// at which it differs from it.
fn strike<'a, K: Ord + Copy>(
    ranks: &'a [Rank<'a>],
    verdicts: &mut Verdicts,
    key: impl Fn(&'a Rank<'a>) -> K,
    decided: impl Fn(K, K) -> Option<WhyNot>,
) {
    let left = |verdict: &Option<WhyNot>| verdict.is_none();
    let keys = ranks.iter().zip(&*verdicts).filter(|(_, verdict)| left(verdict)).map(|(rank, _)| key(rank));
    let Some(best) = keys.min() else { return };
    for (rank, verdict) in ranks.iter().zip(verdicts).filter(|(_, verdict)| left(verdict)) {
        *verdict = decided(key(rank), best);
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
