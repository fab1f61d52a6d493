//! What an update group has been told: a column over all destinations (Adj-RIB-Out, RFC 4271 §3.2).
//!
//! One column serves every peer of the group. Peers differ only in split horizon: a peer is not told what it sent
//! itself, so a cell remembers the source of its path, and "told to the group" means "told to all but the source".
//! A [`Bundle`] is one attribute set with all prefixes of a pull that share it: one UPDATE, as far as it is long enough.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;

use super::attributes::AttrId;
use super::consumers::{Consumer, MoreOrLess, State, View};
use super::destination::{DestId, Path};
use super::egress::{Departure, EgressProfile};
use super::next_hops::NextHopId;
use super::peers::PeerSlot;
use super::reason::WhyNotSent;
use super::{Af, Rib};
use crate::policy::Edits;
use crate::wire::attribute::AttributeSet;

/// What was told of one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    attributes: AttrId,
    next_hop: NextHopId,
    source: PeerSlot,
}

const EMPTY: Cell = Cell { attributes: AttrId::NONE, next_hop: NextHopId::LOCAL, source: PeerSlot::LOCAL };

impl Cell {
    fn is_told(self) -> bool {
        self != EMPTY
    }

    /// What one member was told: nothing of its own paths.
    fn seen_by(self, member: PeerSlot) -> Option<(AttrId, NextHopId)> {
        (self.is_told() && self.source != member).then_some((self.attributes, self.next_hop))
    }
}

/// The Adj-RIB-Out of an update group.
#[derive(Clone, Debug)]
pub(super) struct AdjOut {
    profile: EgressProfile,
    column: Vec<Cell>,
    /// How many cells are filled, and how many of them by each source.
    told: u32,
    told_from: HashMap<PeerSlot, u32, RandomState>,
    members: HashSet<PeerSlot, RandomState>,
}

impl AdjOut {
    pub(super) fn new(profile: EgressProfile) -> Self {
        AdjOut {
            profile,
            column: Vec::new(),
            told: 0,
            told_from: HashMap::default(),
            members: HashSet::default(),
        }
    }

    pub(super) fn cell(&self, id: DestId) -> Cell {
        self.column.get(id.index()).copied().unwrap_or(EMPTY)
    }

    fn set(&mut self, id: DestId, cell: Cell) -> Cell {
        if self.column.len() <= id.index() {
            self.column.resize(id.index() + 1, EMPTY);
        }
        let old = std::mem::replace(&mut self.column[id.index()], cell);
        if old.is_told() {
            self.told -= 1;
            *self.told_from.entry(old.source).or_default() -= 1;
        }
        if cell.is_told() {
            self.told += 1;
            *self.told_from.entry(cell.source).or_default() += 1;
        }
        old
    }

    /// Empties a cell; the old content is returned.
    pub(super) fn clear(&mut self, id: DestId) -> Option<(AttrId, NextHopId)> {
        let old = self.cell(id);
        old.is_told().then(|| {
            self.set(id, EMPTY);
            (old.attributes, old.next_hop)
        })
    }
}

/// Which peers of a group a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// All.
    All,
    /// All but the source of the path.
    AllBut(PeerSlot),
    /// One.
    Only(PeerSlot),
}

impl Audience {
    /// Whether a peer belongs to it.
    pub fn includes(self, slot: PeerSlot) -> bool {
        match self {
            Audience::All => true,
            Audience::AllBut(source) => slot != source,
            Audience::Only(one) => slot == one,
        }
    }
}

/// Prefixes to be announced with one attribute set and one next hop, or withdrawn.
#[derive(Clone, Debug)]
pub struct Bundle<P> {
    /// For whom.
    pub audience: Audience,
    /// With what; `None` withdraws.
    pub attributes: Option<(Arc<AttributeSet>, IpAddr)>,
    /// Which.
    pub prefixes: Vec<P>,
}

/// What a pull of a group brought: no prefix is announced and withdrawn to the same peer in it.
#[derive(Clone, Debug)]
pub struct GroupBatch<P> {
    /// What to send.
    pub bundles: Vec<Bundle<P>>,
    index: HashMap<(Audience, AttrId, NextHopId), usize, RandomState>,
}

impl<P> Default for GroupBatch<P> {
    fn default() -> Self {
        GroupBatch { bundles: Vec::new(), index: HashMap::default() }
    }
}

