//! After a restart the choice among peers' paths is put off until all of them are likely to be there (RFC 4724 §4.1).
//!
//! Chosen at once, the first path that comes would be told to others and put into the kernel, and the better one right
//! after it: a flap in routes that nobody had touched. Until [`Rib::select`] paths of peers wait beside the decision.
//! What this speaker originates is chosen and told all the same: nobody is to wait for it.
//!
//! [`Rib::select`] walks the table in slices; followers hear of the End-of-RIBs that came in the meantime when they have
//! pulled what the walk chose.

use super::consumers::View;
use super::destination::DestId;
use super::work::Job;
use super::{Af, Rib};

/// Whether peers' paths are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Selection {
    /// As they come.
    #[default]
    Open,
    /// Not yet.
    Deferred,
    /// As they come; those from before are on their way.
    Opening,
}

impl<A: Af> Rib<A> {
    /// Puts the choice among peers' paths off, until [`Rib::select`]. For a table that is still empty.
    pub fn defer_selection(&mut self) {
        self.selection = Selection::Deferred;
    }

    /// Ends what [`Rib::defer_selection`] began.
    pub fn select(&mut self) {
        if self.selection == Selection::Deferred {
            self.selection = Selection::Opening;
            self.jobs.push_back(Job::Select { cursor: 0 });
        }
    }

    /// Whether every path has had its turn: nothing is put off, or waits from when it was.
    pub fn has_selected(&self) -> bool {
        self.selection == Selection::Open
    }

    pub(super) fn select_slice(&mut self, cursor: u32, budget: usize) -> Option<Job> {
        let all = self.shows_all();
        let end = self.table.end().min(cursor.saturating_add(budget as u32));
        for id in (cursor..end).map(DestId) {
            let Some(before) = self.table.get(id).map(|destination| destination.shown(all)) else { continue };
            self.decide(id, &before);
        }
        if end < self.table.end() {
            return Some(Job::Select { cursor: end });
        }
        self.selection = Selection::Open;
        for (_, state) in &mut self.consumers {
            let position = state.dirty.position();
            if let View::Best { ended, .. } = &mut state.view {
                ended.iter_mut().for_each(|one| one.after = position);
            }
        }
        None
    }
}
