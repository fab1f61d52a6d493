//! What an update group has been told: a column over all destinations (Adj-RIB-Out, RFC 4271 §3.2).
//!
//! One column serves every peer of the group. Peers differ only in split horizon: a peer is not told what it sent
//! itself, so a cell remembers the source of its path, and "told to the group" means "told to all but the source".
//! A [`Bundle`] is one attribute set with all prefixes of a pull that share it: one UPDATE, as far as it is long enough.
//!
//! A group whose peers are told one path of a prefix has one cell a destination. One whose peers are told several
//! (RFC 7911) has a cell for each, by the identifier of the path among the paths of its destination, which it keeps as
//! long as it is known: that the order of paths changes is nothing to tell of.

mod late;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use smallvec::SmallVec;

use super::attributes::AttrId;
use super::consumers::{Consumer, MoreOrLess, State, View};
use super::destination::{DestId, Path};
use super::egress::{Departure, EgressProfile};
use super::next_hops::NextHopId;
use super::peers::PeerSlot;
use super::reason::WhyNotSent;
use super::{Af, Nlri, Rib};
use crate::config::PathsSent;
use crate::policy::Edits;
use crate::wire::attribute::AttributeSet;

/// What was told of one path.
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

/// What was told of one destination: each path by its identifier, which is 0 where only one is told.
type Cells = SmallVec<[(u8, Cell); 1]>;

/// The cells that are filled.
#[derive(Clone, Debug)]
enum Column {
    /// At most one a destination.
    One(Vec<Cell>),
    /// Several.
    Several(BTreeMap<DestId, Cells>),
}

impl Column {
    fn cells(&self, id: DestId) -> Cells {
        match self {
            Column::One(column) => {
                let cell = column.get(id.index()).copied().filter(|cell| cell.is_told());
                cell.map(|cell| (0, cell)).into_iter().collect()
            }
            Column::Several(column) => column.get(&id).cloned().unwrap_or_default(),
        }
    }

    fn cell(&self, id: DestId, path: u8) -> Cell {
        match self {
            Column::One(column) => column.get(id.index()).copied().filter(|_| path == 0),
            Column::Several(column) => column
                .get(&id)
                .and_then(|cells| cells.iter().find(|(of, _)| *of == path))
                .map(|(_, cell)| *cell),
        }
        .unwrap_or(EMPTY)
    }

    fn set(&mut self, id: DestId, path: u8, cell: Cell) -> Cell {
        let old = self.cell(id, path);
        match self {
            Column::One(column) => {
                if column.len() <= id.index() {
                    column.resize(id.index() + 1, EMPTY);
                }
                column[id.index()] = cell;
            }
            Column::Several(column) => {
                let cells = column.entry(id).or_default();
                cells.retain(|(of, _)| *of != path);
                if cell.is_told() {
                    cells.push((path, cell));
                }
                if cells.is_empty() {
                    column.remove(&id);
                }
            }
        }
        old
    }

    /// One more than the highest destination with a filled cell.
    fn end(&self) -> u32 {
        match self {
            Column::One(column) => column.len() as u32,
            Column::Several(column) => column.last_key_value().map_or(0, |(id, _)| id.0 + 1),
        }
    }
}

/// The Adj-RIB-Out of an update group.
#[derive(Clone, Debug)]
pub(super) struct AdjOut {
    profile: EgressProfile,
    column: Column,
    /// How many cells are filled, and how many of them by each source.
    told: u32,
    told_from: HashMap<PeerSlot, u32, RandomState>,
    members: HashSet<PeerSlot, RandomState>,
}

impl AdjOut {
    pub(super) fn new(profile: EgressProfile) -> Self {
        let column = match profile.paths {
            None => Column::One(Vec::new()),
            Some(_) => Column::Several(BTreeMap::new()),
        };
        AdjOut { profile, column, told: 0, told_from: HashMap::default(), members: HashSet::default() }
    }

    /// Whether its peers are told of more than the best path.
    pub(super) fn sees_all(&self) -> bool {
        self.profile.paths.is_some()
    }