/// What the transformation made of one path, remembered for the length of a pull: neighbouring destinations share it.
type Memo =
    HashMap<(AttrId, NextHopId, PeerSlot, Edits), Result<(AttrId, NextHopId), WhyNotSent>, RandomState>;

impl<A: Af> Rib<A> {
    /// A new update group, which will be told everything there is.
    pub fn open_group(&mut self, profile: EgressProfile) -> Consumer {
        self.open_consumer(View::Group(Box::new(AdjOut::new(profile))))
    }

    /// A new group that starts from what another has been told, under another profile: only differences are sent.
    pub fn fork_group(&mut self, from: Consumer, profile: EgressProfile) -> Consumer {
        let Some(out) = self.adj_out(from) else { return self.open_group(profile) };
        let column = AdjOut { profile, members: HashSet::default(), ..out.clone() };
        for (index, cell) in column.column.iter().enumerate().filter(|(_, cell)| cell.is_told()) {
            self.attributes.retain(cell.attributes);
            self.next_hops.retain(cell.next_hop);
            if let Some(destination) = self.table.get_mut(DestId(index as u32)) {
                destination.holds += 1;
            }
        }
        self.open_consumer(View::Group(Box::new(column)))
    }

    /// A peer joins a group: true when the group has been told nothing yet, so that there is nothing to catch up with.
    pub fn join(&mut self, group: Consumer, slot: PeerSlot) -> bool {
        self.adj_out_mut(group).is_some_and(|out| {
            out.members.insert(slot);
            out.told == 0
        })
    }

    /// A peer leaves a group; true when it was the last.
    pub fn leave(&mut self, group: Consumer, slot: PeerSlot) -> bool {
        self.adj_out_mut(group).is_none_or(|out| {
            out.members.remove(&slot);
            out.members.is_empty()
        })
    }

    /// How many destinations a member of a group has been told of.
    pub fn announced(&self, group: Consumer, slot: PeerSlot) -> u32 {
        self.adj_out(group).map_or(0, |out| out.told - out.told_from.get(&slot).copied().unwrap_or_default())
    }

    /// The prefixes of which a peer that moves from one group to another was told something else than the other has
    /// been told.
    pub fn differences(&self, from: Consumer, to: Consumer, slot: PeerSlot) -> Vec<A::Prefix> {
        let (Some(from), Some(to)) = (self.adj_out(from), self.adj_out(to)) else { return Vec::new() };
        let end = from.column.len().max(to.column.len()) as u32;
        (0..end)
            .map(DestId)
            .filter(|&id| from.cell(id).seen_by(slot) != to.cell(id).seen_by(slot))
            .filter_map(|id| Some(self.table.get(id)?.prefix))
            .collect()
    }

    /// What changed for a group since the last pull, at most about `budget` destinations.
    pub fn pull_group(
        &mut self,
        group: Consumer,
        budget: usize,
        out: &mut GroupBatch<A::Prefix>,
    ) -> MoreOrLess {
        let mut memo = Memo::default();
        for _ in 0..budget {
            let Some((id, was_dirty)) = self.next_dirty(group) else { break };
            self.tell(group, id, &mut memo, out);
            if was_dirty {
                self.unhold(id);
            }
        }
        for made in memo.into_values().flatten() {
            self.attributes.release(made.0);
            self.next_hops.release(made.1);
        }
        self.more_or_less(group)
    }

    fn tell(&mut self, group: Consumer, id: DestId, memo: &mut Memo, batch: &mut GroupBatch<A::Prefix>) {
        let Some(destination) = self.table.get(id) else { return };
        let (prefix, best) = (destination.prefix, destination.best().copied());
        let wanted = best.and_then(|best| self.wanted(group, prefix, &best, memo)).unwrap_or(EMPTY);
        let Some(out) = self.adj_out_mut(group) else { return };
        let old = out.cell(id);
        if old == wanted {
            return;
        }
        out.set(id, wanted);
        let audience = |cell: Cell, out: &AdjOut| match out.members.contains(&cell.source) {
            true => Audience::AllBut(cell.source),
            false => Audience::All,
        };
        let to_old = audience(old, out);
        let to_new = audience(wanted, out);
        let new_source_knew = old.is_told() && old.source != wanted.source;
        let source_is_member = out.members.contains(&wanted.source);
        if wanted.is_told() {
            self.attributes.retain(wanted.attributes);
            self.next_hops.retain(wanted.next_hop);
            self.add(batch, to_new, wanted, prefix);
            if new_source_knew && source_is_member {
                self.add(batch, Audience::Only(wanted.source), EMPTY, prefix);
            }
        } else {
            self.add(batch, to_old, EMPTY, prefix);
        }
        if old.is_told() {
            self.attributes.release(old.attributes);
            self.next_hops.release(old.next_hop);
        }
        match (old.is_told(), wanted.is_told()) {
            (false, true) => self.hold(id),
            (true, false) => self.unhold(id),
            (true, true) | (false, false) => {}
        }
    }

