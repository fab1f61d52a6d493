//! One change into the tables: judge, store, decide, mark dirty. The cost is that of the prefixes named.

use std::net::IpAddr;
use std::time::Instant;

use super::attributes::AttrId;
use super::destination::{DestId, Path};
use super::multipath::Context;
use super::peers::{PeerFacts, PeerSlot, Source};
use super::reason::{Standing, WhyRejected};
use super::work::Job;
use super::{Af, Attrs, Change, Nlri, Rib};
use crate::policy::Verdict;
use crate::wire::attribute::AttributeSet;

impl<A: Af> Rib<A> {
    /// Takes one change. Changes of a session that is over, or was never up, are without effect.
    pub fn apply(&mut self, now: Instant, change: Change<'_, A>) {
        match change {
            Change::Announce(slot, attrs, nlri) => self.announce(now, slot, attrs, nlri),
            Change::Withdraw(slot, nlri) => self.withdraw(slot, nlri),
            Change::Up(slot, facts) => self.peers.open(slot, facts),
            Change::Down(slot) => self.down(slot),
            Change::EndOfRib(slot) => self.end_of_rib(slot),
            Change::Policy(slot, import, client) => {
                if let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live) {
                    peer.facts.import = import;
                    peer.facts.client = client;
                    self.judge_again(slot);
                }
            }
            Change::NextHop(hop, reach) => {
                if self.next_hops.set_reach(hop, reach) {
                    self.next_hops.retain(hop);
                    self.jobs.push_back(Job::Reach { hop, cursor: 0 });
                }
            }
            Change::Identity(identity) => {
                if identity != self.identity {
                    self.identity = identity;
                    let slots: Vec<PeerSlot> = self.peers.iter().map(|(slot, _)| slot).collect();
                    slots.into_iter().for_each(|slot| self.judge_again(slot));
                }
            }
        }
    }

    fn judge_again(&mut self, slot: PeerSlot) {
        let left = self.peers.get(slot).map_or(0, |peer| peer.paths.len());
        self.jobs.retain(|job| !matches!(job, Job::Judge { slot: other, .. } if *other == slot));
        self.jobs.push_back(Job::Judge { slot, left });
    }

    fn down(&mut self, slot: PeerSlot) {
        if let Some(peer) = self.peers.get_mut(slot).filter(|peer| peer.live) {
            peer.live = false;
            self.forget_end_of_rib(slot);
            self.jobs.push_back(Job::Sweep(slot));
        }
    }

    fn announce(&mut self, now: Instant, slot: PeerSlot, attrs: Attrs<'_>, nlri: &[Nlri<A::Prefix>]) {
        let Some(peer) = self.peers.get(slot).filter(|peer| peer.live) else { return };
        let of_set = self.judge_set(&peer.facts, attrs.set, attrs.next_hop);
        let stamp = now.saturating_duration_since(self.started).as_secs() as u32;
        let received = self.attributes.intern(attrs.set);
        let used = self.import(slot, received, attrs.set);
        let next_hop = self.next_hops.intern(attrs.next_hop);
        for one in nlri {
            let standing = self.judge_prefix(slot, of_set, one.prefix);
            let path =
                Path { received, used, next_hop, path_id: one.path_id, stamp, at: 0, peer: slot, standing };
            self.place(one.prefix, path);
        }
        self.attributes.release(received);
        self.attributes.release(used);
        self.next_hops.release(next_hop);
    }

    /// The attributes as import leaves them, counted once: LOCAL_PREF from an external peer means nothing
    /// (RFC 4271 §5.1.5).
    fn import(&mut self, slot: PeerSlot, received: AttrId, set: &AttributeSet) -> AttrId {
        let external = self.peers.get(slot).is_some_and(|peer| peer.facts.source == Source::Ebgp);
        if external && set.local_pref.is_some() {
            let used = AttributeSet { local_pref: None, ..set.clone() };
            return self.attributes.intern(&used);
        }
        self.attributes.retain(received);
        received
    }

    /// What the attributes alone decide, the same for every prefix of an UPDATE.
    pub(super) fn judge_set(
        &self,
        peer: &PeerFacts,
        set: &AttributeSet,
        next_hop: Option<IpAddr>,
    ) -> Standing {
        if peer.source == Source::Local {
            return Standing::Eligible;
        }
        if set.as_path.contains(peer.local_as) {
            return Standing::Rejected(WhyRejected::AsLoop);
        }
        if set.originator_id == Some(self.identity.router_id) {
            return Standing::Rejected(WhyRejected::OriginatorLoop);
        }
        if set.cluster_list.contains(&self.identity.cluster_id) {
            return Standing::Rejected(WhyRejected::ClusterLoop);
        }
        if next_hop.is_some_and(|address| self.identity.own.contains(&address)) {
            return Standing::Rejected(WhyRejected::OwnNextHop);
        }
        Standing::Eligible
    }

    /// What the import policy adds for one prefix.
    pub(super) fn judge_prefix(&self, slot: PeerSlot, of_set: Standing, prefix: A::Prefix) -> Standing {
        let Some(peer) = self.peers.get(slot).filter(|_| of_set.is_eligible()) else { return of_set };
        match peer.facts.import.evaluate(prefix) {
            Verdict::Accept => Standing::Eligible,
            Verdict::Reject => Standing::Rejected(WhyRejected::ImportPolicy),
        }
    }

    /// Puts a path into its destination, in place of an older one of the same peer and identifier.
    ///
    /// A rejected path replaces too: what the peer said before no longer holds (an implicit withdraw).
    fn place(&mut self, prefix: A::Prefix, mut path: Path) {
        let id = self.table.find_or_insert(prefix);
        let Some(destination) = self.table.get_mut(id) else { return };
        let before = destination.shown();
        self.attributes.retain(path.received);
        self.attributes.retain(path.used);
        self.next_hops.retain(path.next_hop);
        let old = match destination.position(path.peer, path.path_id) {
            Some(place) => {
                let old = destination.paths[place];
                path.at = old.at;
                destination.paths[place] = path;
                Some(old)
            }
            None => {
                if let Some(peer) = self.peers.get_mut(path.peer) {
                    path.at = peer.paths.len() as u32;
                    peer.paths.push(id);
                }
                destination.paths.push(path);
                None
            }
        };
        if let Some(peer) = self.peers.get_mut(path.peer) {
            peer.accepted += u32::from(path.standing.is_eligible());
            peer.accepted -= u32::from(old.is_some_and(|old| old.standing.is_eligible()));
        }
        if let Some(old) = old {
            self.let_go(&old);
        }
        self.decide(id, &before);
    }

    fn withdraw(&mut self, slot: PeerSlot, nlri: &[Nlri<A::Prefix>]) {
        for one in nlri {
            let Some(id) = self.table.find(one.prefix) else { continue };
            let place = self.table.get(id).and_then(|destination| destination.position(slot, one.path_id));
            if let Some(place) = place {
                self.remove(id, place);
            }
        }
    }

    /// Takes a path out of its destination and out of its peer's list.
    pub(super) fn remove(&mut self, id: DestId, place: usize) {
        let Some(destination) = self.table.get_mut(id) else { return };
        let before = destination.shown();
        let path = destination.paths.remove(place);
        if let Some(peer) = self.peers.get_mut(path.peer) {
            peer.accepted -= u32::from(path.standing.is_eligible());
            peer.paths.swap_remove(path.at as usize);
            // The last entry has moved into the gap: its path must know.
            if let Some(&moved) = peer.paths.get(path.at as usize) {
                let last = peer.paths.len() as u32;
                if let Some(other) = self.table.get_mut(moved) {
                    for candidate in &mut other.paths {
                        if candidate.peer == path.peer && candidate.at == last {
                            candidate.at = path.at;
                        }
                    }
                }
            }
        }
        self.let_go(&path);
        self.decide(id, &before);
        self.table.remove_unused(id);
    }

    fn let_go(&mut self, path: &Path) {
        self.attributes.release(path.received);
        self.attributes.release(path.used);
        self.next_hops.release(path.next_hop);
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            attributes: &self.attributes,
            next_hops: &self.next_hops,
            peers: &self.peers,
            multipath: self.identity.multipath.max(1),
        }
    }

    /// Decides a destination anew and marks it dirty if what consumers see is no longer `before`.
    pub(super) fn decide(&mut self, id: DestId, before: &[super::destination::Shown]) {
        let context = Context {
            attributes: &self.attributes,
            next_hops: &self.next_hops,
            peers: &self.peers,
            multipath: self.identity.multipath.max(1),
        };
        let Some(destination) = self.table.get_mut(id) else { return };
        context.choose(destination);
        if destination.shown().as_slice() != before {
            self.mark(id);
        }
    }
}
