//! What waits to be written to one peer, and in which order: the machine's messages before UPDATEs, and no piece inside
//! another, however much the kernel takes at a time.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Pieces that wait. Each is one or several whole messages.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What is left of the piece of which something is written.
    begun: Bytes,
    urgent: VecDeque<Bytes>,
    updates: VecDeque<Bytes>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces().next().is_none()
    }

    /// How many of the machine's messages have not been begun.
    pub(super) fn urgent(&self) -> usize {
        self.urgent.len()
    }

    /// A message of the machine's comes before all that has not been begun, but for others of its kind.
    pub(super) fn put_urgent(&mut self, message: Bytes) {
        self.urgent.push_back(message);
    }

    pub(super) fn put_updates(&mut self, batches: impl IntoIterator<Item = Bytes>) {
        self.updates.extend(batches);
    }

    /// All of it, in its order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let all = std::iter::once(&self.begun).chain(&self.urgent).chain(&self.updates);
        all.map(|piece| &piece[..]).filter(|piece| !piece.is_empty())
    }

    /// So many octets of that were written. Each piece that is begun by this is told to `begins`, whole.
    pub(super) fn wrote(&mut self, mut octets: usize, mut begins: impl FnMut(&[u8])) {
        while octets > 0 {
            if self.begun.is_empty() {
                let Some(next) = self.urgent.pop_front().or_else(|| self.updates.pop_front()) else { return };
                begins(&next);
                self.begun = next;
            }
            let written = octets.min(self.begun.len());
            self.begun.advance(written);
            octets -= written;
        }
    }

    /// What still goes out when the connection is to end: the rest of what is begun, and the machine's messages.
    pub(super) fn into_last(self) -> (Bytes, VecDeque<Bytes>) {
        (self.begun, self.urgent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Urgent(usize),
        Updates(usize, usize),
        /// So many thousandths of what waits.
        Write(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..40_usize).prop_map(Step::Urgent),
            (1..5_usize, 1..40_usize).prop_map(|(count, length)| Step::Updates(count, length)),
            (0..=1000_usize).prop_map(Step::Write),
        ]
    }

    /// What a peer would read, and what it ought to be: pieces in the order in which they may begin.
    #[derive(Default)]
    struct World {
        outbox: Outbox,
        urgent: VecDeque<Bytes>,
        updates: VecDeque<Bytes>,
        /// The piece being read, as far as it has not come.
        rest: Bytes,
        begun: usize,
        put: u8,
    }

    impl World {
        /// A piece that is like none before or after for long.
        fn piece(&mut self, length: usize) -> Bytes {
            self.put = self.put.wrapping_add(1);
            vec![self.put; length].into()
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Urgent(length) => {
                    let piece = self.piece(length);
                    self.urgent.push_back(piece.clone());
                    self.outbox.put_urgent(piece);
                }
                Step::Updates(count, length) => {
                    let pieces: Vec<Bytes> = (0..count).map(|_| self.piece(length)).collect();
                    self.updates.extend(pieces.iter().cloned());
                    self.outbox.put_updates(pieces);
                }
                Step::Write(part) => {
                    let stream: Vec<u8> = self.outbox.pieces().flatten().copied().collect();
                    let octets = stream.len() * part / 1000;
                    let begun = &mut self.begun;
                    self.outbox.wrote(octets, |_| *begun += 1);
                    self.read(&stream[..octets]);
                }
            }
        }

        fn read(&mut self, octets: &[u8]) {
            for octet in octets {
                if self.rest.is_empty() {
                    self.begun -= 1;
                    let next = self.urgent.pop_front().or_else(|| self.updates.pop_front());
                    self.rest = next.expect("nothing more was put");
                }
                assert_eq!(self.rest.get_u8(), *octet);
            }
            assert_eq!(self.begun, 0, "each piece that is begun is told once");
        }
    }

    proptest! {
        #[test]
        fn every_piece_comes_whole_and_in_its_order_however_little_is_taken_at_a_time(
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let mut world = World::default();
            steps.into_iter().chain([Step::Write(1000)]).for_each(|step| world.take(step));
            prop_assert!(world.outbox.is_empty() && world.rest.is_empty());
            prop_assert!(world.urgent.is_empty() && world.updates.is_empty());
        }
    }

    #[test]
    fn in_the_end_what_is_begun_is_finished_and_updates_are_left_out() {
        let mut outbox = Outbox::default();
        outbox.put_updates([Bytes::from_static(b"begun"), Bytes::from_static(b"waits")]);
        outbox.wrote(2, |_| ());
        outbox.put_urgent(Bytes::from_static(b"urgent"));
        assert_eq!(outbox.into_last(), (Bytes::from("gun"), [Bytes::from("urgent")].into()));
    }
}