    /// The cell a group ought to have for a best path; `None` when the group is not to be told.
    fn wanted(&mut self, group: Consumer, prefix: A::Prefix, best: &Path, memo: &mut Memo) -> Option<Cell> {
        let State { view: View::Group(out), .. } = self.consumers.get(group.index())? else { return None };
        let departure = self.departure(best)?;
        let edits = out.profile.admit(prefix, &departure).ok()?;
        let key = (best.used, best.used_hop, best.peer, edits);
        let made = match memo.get(&key) {
            Some(made) => *made,
            None => {
                let made = out
                    .profile
                    .transform(&departure, A::FAMILY, &key.3)
                    .map(|(set, hop)| (self.attributes.intern(&set), self.next_hops.intern(Some(hop))));
                memo.insert(key, made);
                made
            }
        };
        let (attributes, next_hop) = made.ok()?;
        Some(Cell { attributes, next_hop, source: best.peer })
    }

    /// A path as the egress sees it.
    fn departure(&self, path: &Path) -> Option<Departure<'_>> {
        Some(Departure {
            source: &self.peers.get(path.peer)?.facts,
            set: self.attributes.get(path.used)?,
            next_hop: self.next_hops.address(path.used_hop),
            interface: self.next_hops.interface(path.used_hop),
        })
    }

    fn add(&self, batch: &mut GroupBatch<A::Prefix>, audience: Audience, cell: Cell, prefix: A::Prefix) {
        let bundles = &mut batch.bundles;
        let place = *batch.index.entry((audience, cell.attributes, cell.next_hop)).or_insert_with(|| {
            let attributes = self
                .attributes
                .get(cell.attributes)
                .and_then(|set| Some((Arc::clone(set), self.next_hops.address(cell.next_hop)?)));
            bundles.push(Bundle { audience, attributes, prefixes: Vec::new() });
            bundles.len() - 1
        });
        if let Some(bundle) = bundles.get_mut(place) {
            bundle.prefixes.push(prefix);
        }
    }

    /// The present state of some prefixes for one member that missed their changes.
    pub fn catch_up(&self, group: Consumer, slot: PeerSlot, prefixes: &[A::Prefix]) -> GroupBatch<A::Prefix> {
        let mut batch = GroupBatch::default();
        let Some(out) = self.adj_out(group) else { return batch };
        for &prefix in prefixes {
            let cell = self.table.find(prefix).map_or(EMPTY, |id| out.cell(id));
            let cell = if cell.source == slot { EMPTY } else { cell };
            self.add(&mut batch, Audience::Only(slot), cell, prefix);
        }
        batch
    }

    /// A slice of what the group has been told, for a member that has just come: from `cursor` on, with the cursor for
    /// the next slice or `None` at the end.
    pub fn catch_up_from(
        &self,
        group: Consumer,
        slot: PeerSlot,
        cursor: DestId,
        budget: usize,
    ) -> (GroupBatch<A::Prefix>, Option<DestId>) {
        let mut batch = GroupBatch::default();
        let Some(out) = self.adj_out(group) else { return (batch, None) };
        let end = out.column.len().min(cursor.index().saturating_add(budget)) as u32;
        for id in (cursor.0..end).map(DestId) {
            let cell = out.cell(id);
            if let Some(destination) = self.table.get(id).filter(|_| cell.seen_by(slot).is_some()) {
                self.add(&mut batch, Audience::Only(slot), cell, destination.prefix);
            }
        }
        (batch, ((end as usize) < out.column.len()).then_some(DestId(end)))
    }

    fn adj_out(&self, group: Consumer) -> Option<&AdjOut> {
        match &self.consumers.get(group.index())?.view {
            View::Group(out) => Some(out),
            View::Best { .. } => None,
        }
    }

    fn adj_out_mut(&mut self, group: Consumer) -> Option<&mut AdjOut> {
        match &mut self.consumers.get_mut(group.index())?.view {
            View::Group(out) => Some(out),
            View::Best { .. } => None,
        }
    }
}
