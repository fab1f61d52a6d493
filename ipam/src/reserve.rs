//! Addresses of other nodes' blocks, which are granted only once the owner has lent them.
//!
//! In such a block an ordinal is taken in memory first, as any grant; the ask is answered when the object was seen to show
//! the loan. Several asks share one write. If the owner has the ordinal for somebody else, the ask looks for another one; if the
//! owner does not answer in time, another block is looked for, and what was asked for is given back.

use std::time::Instant;

use crate::block::Standing;
use crate::machine::{Ipam, Waiting};
use crate::request::{Action, AskId, Now};
use crate::want::{Allocation, Handle, Want};

/// An ask whose addresses are being written.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) want: Want,
    pub(crate) since: Instant,
    /// When these addresses were asked for.
    pub(crate) asked: Instant,
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
                && block.standing == Standing::Borrowed
            {
                block.publish_at = Some(now.monotonic);
                block.unsent.extend(block.cidr.ordinal(allocation.address));
                block.poll = (None, 0);
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
                Progress::Waiting if self.answer_due(&reservation) > now.monotonic => {
                    self.reserved.insert(id, reservation);
                }
                Progress::Waiting | Progress::Lost => {
                    if least == Progress::Waiting {
                        let until = now.monotonic + self.settings.closed_for;
                        reservation.allocations.iter().for_each(|a| self.pass_over(&a.block, until));
                    }
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

    /// Until when an answer is waited for.
    pub(crate) fn answer_due(&self, reservation: &Reservation) -> Instant {
        reservation.until.min(reservation.asked + self.settings.lend_within)
    }

    /// The asker has gone.
    pub(crate) fn give_up_reservation(&mut self, now: Now, id: AskId) {
        if let Some(reservation) = self.reserved.remove(&id) {
            self.release(now, &reservation.want.handle, &reservation.allocations);
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
            Standing::Owned => Progress::Shown,
            Standing::Borrowed if block.is_lent_here(ordinal) => Progress::Shown,
            Standing::Borrowed => Progress::Waiting,
            Standing::Disputed(_) | Standing::Returning => Progress::Waiting,
        }
    }
}
