//! What a group has been told already, for members that have missed it or have just come.

use super::{AdjOut, Audience, Cell, EMPTY, GroupBatch};
use crate::rib::consumers::Consumer;
use crate::rib::destination::DestId;
use crate::rib::peers::PeerSlot;
use crate::rib::{Af, Nlri, Rib};

impl<A: Af> Rib<A> {
    /// The present state of some paths for one member that missed their changes.
    pub fn catch_up(
        &self,
        group: Consumer,
        slot: PeerSlot,
        paths: &[Nlri<A::Prefix>],
    ) -> GroupBatch<A::Prefix> {
        let mut batch = GroupBatch::default();
        let Some(out) = self.adj_out(group) else { return batch };
        for &nlri in paths {
            let id = self.table.find(nlri.prefix);
            let cell = id.map_or(EMPTY, |id| out.column.cell(id, nlri.path_id as u8));
            let cell = if self.peers.owner(cell.source) == slot { EMPTY } else { cell };
            self.add(&mut batch, Audience::Only(slot), cell, nlri);
        }
        batch
    }

    /// A slice of what the group has been told, for one member that is behind: from `cursor` on, with the cursor for the
    /// next slice or `None` at the end.
    pub fn catch_up_from(
        &self,
        group: Consumer,
        slot: PeerSlot,
        cursor: DestId,
        budget: usize,
    ) -> (GroupBatch<A::Prefix>, Option<DestId>) {
        self.told_slice(group, cursor, budget, |_, cell| {
            cell.seen_by(slot).is_some().then_some(Audience::Only(slot))
        })
    }

    /// The same for all members that have just come: each bundle is for all but the source of its paths.
    pub fn feed_from(
        &self,
        group: Consumer,
        cursor: DestId,
        budget: usize,
    ) -> (GroupBatch<A::Prefix>, Option<DestId>) {
        self.told_slice(group, cursor, budget, |out, cell| Some(out.audience(cell.source)))
    }

    /// A slice of what the group has been told, for whom `audience` says.
    fn told_slice(
        &self,
        group: Consumer,
        cursor: DestId,
        budget: usize,
        audience: impl Fn(&AdjOut, Cell) -> Option<Audience>,
    ) -> (GroupBatch<A::Prefix>, Option<DestId>) {
        let mut batch = GroupBatch::default();
        let Some(out) = self.adj_out(group) else { return (batch, None) };
        let last = out.column.end();
        let end = last.min(cursor.0.saturating_add(budget as u32));
        for id in (cursor.0..end).map(DestId) {
            let Some(destination) = self.table.get(id) else { continue };
            for (path, cell) in out.column.cells(id) {
                if let Some(audience) = audience(out, self.owned(cell)) {
                    let nlri = Nlri { prefix: destination.prefix, path_id: path.into() };
                    self.add(&mut batch, audience, cell, nlri);
                }
            }
        }
        (batch, (end < last).then_some(DestId(end)))
    }
}