    fn set(&mut self, id: DestId, path: u8, cell: Cell) -> Cell {
        let old = self.column.set(id, path, cell);
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

    /// Empties the cells of a destination; the old content is returned.
    pub(super) fn clear(&mut self, id: DestId) -> SmallVec<[(AttrId, NextHopId); 1]> {
        let told = self.column.cells(id);
        for (path, _) in &told {
            self.set(id, *path, EMPTY);
        }
        told.into_iter().map(|(_, cell)| (cell.attributes, cell.next_hop)).collect()
    }

    /// For whom a path is: its source, if it is a member, is not told.
    fn audience(&self, source: PeerSlot) -> Audience {
        match self.members.contains(&source) {
            true => Audience::AllBut(source),
            false => Audience::All,
        }
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
    /// Which, with the identifier of the path; 0 where only one is told.
    pub prefixes: Vec<Nlri<P>>,
}

/// What a pull of a group brought: no path is announced and withdrawn to the same peer in it.
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
        let alike = |out: &&AdjOut| out.profile.paths.is_some() == profile.paths.is_some();
        let Some(out) = self.adj_out(from).filter(alike) else { return self.open_group(profile) };
        let forked = AdjOut { profile, members: HashSet::default(), ..out.clone() };
        for id in (0..forked.column.end()).map(DestId) {
            let told = forked.column.cells(id);
            for (_, cell) in &told {
                self.attributes.retain(cell.attributes);
                self.next_hops.retain(cell.next_hop);
            }
            if !told.is_empty() {
                self.hold(id);
            }
        }
        self.open_consumer(View::Group(Box::new(forked)))
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

    /// How many paths a member of a group has been told of.
    pub fn announced(&self, group: Consumer, slot: PeerSlot) -> u32 {
        self.adj_out(group).map_or(0, |out| out.told - out.told_from.get(&slot).copied().unwrap_or_default())
    }

    /// The paths of which a peer that moves from one group to another was told something else than the other has been
    /// told.
    pub fn differences(&self, from: Consumer, to: Consumer, slot: PeerSlot) -> Vec<Nlri<A::Prefix>> {
        let (Some(from), Some(to)) = (self.adj_out(from), self.adj_out(to)) else { return Vec::new() };
        let end = from.column.end().max(to.column.end());
        let mut differences = Vec::new();
        for id in (0..end).map(DestId) {
            let Some(destination) = self.table.get(id) else { continue };
            let (before, after) = (from.column.cells(id), to.column.cells(id));
            let new = after.iter().filter(|(path, _)| !before.iter().any(|(of, _)| of == path));
            for &(path, _) in before.iter().chain(new) {
                let seen = |out: &AdjOut| self.owned(out.column.cell(id, path)).seen_by(slot);
                if seen(from) != seen(to) {
                    differences.push(Nlri { prefix: destination.prefix, path_id: path.into() });
                }
            }
        }
        differences
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
        let Some(prefix) = self.table.get(id).map(|destination| destination.prefix) else { return };
        let wanted = self.wanted_cells(group, id, memo);
        let Some(told) = self.adj_out(group).map(|out| out.column.cells(id)) else { return };
        for &(path, _) in told.iter().filter(|(path, _)| !wanted.iter().any(|(of, _)| of == path)) {
            self.tell_path(group, id, Nlri { prefix, path_id: path.into() }, EMPTY, batch);
        }
        for &(path, cell) in &wanted {
            self.tell_path(group, id, Nlri { prefix, path_id: path.into() }, cell, batch);
        }
        match (told.is_empty(), wanted.is_empty()) {
            (true, false) => self.hold(id),
            (false, true) => self.unhold(id),
            (true, true) | (false, false) => {}
        }
    }

    /// Brings one cell to what is wanted, and says so to those who saw something else.
    fn tell_path(
        &mut self,
        group: Consumer,
        id: DestId,
        nlri: Nlri<A::Prefix>,
        wanted: Cell,
        batch: &mut GroupBatch<A::Prefix>,
    ) {
        let told = self.adj_out(group).map_or(EMPTY, |out| out.column.cell(id, nlri.path_id as u8));
        let (old_source, new_source) = (self.peers.owner(told.source), self.peers.owner(wanted.source));
        let Some(out) = self.adj_out_mut(group) else { return };
        let old = out.set(id, nlri.path_id as u8, wanted);
        if old == wanted {
            return;
        }
        let (to_old, to_new) = (out.audience(old_source), out.audience(new_source));
        let new_source_knew = old.is_told() && old_source != new_source;
        let source_is_member = out.members.contains(&new_source);
        if wanted.is_told() {
            self.attributes.retain(wanted.attributes);
            self.next_hops.retain(wanted.next_hop);
            self.add(batch, to_new, wanted, nlri);
            if new_source_knew && source_is_member {
                self.add(batch, Audience::Only(new_source), EMPTY, nlri);
            }
        } else {
            self.add(batch, to_old, EMPTY, nlri);
        }
        if old.is_told() {
            self.attributes.release(old.attributes);
            self.next_hops.release(old.next_hop);
        }
    }

    /// The cells a group ought to have for a destination.
    fn wanted_cells(&mut self, group: Consumer, id: DestId, memo: &mut Memo) -> Cells {
        let mut cells = Cells::new();
        let Some(paths) = self.adj_out(group).map(|out| out.profile.paths) else { return cells };
        let Some(destination) = self.table.get(id) else { return cells };
        let prefix = destination.prefix;
        let Some(paths) = paths else {
            let best = destination.best().copied();
            cells.extend(best.and_then(|best| Some((0, self.wanted(group, prefix, &best, memo)?))));
            return cells;
        };
        let most = match paths {
            PathsSent::All => usize::MAX,
            PathsSent::First(most) => usize::from(most.get()),
        };
        // A path for which no identifier was left cannot be told.
        let candidates = destination.candidates().iter().filter(|path| path.sent_id != 0);
        let candidates: SmallVec<[Path; 4]> = candidates.copied().collect();
        for path in candidates {
            if cells.len() == most {
                break;
            }
            cells.extend(self.wanted(group, prefix, &path, memo).map(|cell| (path.sent_id, cell)));
        }
        cells
    }

    /// The cell a group ought to have for a path; `None` when the group is not to be told.
    fn wanted(&mut self, group: Consumer, prefix: A::Prefix, path: &Path, memo: &mut Memo) -> Option<Cell> {
        let State { view: View::Group(out), .. } = self.consumers.get(group.index())? else { return None };
        let departure = self.departure(path)?;
        let edits = out.profile.admit(prefix, &departure).ok()?;
        let key = (path.used, path.used_hop, path.peer, edits);
        let made = match memo.get(&key) {
            Some(made) => *made,
            None => {
                let made = out.profile.transform(&departure, A::FAMILY, &key.3).map(|(set, hop)| {
                    (self.attributes.intern_made(set), self.next_hops.intern(Some(hop), None))
                });
                memo.insert(key, made);
                made
            }
        };
        let (attributes, next_hop) = made.ok()?;
        Some(Cell { attributes, next_hop, source: path.peer })
    }

    /// A cell with the slot in which its source is now.
    fn owned(&self, cell: Cell) -> Cell {
        Cell { source: self.peers.owner(cell.source), ..cell }
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

    fn add(&self, batch: &mut GroupBatch<A::Prefix>, audience: Audience, cell: Cell, nlri: Nlri<A::Prefix>) {
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
            bundle.prefixes.push(nlri);
        }
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
