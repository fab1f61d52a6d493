//! Batches whose outcome is awaited.

use tokio::sync::oneshot;

use crate::kernel::tables::Tables;
use crate::kernel::{ObjectKey, Refused};
use crate::table::Standing;

/// A batch that has been taken in but not all settled.
pub(super) struct Waiter {
    keys: Vec<ObjectKey>,
    refused: Vec<Refused>,
    outcome: oneshot::Sender<Vec<Refused>>,
}

impl Waiter {
    pub(super) fn new(
        keys: Vec<ObjectKey>,
        refused: Vec<Refused>,
        outcome: oneshot::Sender<Vec<Refused>>,
    ) -> Self {
        Self { keys, refused, outcome }
    }

    /// Whether nobody waits any more.
    fn left(&self) -> bool {
        self.outcome.is_closed()
    }

    /// Crosses off what is settled or refused; true once that is all.
    fn check(&mut self, tables: &Tables) -> bool {
        while let Some(object) = self.keys.last().copied() {
            match tables.standing(&object) {
                Standing::Pending => return false,
                Standing::Settled => {}
                Standing::Refused(why) => self.refused.push(Refused { object, why: why.clone() }),
            }
            self.keys.pop();
        }
        true
    }

    fn answer(mut self) {
        // They were crossed off from the end.
        self.refused.reverse();
        // Nobody may wait any more, which is their affair.
        self.outcome.send(self.refused).ok();
    }
}

/// Answers the batches that are done and returns the others.
pub(super) fn answer(waiters: Vec<Waiter>, tables: &Tables) -> Vec<Waiter> {
    let mut waiting = Vec::with_capacity(waiters.len());
    for mut waiter in waiters {
        if waiter.check(tables) {
            waiter.answer();
        } else if !waiter.left() {
            waiting.push(waiter);
        }
    }
    waiting
}
