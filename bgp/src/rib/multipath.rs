//! Puts the paths of a destination in order: the best, its equals, the rest.
//!
//! Equals are those that were still in when the distance of the next hop had been compared; only tie-breaks, which say
//! nothing of the quality of a path, struck them out. AS paths need only be equally long, or must be the same, as
//! [`Multipath::relax`] says. Each next hop is used once.

use smallvec::SmallVec;

use super::attributes::{Attributes, Facts};
use super::decision::{DEFAULT_LOCAL_PREF, Rank, Verdicts, eliminate};
use super::destination::{Destination, Path};
use super::next_hops::{NextHops, Reach};
use super::peers::{Peer, PeerSlot, Peers, Source};
use super::reason::WhyNot;
use crate::config::Multipath;

/// What a decision looks at besides the paths.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) attributes: &'a Attributes,
    pub(super) next_hops: &'a NextHops,
    pub(super) peers: &'a Peers,
    pub(super) multipath: Multipath,
    /// Only what this speaker originates is chosen.
    pub(super) deferred: bool,
}

impl<'a> Context<'a> {
    /// Whether the path is not to be chosen yet.
    pub(super) fn waits(&self, path: &Path) -> bool {
        self.deferred && path.peer != PeerSlot::LOCAL
    }

    /// How far its next hop is and whose it is, or `None` when a path takes no part in the decision.
    fn candidate(&self, path: &Path) -> Option<(u32, &'a Peer)> {
        if self.waits(path) {
            return None;
        }
        let Reach::At(metric) = self.next_hops.reach(path.used_hop) else { return None };
        let peer = self.peers.get(path.peer).filter(|peer| peer.live && path.standing.is_eligible())?;
        Some((metric, peer))
    }

    /// The rank of a path, or `None` when it takes no part in the decision.
    pub(super) fn rank(&self, path: &Path) -> Option<Rank<'a>> {
        let (metric, peer) = self.candidate(path)?;
        let facts: &Facts = self.attributes.facts(path.used)?;
        Some(Rank {
            stale: peer.stale,
            long_lived_stale: facts.long_lived_stale,
            local: peer.facts.source == Source::Local,
            local_pref: facts.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            as_path_length: facts.as_path_length,
            origin: facts.origin,
            neighbour_as: facts.neighbour_as,
            med: facts.med,
            external: peer.facts.source == Source::Ebgp,
            metric,
            router_id: facts.originator.unwrap_or(peer.facts.router_id),
            cluster_list_length: facts.cluster_list_length,
            peer: peer.facts.key.as_ref(),
            path_id: path.path_id,
        })
    }

    /// Decides a destination: orders its paths and says how many are in use.
    pub(super) fn choose<P>(&self, destination: &mut Destination<P>) {
        // Most prefixes have one path, whose rank nobody asks for.
        if let [only] = destination.paths.as_slice() {
            let candidates = u16::from(self.candidate(only).is_some());
            (destination.selected, destination.candidates) = (candidates, candidates);
            return;
        }
        let mut candidates = 0;
        let mut ranks: SmallVec<[Rank<'a>; 4]> = SmallVec::new();
        for i in 0..destination.paths.len() {
            if let Some(rank) = self.rank(&destination.paths[i]) {
                destination.paths.swap(candidates, i);
                ranks.push(rank);
                candidates += 1;
            }
        }
        if candidates < 2 {
            (destination.selected, destination.candidates) = (candidates as u16, candidates as u16);
            return;
        }
        let verdicts: Verdicts = eliminate(&ranks);
        let mut order = self.order(&destination.paths[..candidates], &ranks, &verdicts);
        let selected = order.len();
        order.extend(self.rest(&order, &ranks, &verdicts));
        let ordered: SmallVec<[Path; 4]> = order.iter().map(|&i| destination.paths[i]).collect();
        destination.paths[..candidates].copy_from_slice(&ordered);
        (destination.selected, destination.candidates) = (selected as u16, candidates as u16);
    }

    /// Whether two paths went through the same ASes.
    fn same_path(&self, a: &Path, b: &Path) -> bool {
        let as_path = |path: &Path| self.attributes.get(path.used).map(|set| &set.as_path);
        a.used == b.used || as_path(a) == as_path(b)
    }

    /// The candidates that are not in use: those that lost at a later step first.
    fn rest(&self, used: &[usize], ranks: &[Rank<'a>], verdicts: &Verdicts) -> SmallVec<[usize; 4]> {
        let mut rest: SmallVec<[usize; 4]> = (0..ranks.len()).filter(|i| !used.contains(i)).collect();
        rest.sort_by(|&a, &b| verdicts[b].cmp(&verdicts[a]).then_with(|| ranks[a].compare(&ranks[b])));
        rest
    }

    /// The candidates in use, the best first.
    fn order(&self, paths: &[Path], ranks: &[Rank<'a>], verdicts: &Verdicts) -> SmallVec<[usize; 4]> {
        let mut order: SmallVec<[usize; 4]> =
            (0..ranks.len()).filter(|&i| verdicts[i].is_none_or(|step| step > WhyNot::IgpMetric)).collect();
        order.sort_by(|&a, &b| {
            verdicts[a].is_some().cmp(&verdicts[b].is_some()).then_with(|| ranks[a].compare(&ranks[b]))
        });
        let mut used: SmallVec<[_; 4]> = SmallVec::new();
        let best = order.first().copied();
        order.retain(|i| {
            let hop = paths[*i].used_hop;
            let alike =
                self.multipath.relax || best.is_some_and(|best| self.same_path(&paths[best], &paths[*i]));
            let fresh = alike && !used.contains(&hop) && used.len() < usize::from(self.multipath.max.get());
            if fresh {
                used.push(hop);
            }
            fresh
        });
        order
    }
}
