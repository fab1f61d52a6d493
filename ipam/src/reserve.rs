//! Addresses that are granted only once the API server has them.
//!
//! In a block that others may write as well, an ordinal is taken in memory first, as any grant; the ask is answered when
//! the object was seen to show it. Several asks share one write. If another node was quicker with the same ordinal, the
//! ask looks for another one; if the API server does not answer in time, what was taken is given back.

use std::time::Instant;

use crate::block::{Block, Standing};
use crate::machine::{Ipam, Waiting};
use crate::request::{Action, AskId, Now};
use crate::want::{Allocation, Handle, Want};

/// An ask whose addresses are being written.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) want: Want,
    pub(crate) since: Instant,
    pub(crate) until: Instant,
    pub(crate) allocations: Vec<Allocation>,
}

/// Where one address of a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Lost,
    Waiting,
    Shown,
}

impl Ipam {
    /// Whether a handle waits for its addresses to be written.
    pub(crate) fn is_reserved(&self, handle: &Handle) -> bool {
        self.reserved.values().any(|r| r.want.handle == *handle)
    }

    /// Takes up a reservation; its blocks are written at once.
    pub(crate) fn reserve(&mut self, now: Now, id: AskId, reservation: Reservation) {
        for allocation in &reservation.allocations {
            if let Some(block) = self.blocks.get_mut(&allocation.block)
                && block.needs_writing()
            {
                block.publish_at = Some(now.monotonic);
            }
        }
        self.reserved.insert(id, reservation);
    }

    /// Answers the asks whose addresses the objects show; those whose addresses another took look again.
    pub(crate) fn settle_reservations(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.reserved.is_empty() {
            return;
        }
        for (id, reservation) in std::mem::take(&mut self.reserved) {
            let progress = |a: &Allocation| self.progress(&reservation.want.handle, a);
            let least = reservation.allocations.iter().map(progress).min().unwrap_or(Progress::Shown);
            match least {
                Progress::Shown => out.push(Action::Granted(id, reservation.allocations)),
                Progress::Waiting if reservation.until > now.monotonic => {
                    self.reserved.insert(id, reservation);
                }
                Progress::Waiting | Progress::Lost => {
                    self.release(now, &reservation.want.handle, &reservation.allocations);
                    let Reservation { want, since, until, .. } = reservation;
                    let waiting = Waiting { id, want, since, until };
                    if until > now.monotonic {
                        self.waiting.push_front(waiting);
                    } else {
                        out.push(Action::Refused(id, self.timed_out(now, &waiting, &[])));
                    }
                }
            }
        }
    }

    /// The asker has gone.
    pub(crate) fn give_up_reservation(&mut self, now: Now, id: AskId) {
        if let Some(reservation) = self.reserved.remove(&id) {
            self.release(now, &reservation.want.handle, &reservation.allocations);
        }
    }

    /// Gives up what was taken in a block of another node that is not shared any more and does not show it: its owner gives
    /// from memory now, so nothing may be added. Those asks look for another address.
    pub(crate) fn give_up_unshared(&mut self, block: &mut Block) {
        if block.object.as_ref().is_none_or(|object| object.spec.shared) {
            return;
        }
        let of_block = |r: &Reservation| -> Vec<(Handle, u32)> {
            let inside = r.allocations.iter().filter(|a| a.block == block.name);
            inside.filter_map(|a| Some((r.want.handle.clone(), block.cidr.ordinal(a.address)?))).collect()
        };
        let all: Vec<(Handle, u32)> = self.reserved.values().flat_map(of_block).collect();
        for (handle, ordinal) in all {
            let taken = block.used.get(&ordinal).is_some_and(|u| u.handle == handle && u.record.is_none());
            if taken && !self.shows(block, ordinal) {
                block.used.remove(&ordinal);
                block.set_free(ordinal);
                self.forget_holder(&handle, &block.name, ordinal);
            }
        }
    }

    fn progress(&self, handle: &Handle, allocation: &Allocation) -> Progress {
        let Some(block) = self.blocks.get(&allocation.block) else { return Progress::Lost };
        let Some(ordinal) = block.cidr.ordinal(allocation.address) else { return Progress::Lost };
        let held = block
            .used
            .get(&ordinal)
            .is_some_and(|u| u.handle == *handle && u.sequence == allocation.sequence && u.record.is_none());
        match &block.standing {
            _ if !held => Progress::Lost,
            Standing::Owned | Standing::Borrowed => {
                let shown = !block.needs_writing() || self.shows(block, ordinal);
                if shown { Progress::Shown } else { Progress::Waiting }
            }
            Standing::Disputed(_) | Standing::Returning => Progress::Waiting,
        }
    }

    /// Whether the object shows an ordinal as this node has it.
    pub(crate) fn shows(&self, block: &Block, ordinal: u32) -> bool {
        let borrower = (block.standing == Standing::Borrowed).then(|| self.as_borrower());
        let Some(record) = block.record_of(ordinal, borrower.as_ref()) else { return false };
        let shown = block.object.as_ref().and_then(|o| o.spec.allocations.get(&ordinal.to_string()));
        shown.is_some_and(|text| *text == record)
    }
}
