//! What one peer has heard, and who waits for it.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use super::family::Family;
use super::message;

/// How many peers have all they wait for.
#[derive(Debug, Default)]
pub(crate) struct Board {
    complete: Cell<usize>,
    last: Cell<Option<Instant>>,
    changed: Notify,
}

impl Board {
    /// Waits until so many peers have all; when the last of them had it.
    pub(crate) async fn complete(&self, peers: usize) -> Instant {
        loop {
            let changed = self.changed.notified();
            if self.complete.get() >= peers {
                return self.last.get().unwrap_or_else(Instant::now);
            }
            changed.await;
        }
    }

    /// How many have all now.
    pub(crate) fn now(&self) -> usize {
        self.complete.get()
    }
}

/// One peer's ears.
#[derive(Debug)]
pub(crate) struct Heard {
    has: RefCell<Vec<u64>>,
    count: Cell<u32>,
    wanted: Cell<u32>,
    own: Range<u32>,
    family: Family,
    board: Rc<Board>,
    /// When each prefix was last sent, where latencies are measured.
    clock: Option<Rc<Clock>>,
    /// Nothing is read while they are plugged.
    plugged: Cell<bool>,
    unplugged: Notify,
}

/// Latencies: when each prefix was sent, and how long it took to come.
#[derive(Debug)]
pub(crate) struct Clock {
    sent: RefCell<Vec<Option<Instant>>>,
    /// In seconds.
    pub(crate) took: RefCell<Vec<f64>>,
}

impl Clock {
    pub(crate) fn new(prefixes: u32) -> Rc<Self> {
        Rc::new(Self { sent: RefCell::new(vec![None; prefixes as usize]), took: RefCell::default() })
    }

    /// These are being sent now.
    pub(crate) fn send(&self, numbers: Range<u32>) {
        let now = Some(Instant::now());
        let mut sent = self.sent.borrow_mut();
        for number in numbers {
            if let Some(slot) = sent.get_mut(number as usize) {
                *slot = now;
            }
        }
    }

    /// How many were sent and have not come.
    pub(crate) fn missing(&self) -> usize {
        self.sent.borrow().iter().flatten().count()
    }

    fn came(&self, number: u32, now: Instant) {
        let since = self.sent.borrow_mut().get_mut(number as usize).and_then(Option::take);
        if let Some(since) = since {
            self.took.borrow_mut().push((now - since).as_secs_f64());
        }
    }
}

impl Heard {
    /// The ears of a peer that waits for `wanted` prefixes besides its own.
    pub(crate) fn new(
        family: Family,
        wanted: u32,
        own: Range<u32>,
        board: &Rc<Board>,
        clock: Option<Rc<Clock>>,
    ) -> Rc<Self> {
        let heard = Self {
            has: RefCell::default(),
            count: Cell::new(0),
            wanted: Cell::new(wanted),
            own,
            family,
            board: Rc::clone(board),
            clock,
            plugged: Cell::new(false),
            unplugged: Notify::new(),
        };
        if wanted == 0 {
            heard.complete();
        }
        Rc::new(heard)
    }

    /// Whether the peer stops reading.
    pub(crate) fn plug(&self, plugged: bool) {
        self.plugged.set(plugged);
        if !plugged {
            self.unplugged.notify_waiters();
        }
    }

    /// Waits until the peer reads.
    pub(crate) async fn reads(&self) {
        while self.plugged.get() {
            self.unplugged.notified().await;
        }
    }

    /// How many prefixes of others it has.
    pub(crate) fn count(&self) -> u32 {
        self.count.get()
    }

    /// One UPDATE has come.
    pub(crate) fn update(&self, body: &[u8]) {
        let Some((gone, come)) = message::parts(self.family, body) else { return };
        let now = self.clock.as_ref().map(|clock| (clock, Instant::now()));
        self.family.each(gone, |number| self.mark(number, false, now));
        self.family.each(come, |number| self.mark(number, true, now));
    }

    fn mark(&self, number: u32, there: bool, now: Option<(&Rc<Clock>, Instant)>) {
        if self.own.contains(&number) {
            return;
        }
        if let Some((clock, now)) = now {
            clock.came(number, now);
        }
        let (word, bit) = (number as usize / 64, 1_u64 << (number % 64));
        let mut has = self.has.borrow_mut();
        if has.len() <= word {
            has.resize(word + 1, 0);
        }
        let Some(word) = has.get_mut(word) else { return };
        if (*word & bit != 0) == there {
            return;
        }
        *word ^= bit;
        if !there {
            self.count.set(self.count.get() - 1);
            return;
        }
        self.count.set(self.count.get() + 1);
        if self.count.get() == self.wanted.get() {
            self.complete();
        }
    }

    /// Once: what comes and goes later does not count again.
    fn complete(&self) {
        self.wanted.set(u32::MAX);
        self.board.complete.set(self.board.complete.get() + 1);
        self.board.last.set(Some(Instant::now()));
        self.board.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::table;
    use crate::load::Client;

    fn update(announced: Range<u32>) -> Vec<u8> {
        let client = Client::external([10, 65, 0, 1].into(), 65001);
        let bytes = table::announcements(&client, announced, 0);
        bytes[message::HEADER..].to_vec()
    }

    #[test]
    fn a_peer_is_complete_when_it_has_each_prefix_of_the_others_once() {
        let board = Rc::new(Board::default());
        let heard = Heard::new(Family::V4, 5, 0..5, &board, None);
        heard.update(&update(0..5));
        assert_eq!((heard.count(), board.now()), (0, 0), "its own do not count");
        heard.update(&update(5..8));
        heard.update(&update(5..8));
        assert_eq!((heard.count(), board.now()), (3, 0), "nor does the same one twice");
        heard.update(&update(8..10));
        assert_eq!((heard.count(), board.now()), (5, 1));
    }

    #[test]
    fn a_latency_is_counted_once() {
        let (board, clock) = (Rc::new(Board::default()), Clock::new(10));
        let heard = Heard::new(Family::V4, 1, 0..0, &board, Some(Rc::clone(&clock)));
        clock.send(3..5);
        heard.update(&update(3..4));
        heard.update(&update(3..4));
        assert_eq!((clock.took.borrow().len(), clock.missing()), (1, 1));
    }
}
