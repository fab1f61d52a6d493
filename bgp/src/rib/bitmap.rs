//! Sets of destinations: a bit a destination, and a queue of the dirty ones.

use std::collections::VecDeque;

use super::destination::DestId;

/// A set of destinations, one bit each.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    /// Adds; true when it was not there.
    pub(super) fn insert(&mut self, id: DestId) -> bool {
        let (word, bit) = (id.index() / 64, 1u64 << (id.index() % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    /// Removes; true when it was there.
    pub(super) fn remove(&mut self, id: DestId) -> bool {
        let bit = 1u64 << (id.index() % 64);
        match self.words.get_mut(id.index() / 64) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                true
            }
            Some(_) | None => false,
        }
    }
}

/// The destinations a consumer has still to look at, in the order in which they first changed. One that changes again
/// while it waits keeps its turn and is seen in its last state: the queue is never longer than the table.
#[derive(Debug, Default)]
pub(super) struct DirtySet {
    queued: Bitmap,
    queue: VecDeque<DestId>,
    pushed: u64,
}

impl DirtySet {
    /// Adds; true when it was not waiting yet.
    pub(super) fn mark(&mut self, id: DestId) -> bool {
        let fresh = self.queued.insert(id);
        if fresh {
            self.queue.push_back(id);
            self.pushed += 1;
        }
        fresh
    }

    pub(super) fn pop(&mut self) -> Option<DestId> {
        let id = self.queue.pop_front()?;
        self.queued.remove(id);
        Some(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A mark that everything added so far lies before: see [`DirtySet::passed`].
    pub(super) fn position(&self) -> u64 {
        self.pushed
    }

    /// Whether everything that was waiting when the mark was taken has been popped.
    pub(super) fn passed(&self, position: u64) -> bool {
        self.pushed - self.queue.len() as u64 >= position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_waits_once_however_often_it_changes() {
        let mut dirty = DirtySet::default();
        assert!(dirty.mark(DestId(70)));
        assert!(!dirty.mark(DestId(70)));
        assert!(dirty.mark(DestId(2)));
        assert_eq!(dirty.pop(), Some(DestId(70)));
        assert!(dirty.mark(DestId(70)), "popped, so it may wait again");
        assert_eq!((dirty.pop(), dirty.pop(), dirty.pop()), (Some(DestId(2)), Some(DestId(70)), None));
    }

    #[test]
    fn a_position_is_passed_when_all_before_it_is_popped() {
        let mut dirty = DirtySet::default();
        dirty.mark(DestId(1));
        dirty.mark(DestId(2));
        let position = dirty.position();
        dirty.mark(DestId(3));
        dirty.pop();
        assert!(!dirty.passed(position));
        dirty.pop();
        assert!(dirty.passed(position));
    }
}
